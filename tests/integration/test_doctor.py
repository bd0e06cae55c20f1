"""`jennah doctor` on the emulators and the local Batch service: all is well, or what is broken is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import PermissionDenied
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance
from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]  # no stubs exist
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
    UpdateSubscriptionRequest,
)

from jennah.local.batch_server import BatchServer
from jennah.local.issuer import LocalIssuer, issuer_settings
from jennah.local.pubsub import LocalPubsub
from jennah.operations import doctor as running
from jennah.operations.doctor import Deployment, Service, Verdict
from jennah.operations.doctor_command import doctor
from jennah.operations.doctor_services import batch_findings, database_findings
from jennah.operations.doctor_services import permission_findings as database_permissions
from jennah.operations.doctor_settings import settings_findings
from jennah.operations.doctor_topics import FUNCTIONS, subscription_problems, topic_findings
from jennah.operations.doctor_topics import permission_findings as topic_permissions
from jennah.operations.migrate import migrate
from jennah.operations.sql import read_migrations, schema_directory
from jennah.output import CommandFailed
from shared.config import Settings

JENNAH = Path(sys.executable).with_name("jennah")

Examined = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


@dataclass
class Scene:
    """A deployment on the emulators, with topics in a project of its own."""

    env: dict[str, str]
    database: Database
    batch: BatchServer
    publisher: PublisherClient
    subscriber: SubscriberClient
    ticks_topic: str

    @property
    def project(self) -> str:
        return self.env["GOOGLE_CLOUD_PROJECT"]

    def update(self, subscription: str, *paths: str, **changed: object) -> None:
        name = f"projects/{self.project}/subscriptions/{subscription}"
        found = self.subscriber.get_subscription(subscription=name)
        for key, value in changed.items():
            setattr(found, key, value)
        request = UpdateSubscriptionRequest(subscription=found, update_mask=FieldMask(paths=paths))
        self.subscriber.update_subscription(request=request)

    def delete(self, kind: str, name: str) -> None:
        path = f"projects/{self.project}/{kind}s/{name}"
        if kind == "topic":
            self.publisher.delete_topic(topic=path)
        else:
            self.subscriber.delete_subscription(subscription=path)


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def scene(
    *,
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    batch_server: BatchServer,
    issuer: LocalIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    """A deployment that is well."""
    project = "jennah-test"  # the instance's
    for name in list(os.environ):
        if name.startswith(("JENNAH_", "GOOGLE_APPLICATION")):
            monkeypatch.delenv(name)
    name = uuid.uuid4().hex[:12]
    database = spanner_instance.database(f"doctor-{name}")
    database.create().result(30)
    migrate(database)
    prefix = f"t{name}"
    local = LocalPubsub(pubsub_host, project)
    for role in FUNCTIONS:
        local.create_pushed_topic(f"{prefix}-{role}", "http://127.0.0.1:1/")
    env = {
        "GOOGLE_CLOUD_PROJECT": project,
        "SPANNER_INSTANCE": spanner_instance.instance_id,
        "SPANNER_DATABASE": database.database_id,
        "SPANNER_EMULATOR_HOST": spanner_host,
        "PUBSUB_EMULATOR_HOST": pubsub_host,
        "BATCH_EMULATOR_HOST": batch_server.host,
        "JENNAH_JOBS_TOPIC": f"{prefix}-jobs",
        "JENNAH_BATCH_EVENTS_TOPIC": f"{prefix}-batch-events",
        "JENNAH_OIDC_ISSUERS": issuer_settings(issuer.url),
        "JENNAH_ADMIT": '{"domains": ["example.com"]}',
    }
    made = Scene(env, database, batch_server, PublisherClient(), SubscriberClient(), f"{prefix}-ticks")
    yield made
    batch_server.faults.clear()
    database.drop()


def run(scene: Scene, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [JENNAH, "doctor", "--ticks-topic", scene.ticks_topic, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **scene.env, **changed},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def examined(scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Examined:
    """The exit code, and what is wrong by the check that says so."""

    def examine(**changed: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        for name, value in {**scene.env, **changed}.items():
            monkeypatch.setenv(name, value)
        code = 0
        try:
            doctor(ticks_topic=scene.ticks_topic, as_json=True)
        except CommandFailed as failure:
            code = failure.exit_code
        shown = json.loads(capsys.readouterr().out)
        assert shown["well"] == (code == 0)
        wrong: dict[str, list[dict[str, str]]] = {}
        for finding in shown["findings"]:
            if finding["verdict"] in {"fix", "unreachable"}:
                assert finding["fix"], finding
                wrong.setdefault(finding["check"], []).append(finding)
        return code, wrong

    return examine


def test_a_deployment_that_is_well(scene: Scene) -> None:
    done = run(scene)
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["CHECK", "FOUND", "FIX"]
    column = header.index("FOUND")
    verdicts = {line[:column].strip().rpartition("  ")[2].strip() for line in lines}
    assert verdicts == {"ok", "info", "n/a"}
    assert all(line[column] != " " for line in lines)  # aligned
    for words in (
        "example",
        "1 keys",
        "this release's",
        "no job is due",
        "Dispatch is on",
        "no use for them",
    ):
        assert words in done.stdout or words == "example"
    shown = json.loads(run(scene, "--json").stdout)
    assert shown["well"] is True
    checks = [finding["check"] for finding in shown["findings"]]
    assert {"settings", "issuers", "admission", "database", "schema", "Batch", "backlog"} <= set(checks)
    assert {f"topic {scene.env['JENNAH_JOBS_TOPIC']}", f"topic {scene.ticks_topic}"} <= set(checks)


Break = Callable[[Scene], "dict[str, str] | None"]


def jobs(scene: Scene) -> str:
    return scene.env["JENNAH_JOBS_TOPIC"]


def lose_the_schema(scene: Scene) -> None:
    scene.database.update_ddl(["DROP TABLE Switches"]).result(60)


def fall_behind(scene: Scene) -> None:
    last = len(read_migrations(schema_directory()))
    scene.database.run_in_transaction(
        lambda transaction: transaction.execute_update(f"DELETE FROM SchemaMigrations WHERE Version = {last}")
    )


def run_ahead(scene: Scene) -> None:
    with scene.database.batch() as batch:
        columns = ("Version", "Name", "Checksum", "AppliedAt")
        batch.insert("SchemaMigrations", columns, [(99, "later", "x", COMMIT_TIMESTAMP)])


def pull_only(scene: Scene) -> None:
    scene.update(jobs(scene), "push_config", push_config=PushConfig())


def without_dead_letters(scene: Scene) -> None:
    name = f"projects/{scene.project}/subscriptions/{jobs(scene)}"
    found = scene.subscriber.get_subscription(subscription=name)
    del found.dead_letter_policy
    scene.subscriber.delete_subscription(subscription=name)  # the emulator can't take the policy away
    scene.subscriber.create_subscription(request=found)


def impatient(scene: Scene) -> None:
    scene.update(jobs(scene), "ack_deadline_seconds", ack_deadline_seconds=60)


BROKEN: dict[str, tuple[Break, int, str, str, str]] = {
    # what is done: exit code, the check that says so, its words, its remedy
    "the database is missing": (
        lambda _: {"SPANNER_DATABASE": "missing"},
        1,
        "database",
        "there is no database missing in the instance",
        "jennah migrate --create",
    ),
    "the instance is missing": (
        lambda _: {"SPANNER_INSTANCE": "missing"},
        1,
        "database",
        "there is no Spanner instance missing",
        "make up",
    ),
    "Spanner does not answer": (
        lambda _: {"SPANNER_EMULATOR_HOST": "127.0.0.1:1"},
        3,
        "database",
        "Nothing answers at SPANNER_EMULATOR_HOST=127.0.0.1:1",
        "make up",
    ),
    "a migration is not applied": (
        fall_behind,
        1,
        "schema",
        "1 migrations are not applied",
        "jennah migrate",
    ),
    "the database is newer": (
        run_ahead,
        1,
        "schema",
        "newer than this release",
        "jennah check-schema",
    ),
    "a table was dropped": (lose_the_schema, 1, "schema", "Switches", "jennah check-schema"),
    "a topic is missing": (
        lambda scene: scene.delete("topic", jobs(scene)),
        1,
        "topic JOBS",
        "there is no topic JOBS",
        "make up",
    ),
    "the ticks go elsewhere": (
        lambda scene: setattr(scene, "ticks_topic", "elsewhere"),
        1,
        "topic elsewhere",
        "there is no topic elsewhere",
        "make up",
    ),
    "a subscription is missing": (
        lambda scene: scene.delete("subscription", jobs(scene)),
        1,
        "topic JOBS",
        "nothing pushes it to scheduling",
        "make up",
    ),
    "a subscription waits to be pulled": (
        pull_only,
        1,
        "topic JOBS",
        "nothing pushes it to scheduling",
        "make up",
    ),
    "there are no dead letters": (
        without_dead_letters,
        1,
        "topic JOBS",
        "has no dead-letter topic",
        "make up",
    ),
    "the deadline is too short": (
        impatient,
        1,
        "topic JOBS",
        "the acknowledgement deadline of JOBS is 60 s, and a function may take 60 s",
        "make up",
    ),
    "the dead-letter topic is missing": (
        lambda scene: scene.delete("topic", f"{jobs(scene)}-dead"),
        1,
        "topic JOBS",
        "there is no topic JOBS-dead",
        "make up",
    ),
    "nothing keeps the dead letters": (
        lambda scene: scene.delete("subscription", f"{jobs(scene)}-dead"),
        1,
        "topic JOBS",
        "there is no subscription JOBS-dead",
        "make up",
    ),
    "Pub/Sub does not answer": (
        lambda _: {"PUBSUB_EMULATOR_HOST": "127.0.0.1:1"},
        3,
        "topic for jobs",
        "Nothing answers at PUBSUB_EMULATOR_HOST=127.0.0.1:1",
        "make up",
    ),
    "Batch does not answer": (
        lambda _: {"BATCH_EMULATOR_HOST": "127.0.0.1:1"},
        3,
        "Batch",
        "Nothing answers at BATCH_EMULATOR_HOST=127.0.0.1:1",
        "make up",
    ),
    "the API does not answer": (
        lambda _: {"JENNAH_URL": "http://127.0.0.1:1"},
        3,
        "API",
        "http://127.0.0.1:1 does not answer",
        "make up",
    ),
    "something else answers": (
        lambda scene: {"JENNAH_URL": json.loads(scene.env["JENNAH_OIDC_ISSUERS"])[0]["issuer"]},
        1,
        "API",
        "/health is answered by 404",
        "make up",
    ),
    "no issuer": (
        lambda _: {"JENNAH_OIDC_ISSUERS": "[]"},
        1,
        "issuers",
        "no token is accepted",
        "oidc_issuers",
    ),
    "an issuer is away": (
        lambda _: {"JENNAH_OIDC_ISSUERS": issuer_settings("http://127.0.0.1:1")},
        1,
        "issuers",
        "the keys of http://127.0.0.1:1 can't be had",
        "curl -fsS http://127.0.0.1:1/.well-known/openid-configuration",
    ),
    "nobody is admitted": (
        lambda _: {"JENNAH_ADMIT": "{}"},
        1,
        "admission",
        "nobody may become a tenant",
        "set admit",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_alone_and_what_mends_it(name: str, scene: Scene, examined: Examined) -> None:
    breaks, expected_code, check, words, remedy = BROKEN[name]
    code, wrong = examined(**(breaks(scene) or {}))
    check, words = check.replace("JOBS", jobs(scene)), words.replace("JOBS", jobs(scene))
    assert code == expected_code
    found = wrong.pop(check)
    assert [finding["found"] for finding in found if words in finding["found"]], found
    assert all(finding["fix"].startswith(remedy) or remedy in finding["fix"] for finding in found)
    # Nothing else is called broken, but the other topics of a Pub/Sub that is away.
    assert not wrong or all(key.startswith("topic for") for key in wrong), wrong


@pytest.mark.parametrize(
    ("status", "code", "words", "remedy"),
    [
        (
            grpc.StatusCode.PERMISSION_DENIED,
            1,
            "may not look at it",
            "gcloud projects add-iam-policy-binding",
        ),
        (grpc.StatusCode.UNAVAILABLE, 3, "Batch does not answer", "make up"),
        (grpc.StatusCode.NOT_FOUND, 1, "Batch knows no projects/jennah-test/locations/us-central1", "gcloud"),
    ],
)
def test_what_batch_refuses(
    scene: Scene,
    examined: Examined,
    *,
    status: grpc.StatusCode,
    code: int,
    words: str,
    remedy: str,
) -> None:
    with scene.batch.faults.answer("ListJobs", status):
        found, wrong = examined()
    ([finding],) = wrong.values()
    assert (found, finding["check"]) == (code, "Batch")
    assert words in finding["found"]
    assert remedy in finding["fix"]


def test_a_service_that_hangs_holds_no_other_up(
    scene: Scene,
    examined: Examined,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "_CHECK_SECONDS", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        host = f"127.0.0.1:{deaf.getsockname()[1]}"
        code, wrong = examined(BATCH_EMULATOR_HOST=host, JENNAH_ADMIT="{}")
    assert code == 3
    assert {check: findings[0]["verdict"] for check, findings in wrong.items()} == {
        "Batch": Verdict.UNREACHABLE,
        "admission": Verdict.TO_FIX,
    }


def test_wrong_settings_end_it_at_once(scene: Scene) -> None:
    done = run(scene, JENNAH_ADMIT="[]")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("jennah: JENNAH_ADMIT must be")


def test_without_credentials_what_is_googles_is_unreachable(scene: Scene) -> None:
    missing = {"SPANNER_EMULATOR_HOST": "", "PUBSUB_EMULATOR_HOST": "", "BATCH_EMULATOR_HOST": ""}
    done = run(scene, "--json", GOOGLE_APPLICATION_CREDENTIALS="/nonexistent.json", **missing)
    assert done.returncode == 3, done.stderr
    findings = json.loads(done.stdout)["findings"]
    away = {finding["check"]: finding["fix"] for finding in findings if finding["verdict"] == "unreachable"}
    assert {"credentials", "database", "Batch", "topic for jobs", "permissions on topics"} <= away.keys()
    assert set(away.values()) == {"gcloud auth application-default login"}
    # What needs no credentials is judged all the same.
    assert {"issuers": "ok", "admission": "ok", "job account": "fix"}.items() <= {
        finding["check"]: finding["verdict"] for finding in findings
    }.items()


def test_work_that_is_due_and_a_pause_are_told(scene: Scene) -> None:
    tenant, job = str(uuid.uuid4()), str(uuid.uuid4())
    with scene.database.batch() as batch:
        batch.insert("Tenants", ["TenantId", "CreatedAt"], [(tenant, COMMIT_TIMESTAMP)])
        columns = ("TenantId", "JobId", "Status", "NextCheckAt")
        batch.insert("Jobs", columns, [(tenant, job, "PENDING", "2026-01-01T00:00:00Z")])
        switch = ("Name", "Paused", "Reason", "SetAt")
        batch.insert("Switches", switch, [("dispatch", True, "quota", COMMIT_TIMESTAMP)])
    done = run(scene)
    assert done.returncode == 0  # information, no fault
    assert "1 jobs are due for a check, the oldest since 2026-01-01T00:00:00Z" in done.stdout
    assert "Dispatch is paused since" in done.stdout
    assert ": quota" in done.stdout
    assert done.stdout.rstrip().endswith("jennah resume")


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
