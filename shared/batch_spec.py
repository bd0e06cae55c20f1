"""What a job asks for, as a Batch job: one pure function.

Service account, network, notification topic and log destination are the platform's alone: nothing of a
request reaches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cache

from google.cloud import batch_v1

from shared.batch import our_labels
from shared.config import Settings
from shared.model import Job
from shared.resources import PROFILES, Mount, Resources
from shared.retry import on_spot
from shared.spec import JobSpec

# A job that names its machine gets all of it: one task at a time on each, which asks for no more than the
# smallest machines have.
_WHOLE_MACHINE = Resources(cpu_milli=1000, memory_mib=512)

# Machine types that have GPUs built in: none are asked for, and yet their drivers are wanted.
_WITH_GPUS = ("a2-", "a3-", "a4-", "a4x-", "g2-", "g4-")

_Allocation = batch_v1.AllocationPolicy
_Provisioning = batch_v1.AllocationPolicy.ProvisioningModel


def batch_job(job: Job, settings: Settings) -> batch_v1.Job:
    """The Batch job of the current attempt.

    Batch's own retries stay off: each of our attempts has a record of its own, where internal retries
    overwrite exit codes and logs.
    """
    spec = job.spec
    labels = dict(spec.labels) | our_labels(job.key, job.attempt, settings)
    group = batch_v1.TaskGroup(task_count=spec.task_count, task_spec=_task(job))
    if spec.parallelism is not None:
        group.parallelism = min(spec.parallelism, spec.task_count)
    if spec.machine_type is not None:
        group.task_count_per_node = 1
    allocation = _Allocation(labels=labels)
    if account := spec.service_account or settings.job_service_account:
        allocation.service_account = batch_v1.ServiceAccount(email=account)
    if machine := _machine(job):
        allocation.instances = [machine]
    if place := settings.job_network:
        interface = _Allocation.NetworkInterface(
            network=place.network,
            subnetwork=place.subnetwork,
            no_external_ip_address=not place.external_ip,
        )
        allocation.network = _Allocation.NetworkPolicy(network_interfaces=[interface])
    topic = f"projects/{settings.project}/topics/{settings.batch_events_topic}"
    return batch_v1.Job(
        priority=spec.priority,
        task_groups=[group],
        allocation_policy=allocation,
        labels=labels,
        logs_policy=batch_v1.LogsPolicy(destination=batch_v1.LogsPolicy.Destination.CLOUD_LOGGING),
        notifications=_notifications(topic),
    )


def _task(job: Job) -> batch_v1.TaskSpec:
    spec, size = job.spec, _size(job.spec)
    # Of two mounts at the same place the later one counts: a container can't have both.
    mounts = {mount.mount_path: mount for mount in spec.mounts}.values()
    container = batch_v1.Runnable.Container(
        image_uri=job.image_uri,
        entrypoint=spec.entrypoint or "",
        commands=list(job.commands),
        volumes=[
            f"{_folder(number)}:{mount.mount_path}:{_mode(mount)}" for number, mount in enumerate(mounts)
        ],
    )
    return batch_v1.TaskSpec(
        runnables=[batch_v1.Runnable(container=container, environment=_environment(job))],
        compute_resource=batch_v1.ComputeResource(cpu_milli=size.cpu_milli, memory_mib=size.memory_mib),
        max_run_duration=timedelta(seconds=spec.timeout_seconds),
        max_retry_count=0,
        volumes=_volumes(mounts),
    )


def _size(spec: JobSpec) -> Resources:
    if spec.machine_type is not None:
        return _WHOLE_MACHINE
    return spec.resources or PROFILES[spec.profile or ""]


def _environment(job: Job) -> batch_v1.Environment:
    ours = {"JENNAH_JOB_ID": job.job_id, "JENNAH_ATTEMPT": str(job.attempt)}
    secrets = job.spec.secret_env
    plain = {name: value for name, value in job.spec.env.items() if name not in secrets}
    return batch_v1.Environment(variables=plain | ours, secret_variables=dict(secrets))


def _volumes(mounts: Iterable[Mount]) -> list[batch_v1.Volume]:
    """The buckets, mounted on the machine in folders of ours: what a tenant calls them is the container's."""
    return [
        batch_v1.Volume(
            gcs=batch_v1.GCS(remote_path=f"{mount.bucket}/{mount.path}" if mount.path else mount.bucket),
            mount_path=_folder(number),
            # Without the second, folders that only the names of objects imply can't be seen.
            mount_options=[f"-o {_mode(mount)}", "-implicit-dirs"],
        )
        for number, mount in enumerate(mounts)
    ]


def _folder(number: int) -> str:
    # Container-Optimized OS can be written to below /mnt/disks only.
    return f"/mnt/disks/mount-{number}"


def _mode(mount: Mount) -> str:
    return "ro" if mount.read_only else "rw"


def _machine(job: Job) -> batch_v1.AllocationPolicy.InstancePolicyOrTemplate | None:
    """The machine, as far as the job says; None leaves it all to Batch."""
    spec = job.spec
    gpus, disk = spec.gpus, spec.boot_disk_gib
    policy = _Allocation.InstancePolicy(
        provisioning_model=_Provisioning.SPOT if on_spot(job) else None,
        machine_type=spec.machine_type,
        accelerators=[_Allocation.Accelerator(type_=gpus.type, count=gpus.count)] if gpus else [],
        boot_disk=_Allocation.Disk(size_gb=disk) if disk is not None else None,
    )
    if not policy:
        return None
    drivers = gpus is not None or (spec.machine_type or "").startswith(_WITH_GPUS)
    return _Allocation.InstancePolicyOrTemplate(policy=policy, install_gpu_drivers=drivers)


@cache
def _notifications(topic: str) -> Sequence[batch_v1.JobNotification]:
    states = batch_v1.JobStatus.State
    return tuple(
        batch_v1.JobNotification(
            pubsub_topic=topic,
            message=batch_v1.JobNotification.Message(
                type_=batch_v1.JobNotification.Type.JOB_STATE_CHANGED, new_job_state=state
            ),
        )
        for state in (states.RUNNING, states.SUCCEEDED, states.FAILED)
    )
