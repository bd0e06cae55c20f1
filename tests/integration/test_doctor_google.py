"""What `jennah doctor` says of Google's own services, as far as it can be seen without them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import PermissionDenied
from google.auth.exceptions import DefaultCredentialsError
from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]  # no stubs exist
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
)

from jennah.operations.doctor import Deployment, Service, Verdict
from jennah.operations.doctor_services import batch_findings, database_findings
from jennah.operations.doctor_services import permission_findings as database_permissions
from jennah.operations.doctor_settings import settings_findings
from jennah.operations.doctor_topics import permission_findings as topic_permissions
from jennah.operations.doctor_topics import subscription_problems, topic_findings
from shared.config import Settings
from tests.integration.doctor_scene import Scene, issuer_fixture, jobs, scene_fixture  # noqa: F401 - fixtures


def a_subscription(**changed: object) -> Subscription:
    fields: dict[str, object] = {
        "name": "projects/p/subscriptions/jobs",
        "topic": "projects/p/topics/jobs",
        "ack_deadline_seconds": 90,
        "push_config": PushConfig(
            push_endpoint="https://jennah-scheduling.run.app",
            oidc_token=PushConfig.OidcToken(service_account_email="push@p.iam.gserviceaccount.com"),
        ),
        "dead_letter_policy": DeadLetterPolicy(
            dead_letter_topic="projects/p/topics/jobs-dead", max_delivery_attempts=100
        ),
        "retry_policy": RetryPolicy(
            minimum_backoff=Duration(seconds=1), maximum_backoff=Duration(seconds=600)
        ),
        "expiration_policy": ExpirationPolicy(),
    }
    return Subscription({name: value for name, value in (fields | changed).items() if value is not None})


UPDATE = "gcloud pubsub subscriptions update jobs --project=p "


@pytest.mark.parametrize(
    ("changed", "words", "command"),
    [
        ({"ack_deadline_seconds": 10}, "deadline of jobs is 10 s", f"{UPDATE}--ack-deadline=90"),
        ({"retry_policy": None}, "no retry policy", f"{UPDATE}--min-retry-delay=1s --max-retry-delay=600s"),
        ({"expiration_policy": None}, "expires", f"{UPDATE}--expiration-period=never"),
        (
            {"expiration_policy": ExpirationPolicy(ttl=Duration(seconds=86_400))},
            "expires",
            f"{UPDATE}--expiration-period=never",
        ),
        ({"dead_letter_policy": None}, "no dead-letter topic", f"{UPDATE}--dead-letter-topic=jobs-dead"),
        (
            {"dead_letter_policy": DeadLetterPolicy(dead_letter_topic="projects/p/topics/other")},
            "go to projects/p/topics/other",
            f"{UPDATE}--dead-letter-topic=jobs-dead",
        ),
        (
            {"push_config": PushConfig(push_endpoint="https://x.run.app")},
            "without a token",
            f"{UPDATE}--push-endpoint=https://x.run.app --push-auth-service-account=",
        ),
        (
            {"push_config": PushConfig(a_subscription().push_config, push_endpoint="http://x")},
            "no https address",
            f"{UPDATE}--push-endpoint=",
        ),
        ({"filter": 'attributes.x = "y"'}, "has a filter", "gcloud pubsub subscriptions delete jobs"),
        ({"detached": True}, "is detached", "gcloud pubsub subscriptions delete jobs"),
    ],
)
def test_a_subscription_of_googles_is_judged_by_more(
    changed: dict[str, object], words: str, command: str
) -> None:
    assert subscription_problems(a_subscription(), "jobs", function_seconds=60, emulated=False) == []
    subscription = a_subscription(**changed)
    [(found, fix)] = subscription_problems(subscription, "jobs", function_seconds=60, emulated=False)
    assert words in found
    assert fix.startswith(command)


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Google's side of testIamPermissions, over gRPC: it grants what is in the set."""
    granted: set[str] = set()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if "missing" in request.resource:
            context.abort(grpc.StatusCode.NOT_FOUND, "Resource not found")
        return iam_policy_pb2.TestIamPermissionsResponse(
            permissions=[each for each in request.permissions if each in granted]
        )

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        iam_policy_pb2.TestIamPermissionsRequest.FromString,
        iam_policy_pb2.TestIamPermissionsResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    for service in ("google.iam.v1.IAMPolicy", "google.spanner.admin.database.v1.DatabaseAdmin"):
        methods = {"TestIamPermissions": handler}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for name in ("PUBSUB_EMULATOR_HOST", "SPANNER_EMULATOR_HOST"):
        monkeypatch.setenv(name, f"127.0.0.1:{port}")
    yield granted
    server.stop(None).wait()


ALL_OF_THE_DATABASE = {f"spanner.databases.{name}" for name in ("select", "write", "updateDdl")}
BOTH_OF_TOPICS = {"pubsub.topics.publish", "pubsub.subscriptions.consume"}


@pytest.mark.parametrize(
    ("lacking", "remedies"),
    [
        (set(), []),
        ({"spanner.databases.updateDdl"}, ["roles/spanner.databaseAdmin"]),
        (
            {"spanner.databases.select", "spanner.databases.write"},
            ["roles/spanner.databaseReader", "roles/spanner.databaseUser"],
        ),
        ({"pubsub.topics.publish"}, ["roles/pubsub.publisher"] * 2),
        ({"pubsub.subscriptions.consume"}, ["roles/pubsub.subscriber"] * 2),
    ],
)
def test_rights_that_the_operator_lacks_are_named(
    iam: set[str], lacking: set[str], remedies: list[str]
) -> None:
    iam |= (ALL_OF_THE_DATABASE | BOTH_OF_TOPICS) - lacking
    settings = Settings(project="p", spanner_instance="i")
    findings = [
        *database_permissions(settings),
        *topic_permissions(Deployment(settings, "ticks", pubsub_emulator_host=None)),
    ]
    wrong = [finding for finding in findings if finding.verdict is Verdict.TO_FIX]
    assert [finding.fix.rpartition("--role=")[2] for finding in wrong] == remedies
    assert all(any(permission in finding.found for permission in lacking) for finding in wrong)
    assert len(findings) - len(wrong) == 2 - bool(lacking)


def test_rights_on_what_is_missing_are_not_judged(iam: set[str]) -> None:
    settings = Settings(
        project="p", spanner_instance="missing", jobs_topic="missing", batch_events_topic="missing"
    )
    assert list(database_permissions(settings)) == []
    [finding] = topic_permissions(Deployment(settings, "ticks", pubsub_emulator_host=None))
    assert finding.verdict is Verdict.WELL


def printed_for_googles(scene: Scene) -> Iterator[str]:
    """What is printed where much is missing and no emulator is named, though emulators answer."""
    for kind, name in (("topic", "dead"), ("subscription", "dead"), ("subscription", "")):
        scene.delete(kind, f"{jobs(scene)}-{name}".rstrip("-"))
    settings = Settings(
        project=scene.project,
        spanner_instance="missing",
        jobs_topic=jobs(scene),
        batch_events_topic="missing",
        batch_emulator_host=None,
    )
    deployment = Deployment(settings, "ticks", pubsub_emulator_host=None)
    findings = [
        *topic_findings(deployment, "jobs"),
        *topic_findings(deployment, "batch-events"),
        *database_findings(settings),
        *settings_findings(deployment),
    ]
    batch = Settings(project="my-project", spanner_instance="i", batch_emulator_host=scene.batch.host)
    with scene.batch.faults.answer("ListJobs", grpc.StatusCode.NOT_FOUND):
        findings += batch_findings(batch)
    yield from (finding.fix for finding in findings if finding.fix.startswith("gcloud"))
    bare = a_subscription(
        push_config=PushConfig(push_endpoint="http://x"),
        filter="attributes:a",
        detached=True,
        ack_deadline_seconds=10,
        **dict.fromkeys(("retry_policy", "expiration_policy", "dead_letter_policy")),
    )
    yield from (fix for _, fix in subscription_problems(bare, "jobs", function_seconds=60, emulated=False))
    service = Service("Batch", "batch.googleapis.com", "roles/batch.jobsViewer", "my-project")
    yield service.failure("", PermissionDenied("SERVICE_DISABLED")).fix
    yield service.failure("", PermissionDenied("no")).fix
    yield service.failure("", DefaultCredentialsError("none")).fix


def test_every_gcloud_command_that_it_prints_is_one(scene: Scene, tmp_path: Path) -> None:
    """As gcloud itself judges, which runs nothing."""
    printed = {command.partition(" (")[0] for command in printed_for_googles(scene)}
    assert len(printed) == 17
    listed = tmp_path / "commands.json"
    listed.write_text(json.dumps([{"command_string": command} for command in printed]))
    lint = ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={listed}"]
    judged = json.loads(subprocess.check_output(lint, text=True, timeout=60))
    assert [each["error_message"] for each in judged if not each["success"]] == []
    assert len(judged) == len(printed)


def test_an_api_that_is_not_enabled_is_told_from_a_right_that_is_lacking() -> None:
    service = Service("Batch", "batch.googleapis.com", "roles/batch.jobsViewer", "p")
    disabled = PermissionDenied("Batch API has not been used in project 1 before or it is disabled.")
    assert service.failure("Batch", disabled).fix == "gcloud services enable batch.googleapis.com --project=p"
    lacking = service.failure("Batch", PermissionDenied("Permission 'batch.jobs.list' denied"))
    assert lacking.verdict is Verdict.TO_FIX
    assert lacking.fix.endswith("--role=roles/batch.jobsViewer")
