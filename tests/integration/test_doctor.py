"""`jennah doctor` on the emulators and the local Batch service: all is well, or what is broken is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.pubsub_v1.types import (
    PushConfig,
)

from jennah.local.issuer import issuer_settings
from jennah.operations import doctor as running
from jennah.operations.doctor import Verdict
from jennah.operations.doctor_command import doctor
from jennah.operations.sql import read_migrations, schema_directory
from jennah.output import CommandFailed
from tests.command import run_command
from tests.integration.doctor_scene import Scene, issuer_fixture, jobs, scene_fixture  # noqa: F401 - fixtures

JENNAH = Path(sys.executable).with_name("jennah")

Examined = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


def run(scene: Scene, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **scene.env, **changed}
    return run_command("doctor", "--ticks-topic", scene.ticks_topic, *arguments, env=env)


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
