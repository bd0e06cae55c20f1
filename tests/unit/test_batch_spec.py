"""What we ask of Batch, on the real messages of its API: field by field, and for any request at all."""

from __future__ import annotations

import os
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import batch_v1
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.batch import our_labels
from shared.batch_spec import batch_job
from shared.config import JobNetwork, Settings
from shared.model import Job
from shared.resources import PROFILES, Gpus, Mount, Resources
from shared.spec import JobSpec, Provisioning, RetryPolicy
from tests.submissions import ACCOUNT, bodies, parse

SETTINGS = Settings(project="my-project", spanner_instance="i")
IN_A_NETWORK = Settings(
    project="my-project",
    spanner_instance="i",
    job_network=JobNetwork("projects/h/global/networks/n", "projects/h/regions/us-central1/subnetworks/s"),
)
PLATFORMS_ACCOUNT = "jobs@my-project.iam.gserviceaccount.com"

# Source: "Requirements for labels" of Google Cloud's documentation.
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")

Status = batch_v1.JobStatus.State
Allocation = batch_v1.AllocationPolicy
Volume = batch_v1.Volume

# `make verify` asks for the 10,000 of the promise.
EXAMPLES = int(os.environ.get("SPECIFICATIONS", "200"))


def a_job(**fields: Any) -> Job:
    ids = {"tenant_id": str(uuid.UUID(int=1)), "job_id": str(uuid.UUID(int=2))}
    return Job(**{"image_uri": "busybox", "batch_parent": "projects/p/locations/l", **ids, **fields})


def of(**fields: Any) -> batch_v1.Job:
    """The Batch job of this specification."""
    return batch_job(a_job(spec=JobSpec(**fields)), SETTINGS)


def requested(fields: dict[str, Any], **others: Any) -> Job:
    """The job of this body, by a tenant with an account of its own."""
    request = parse(fields)
    return a_job(
        image_uri=request.image_uri,
        commands=tuple(request.commands),
        spec=request.spec(ACCOUNT),
        max_retries=request.max_retries,
        **others,
    )


def blank(made: batch_v1.Job) -> batch_v1.Job:
    """The Batch job without all that a request may choose: what is left is the platform's."""
    made.priority = 0
    made.labels = {name: made.labels[name] for name in made.labels if name.startswith("jennah-")}
    policy = made.allocation_policy
    policy.labels = dict(made.labels)
    policy.instances = []
    (group,) = made.task_groups
    group.task_count, group.parallelism, group.task_count_per_node = 1, 0, 0
    task = group.task_spec
    task.volumes, task.compute_resource, task.max_run_duration = [], batch_v1.ComputeResource(), Duration()
    (runnable,) = task.runnables
    container = runnable.container
    container.image_uri, container.entrypoint, container.commands, container.volumes = "", "", [], []
    runnable.environment = batch_v1.Environment()
    return made


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies, st.integers(1, 999))
def test_no_request_reaches_what_is_the_platforms(fields: dict[str, Any], attempt: int) -> None:
    """Account, network, topic, log destination, tags, locations, options of the container, and all else."""
    job = requested(fields, attempt=attempt)
    made = batch_job(job, SETTINGS)
    assert made.allocation_policy.service_account == batch_v1.ServiceAccount(email=ACCOUNT)
    assert {notification.pubsub_topic for notification in made.notifications} == {
        "projects/my-project/topics/batch-events"
    }
    for machine in made.allocation_policy.instances:
        allowed = {"provisioning_model", "machine_type", "accelerators", "boot_disk"}
        assert not machine.instance_template
        assert {
            field.name for field, _ in Allocation.InstancePolicy.pb(machine.policy).ListFields()
        } <= allowed
    for number, volume in enumerate(made.task_groups[0].task_spec.volumes):
        assert volume == Volume(
            gcs=volume.gcs, mount_path=f"/mnt/disks/mount-{number}", mount_options=volume.mount_options
        )
        assert volume.mount_options in (["-o ro", "-implicit-dirs"], ["-o rw", "-implicit-dirs"])
    for mounted in made.task_groups[0].task_spec.runnables[0].container.volumes:
        assert re.fullmatch(r"/mnt/disks/mount-\d:/[\w./-]+:r[ow]", mounted)
    plain = a_job(spec=JobSpec(service_account=ACCOUNT), attempt=attempt)
    for platforms in (SETTINGS, IN_A_NETWORK):
        assert blank(batch_job(job, platforms)) == blank(batch_job(plain, platforms))


@given(bodies, st.integers(1, 999))
def test_a_batch_job_runs_what_was_asked_once_and_no_longer(fields: dict[str, Any], attempt: int) -> None:
    job = requested(fields, attempt=attempt)
    (group,) = batch_job(job, SETTINGS).task_groups
    assert group.task_spec.max_retry_count == 0
    assert group.task_count == fields.get("task_count", 1)
    assert group.parallelism == min(fields.get("parallelism") or 0, group.task_count)
    assert group.task_spec.max_run_duration == timedelta(seconds=job.spec.timeout_seconds)
    (runnable,) = group.task_spec.runnables
    assert runnable.container.image_uri == fields["image_uri"]
    assert runnable.container.entrypoint == (fields.get("entrypoint") or "")
    assert list(runnable.container.commands) == fields.get("commands", [])
    secrets = fields.get("secret_env", {})
    plain = {name: value for name, value in fields.get("env", {}).items() if name not in secrets}
    assert dict(runnable.environment.secret_variables) == secrets
    assert dict(runnable.environment.variables) == {
        **plain,
        "JENNAH_JOB_ID": job.job_id,
        "JENNAH_ATTEMPT": str(attempt),
    }


@given(bodies, st.from_regex(r"[a-z0-9_-]{1,63}", fullmatch=True))
def test_labels_keep_googles_rules_and_tell_every_attempt_apart(
    fields: dict[str, Any], deployment: str
) -> None:
    settings = Settings(project="p", spanner_instance="i", deployment=deployment)
    job = requested(fields)
    made = batch_job(job, settings)
    ours = our_labels(job.key, job.attempt, settings)
    assert set(ours.values()) == {deployment, job.tenant_id, job.job_id, str(job.attempt)}
    for labels in (dict(made.labels), dict(made.allocation_policy.labels)):
        assert labels == {**fields.get("labels", {}), **ours}
        assert all(LABEL_KEY.fullmatch(key) for key in labels)
        assert all(LABEL_VALUE.fullmatch(value) for value in labels.values())


def test_our_labels_are_ours() -> None:
    """Whatever stands in a row: no label of a tenant's takes the place of one of ours."""
    made = of(labels={"jennah-tenant": "another", "team": "a"})
    assert made.labels["jennah-tenant"] == str(uuid.UUID(int=1))
    assert made.labels["team"] == "a"


def test_so_are_our_variables() -> None:
    made = of(env={"JENNAH_JOB_ID": "theirs"})
    variables = made.task_groups[0].task_spec.runnables[0].environment.variables
    assert variables["JENNAH_JOB_ID"] == str(uuid.UUID(int=2))


def test_notifications_and_logs_are_the_platforms() -> None:
    made = of()
    assert made.logs_policy.destination == batch_v1.LogsPolicy.Destination.CLOUD_LOGGING
    assert {notification.pubsub_topic for notification in made.notifications} == {
        "projects/my-project/topics/batch-events"
    }
    states = [notification.message.new_job_state for notification in made.notifications]
    assert states == [Status.RUNNING, Status.SUCCEEDED, Status.FAILED]
    assert {notification.message.type_ for notification in made.notifications} == {
        batch_v1.JobNotification.Type.JOB_STATE_CHANGED
    }


@pytest.mark.parametrize(
    ("platforms", "tenants", "account"),
    [
        (None, None, None),
        (PLATFORMS_ACCOUNT, None, PLATFORMS_ACCOUNT),
        (PLATFORMS_ACCOUNT, ACCOUNT, ACCOUNT),
        (None, ACCOUNT, ACCOUNT),
    ],
)
def test_a_job_runs_as_its_tenants_account_or_else_as_the_platforms(
    platforms: str | None, tenants: str | None, account: str | None
) -> None:
    settings = Settings(project="p", spanner_instance="i", job_service_account=platforms)
    allocation = batch_job(a_job(spec=JobSpec(service_account=tenants)), settings).allocation_policy
    assert ("service_account" in allocation) == (account is not None)
    assert allocation.service_account.email == (account or "")
    assert not any(name in allocation for name in ("network", "location", "instances", "tags"))


@pytest.mark.parametrize("external", [True, False])
def test_jobs_run_in_the_network_of_the_settings(external: bool) -> None:
    network = "projects/host/global/networks/jobs"
    subnetwork = "projects/host/regions/us-central1/subnetworks/jobs"
    place = JobNetwork(network, subnetwork, external_ip=external)
    settings = Settings(project="my-project", spanner_instance="i", job_network=place)
    made = batch_job(a_job(spec=JobSpec(machine_type="e2-micro")), settings)
    (interface,) = made.allocation_policy.network.network_interfaces
    assert interface == Allocation.NetworkInterface(
        network=network, subnetwork=subnetwork, no_external_ip_address=not external
    )
    del made.allocation_policy.network
    assert made == of(machine_type="e2-micro")


@pytest.mark.parametrize(
    ("provisioning", "infra_retry_count", "spot"),
    [
        (Provisioning.STANDARD, 0, False),
        (Provisioning.SPOT, 0, True),
        (Provisioning.SPOT, 2, True),
        (Provisioning.SPOT_THEN_STANDARD, 1, True),
        (Provisioning.SPOT_THEN_STANDARD, 2, False),
    ],
)
def test_a_spot_vm_is_asked_for_and_nothing_else_of_the_machine(
    provisioning: Provisioning, infra_retry_count: int, spot: bool
) -> None:
    spec = JobSpec(provisioning=provisioning, retry=RetryPolicy(max_infrastructure_retries=2))
    made = batch_job(a_job(spec=spec, infra_retry_count=infra_retry_count), SETTINGS)
    if spot:
        (machine,) = made.allocation_policy.instances
        policy = Allocation.InstancePolicy(provisioning_model=Allocation.ProvisioningModel.SPOT)
        assert machine == Allocation.InstancePolicyOrTemplate(policy=policy)
        made.allocation_policy.instances = []
    assert made == of()


@pytest.mark.parametrize(
    ("fields", "policy", "drivers"),
    [
        ({"machine_type": "n2-standard-8"}, {"machine_type": "n2-standard-8"}, False),
        ({"machine_type": "a2-highgpu-1g"}, {"machine_type": "a2-highgpu-1g"}, True),
        ({"machine_type": "a4x-highgpu-4g"}, {"machine_type": "a4x-highgpu-4g"}, True),
        ({"machine_type": "g2-standard-4"}, {"machine_type": "g2-standard-4"}, True),
        (
            {"gpus": Gpus(type="nvidia-tesla-t4", count=2)},
            {"accelerators": [Allocation.Accelerator(type_="nvidia-tesla-t4", count=2)]},
            True,
        ),
        ({"boot_disk_gib": 200}, {"boot_disk": Allocation.Disk(size_gb=200)}, False),
        (
            {"machine_type": "n1-standard-4", "gpus": Gpus(type="nvidia-l4", count=1), "boot_disk_gib": 30},
            {
                "machine_type": "n1-standard-4",
                "accelerators": [Allocation.Accelerator(type_="nvidia-l4", count=1)],
                "boot_disk": Allocation.Disk(size_gb=30),
            },
            True,
        ),
    ],
)
def test_machines(fields: dict[str, Any], policy: dict[str, Any], drivers: bool) -> None:
    (machine,) = of(**fields).allocation_policy.instances
    assert machine == Allocation.InstancePolicyOrTemplate(
        policy=Allocation.InstancePolicy(**policy), install_gpu_drivers=drivers
    )


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (2000, 4096)),
        ({"profile": "small"}, (1000, 2048)),
        ({"profile": "medium"}, (2000, 4096)),
        ({"profile": "large"}, (4000, 8192)),
        ({"profile": "xlarge"}, (8000, 16_384)),
        ({"profile": None, "resources": Resources(cpu_milli=500, memory_mib=300)}, (500, 300)),
    ],
)
def test_sizes(fields: dict[str, Any], size: tuple[int, int]) -> None:
    made = of(**fields)
    resource = made.task_groups[0].task_spec.compute_resource
    assert (resource.cpu_milli, resource.memory_mib, resource.boot_disk_mib) == (*size, 0)
    assert made.task_groups[0].task_count_per_node == 0
    assert not made.allocation_policy.instances


def test_every_profile_is_tested() -> None:
    assert list(PROFILES) == ["small", "medium", "large", "xlarge"]


def test_who_names_a_machine_has_it_alone() -> None:
    (group,) = of(machine_type="e2-micro", profile=None, task_count=5).task_groups
    assert group.task_count_per_node == 1
    assert group.task_spec.compute_resource.cpu_milli <= 1000


@pytest.mark.parametrize(
    ("count", "parallelism", "at_once"), [(1, None, 0), (10, None, 0), (10, 3, 3), (3, 10, 3), (1, 1, 1)]
)
def test_arrays(count: int, parallelism: int | None, at_once: int) -> None:
    (group,) = of(task_count=count, parallelism=parallelism).task_groups
    assert (group.task_count, group.parallelism) == (count, at_once)


def test_priority_and_entrypoint() -> None:
    made = of(priority=99, entrypoint="/bin/sh")
    assert made.priority == 99
    assert made.task_groups[0].task_spec.runnables[0].container.entrypoint == "/bin/sh"


def test_mounts_are_read_only_unless_asked_otherwise() -> None:
    made = of(
        mounts=(
            Mount(bucket="in", mount_path="/data"),
            Mount(bucket="out", path="results/2026", mount_path="/out", read_only=False),
        )
    )
    task = made.task_groups[0].task_spec
    assert list(task.runnables[0].container.volumes) == [
        "/mnt/disks/mount-0:/data:ro",
        "/mnt/disks/mount-1:/out:rw",
    ]
    assert list(task.volumes) == [
        Volume(
            gcs=batch_v1.GCS(remote_path="in"),
            mount_path="/mnt/disks/mount-0",
            mount_options=["-o ro", "-implicit-dirs"],
        ),
        Volume(
            gcs=batch_v1.GCS(remote_path="out/results/2026"),
            mount_path="/mnt/disks/mount-1",
            mount_options=["-o rw", "-implicit-dirs"],
        ),
    ]


def test_of_two_mounts_at_one_place_the_later_counts() -> None:
    first, second = (Mount(bucket=bucket, mount_path="/data") for bucket in ("one", "two"))
    (volume,) = of(mounts=(first, second)).task_groups[0].task_spec.volumes
    assert volume.gcs.remote_path == "two"


def test_a_secret_takes_the_place_of_a_plain_value() -> None:
    version = "projects/p/secrets/s/versions/1"
    made = of(env={"A": "plain", "B": "b"}, secret_env={"A": version})
    environment = made.task_groups[0].task_spec.runnables[0].environment
    assert dict(environment.secret_variables) == {"A": version}
    assert "A" not in environment.variables
    assert environment.variables["B"] == "b"
