"""The event functions as their own processes: what they take, what they refuse, and how they don't start."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_server import BatchServer
from jennah.local.processes import Processes, free_port
from jennah.local.pubsub import LocalPubsub
from jennah.local.services import PUSHED_TO, Services
from shared.batch_ids import batch_id
from shared.config import Timing
from shared.messages import JobMessage
from shared.model import Job, JobKey, JobStatus
from shared.rows import Reads
from shared.transitions import Transitions
from tests.integration.function_process import (
    PROJECT,
    running_function,
    schema_database,
    start_function,
    unchanged,
)

EVENTS = ("scheduling", "notification", "reconciliation")
TOPIC_OF = {function: topic for topic, function in PUSHED_TO.items()}
TENANT = str(uuid.UUID(int=7))
CLOUD_EVENT = {
    "ce-id": "1",
    "ce-source": f"//pubsub.googleapis.com/projects/{PROJECT}/topics/t",
    "ce-specversion": "1.0",
    "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
}


@dataclass(frozen=True)
class Cloud:
    """The event functions by name, and what they work on."""

    urls: Mapping[str, str]
    database: Database

    def post(self, function: str, body: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """What `curl --json` sends; bytes go as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        return httpx.post(self.urls[function], content=content, headers=sent, timeout=30, trust_env=False)

    def submitted(self) -> JobKey:
        """A new PENDING job that runs nothing for long."""
        transitions = Transitions(self.database, timing=Timing(), now=lambda: datetime.now(UTC))
        job = Job(
            tenant_id=TENANT,
            job_id=str(uuid.uuid4()),
            image_uri="busybox",
            commands=("sleep", "600"),
            batch_parent=f"projects/{PROJECT}/locations/us-central1",
        )
        transitions.submit(job)
        return job.key

    def status(self, key: JobKey) -> JobStatus:
        job = Reads(self.database).job(key)
        assert job is not None
        return job.status


@pytest.fixture(scope="module")
def settings(
    spanner_instance: Instance, spanner_host: str, pubsub_host: str, batch_server: BatchServer
) -> Iterator[tuple[Database, dict[str, str]]]:
    """A database, and the environment that leads a function to it."""
    with schema_database(spanner_instance) as database:
        with database.batch() as batch:
            batch.insert("Tenants", ["TenantId", "CreatedAt"], [[TENANT, COMMIT_TIMESTAMP]])
        yield (
            database,
            {
                "SPANNER_EMULATOR_HOST": spanner_host,
                "SPANNER_INSTANCE": spanner_instance.instance_id,
                "SPANNER_DATABASE": database.database_id,
                "PUBSUB_EMULATOR_HOST": pubsub_host,
                "BATCH_EMULATOR_HOST": batch_server.host,
                "JENNAH_TICK_SECONDS": "60",
            },
        )


@pytest.fixture(scope="module")
def cloud(
    settings: tuple[Database, dict[str, str]],
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    database, environ = settings
    folder = tmp_path_factory.mktemp("events")
    with (
        running_function(processes, folder, "scheduling", environ) as scheduling,
        running_function(processes, folder, "notification", environ) as notification,
        running_function(processes, folder, "reconciliation", environ) as reconciliation,
    ):
        urls = {"scheduling": scheduling, "notification": notification, "reconciliation": reconciliation}
        yield Cloud(urls, database)


@dataclass(frozen=True)
class Poison:
    """Malformed messages that name a real job, published where functions are pushed to."""

    key: JobKey
    url: str

    def dead_letters(self, function: str) -> list[str]:
        """The marks of what arrives first in the dead-letter topic of the function's own."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            # The emulator answers a pull once there is a message.
            pull = f"{self.url}/subscriptions/{TOPIC_OF[function]}-dead:pull"
            answer = httpx.post(pull, json={"maxMessages": 10}, timeout=60, trust_env=False).json()
            if received := answer.get("receivedMessages"):
                return [entry["message"]["attributes"]["mark"] for entry in received]
        return []


@pytest.fixture(scope="module", autouse=True)
def poison(cloud: Cloud, pubsub_host: str) -> Poison:
    """Published before anything else happens: the emulator needs 13 s for its five deliveries."""
    key = cloud.submitted()
    wrong = {
        "scheduling": pushed(job_data(tenant_id=key.tenant_id, job_id=key.job_id, attempt=True))["message"],
        "notification": notification(key, JobUID="")["message"],
    }
    project = f"poison-{uuid.uuid4().hex[:8]}"  # topics of their own, whoever else uses this emulator
    url = f"http://{pubsub_host}/v1/projects/{project}"
    for function, message in wrong.items():
        topic = TOPIC_OF[function]
        LocalPubsub(pubsub_host, project).create_pushed_topic(topic, cloud.urls[function])
        marked = {"attributes": {**message.get("attributes", {}), "mark": function}}
        if "data" in message:
            marked["data"] = message["data"]
        sent = httpx.post(f"{url}/topics/{topic}:publish", json={"messages": [marked]}, trust_env=False)
        assert sent.status_code == 200
    return Poison(key, url)


def pushed(data: bytes | None = None, **fields: object) -> dict[str, Any]:
    message: dict[str, object] = {"messageId": "7", "publishTime": datetime.now(UTC).isoformat(), **fields}
    if data is not None:
        message["data"] = base64.b64encode(data).decode()
    return {"message": message, "subscription": f"projects/{PROJECT}/subscriptions/s"}


def notification(key: JobKey, **changed: str) -> dict[str, Any]:
    attributes = {
        "JobName": f"projects/1/locations/us-central1/jobs/{batch_id(key, 1)}",
        "JobUID": "forged",
        "NewJobState": "SUCCEEDED",
        "Type": "JOB_STATE_CHANGED",
        **changed,
    }
    return pushed(attributes=attributes)


ENCODINGS = [pytest.param({}, id="push"), pytest.param(CLOUD_EVENT, id="cloudevent")]


@pytest.mark.parametrize("headers", ENCODINGS)
def test_scheduling_takes_both_encodings(cloud: Cloud, headers: Mapping[str, str]) -> None:
    key = cloud.submitted()
    body = pushed(JobMessage(key, 1).encode())
    for _ in range(2):
        answer = cloud.post("scheduling", body, headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert cloud.status(key) is JobStatus.SCHEDULED


@pytest.mark.parametrize("headers", ENCODINGS)
def test_notification_takes_both_encodings(cloud: Cloud, headers: Mapping[str, str]) -> None:
    key = cloud.submitted()
    cloud.post("scheduling", pushed(JobMessage(key, 1).encode()))
    job = Reads(cloud.database).job(key)
    assert job is not None
    assert job.batch_uid is not None
    running = notification(key, JobUID=job.batch_uid, NewJobState="RUNNING")
    for _ in range(2):
        answer = cloud.post("notification", running, headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert cloud.status(key) is JobStatus.RUNNING


@pytest.mark.parametrize("headers", ENCODINGS)
def test_reconciliation_takes_both_encodings(cloud: Cloud, headers: Mapping[str, str]) -> None:
    assert cloud.post("reconciliation", pushed(), headers).status_code == 204
    spelled = {"message": {"data": "", "message_id": "7", "publish_time": "2026-01-02T03:04:05Z"}}
    assert cloud.post("reconciliation", spelled, headers).status_code == 204


def test_what_is_nobodys_is_acknowledged(cloud: Cloud) -> None:
    key = cloud.submitted()
    nowhere = JobKey(str(uuid.uuid4()), str(uuid.uuid4()))
    with unchanged(cloud.database):
        for function, body in [
            ("scheduling", pushed(JobMessage(nowhere, 1).encode())),
            ("scheduling", pushed(JobMessage(key, 2).encode())),
            ("notification", notification(nowhere)),
            ("notification", notification(key)),
            ("notification", pushed(attributes={"Type": "TASK_STATE_CHANGED", "NewTaskState": "FAILED"})),
        ]:
            assert cloud.post(function, body).status_code == 204


POISON: Mapping[str, object] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "deep JSON": b"[" * 100_000,
    "a list": [],
    "no message": {"subscription": "s"},
    "a message that is none": {"message": "x"},
    "no id": {"message": {"data": "", "publishTime": "2026-01-02T03:04:05Z"}},
    "no base64": {"message": {"messageId": "7", "data": "%"}},
    "attributes that are none": {"message": {"messageId": "7", "attributes": [1]}},
}


def job_data(**changed: object) -> bytes:
    fields = {"format": 1, "tenant_id": TENANT, "job_id": str(uuid.UUID(int=1)), "attempt": 1, **changed}
    return json.dumps(fields).encode()


# What is malformed for one function only.
OWN_POISON: Mapping[str, Mapping[str, object]] = {
    "scheduling": {
        "no data": pushed(),
        "data that is no JSON": pushed(b"{"),
        "deep data": pushed(b"[" * 100_000),
        "another format": pushed(job_data(format=2)),
        "no id": pushed(job_data(job_id="x")),
        "no attempt": pushed(job_data(attempt=True)),
        "an attempt beyond all": pushed(job_data(attempt=2**64)),
    },
    "notification": {
        "no attributes": pushed(),
        "a foreign job": pushed(attributes={"JobName": "x", "JobUID": "u", "NewJobState": "RUNNING"}),
        "no uid": notification(JobKey(TENANT, TENANT), JobUID=""),
        "no state": notification(JobKey(TENANT, TENANT), NewJobState=""),
    },
    "reconciliation": {
        "no time": pushed(publishTime="now"),
        "no zone": pushed(publishTime="2026-01-02T03:04:05"),
    },
}


@pytest.mark.parametrize("function", EVENTS)
def test_poison_is_refused_and_changes_nothing(cloud: Cloud, function: str) -> None:
    cloud.submitted()
    bodies = {**POISON, **OWN_POISON[function]}
    with unchanged(cloud.database):
        for name, body in bodies.items():
            for headers in ({}, CLOUD_EVENT):
                answer = cloud.post(function, body, headers)
                assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT"), (
                    name
                )
        other_type = {**CLOUD_EVENT, "ce-type": "google.cloud.storage.object.v1.finalized"}
        assert cloud.post(function, pushed(), other_type).status_code == 400
        assert httpx.get(cloud.urls[function], trust_env=False).status_code == 405


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        ("submission", "JENNAH_OIDC_ISSUERS", "{"),
        (
            "submission",
            "JENNAH_OIDC_ISSUERS",
            '[{"issuer": "http://example.com", "audience": "a", "provider": "p"}]',
        ),
        ("scheduling", "SPANNER_INSTANCE", ""),
        ("notification", "BATCH_EMULATOR_HOST", "http://localhost"),
        ("reconciliation", "JENNAH_TICK_SECONDS", "soon"),
    ],
)
def test_with_a_wrong_setting_a_function_does_not_start(
    processes: Processes, tmp_path: Path, function: str, name: str, value: str
) -> None:
    process = start_function(processes, Services(tmp_path, free_port(), settings={name: value}), function)
    try:
        assert process.wait(30)
        assert process.exit_code == 1
        (sentence,) = process.log.read_text().splitlines()
        assert sentence.startswith(f"{name} ")
        assert sentence.endswith(".")
    finally:
        process.kill()


def test_without_an_account_for_jobs_only_the_local_batch_is_given_any(
    processes: Processes, tmp_path: Path
) -> None:
    settings = {"BATCH_EMULATOR_HOST": ""}
    process = start_function(processes, Services(tmp_path, free_port(), settings=settings), "scheduling")
    try:
        assert process.wait(30)
        assert process.exit_code == 1
        assert process.log.read_text().startswith("JENNAH_JOB_SERVICE_ACCOUNT is not set: ")
    finally:
        process.kill()


@pytest.mark.parametrize("function", ["scheduling", "notification"])
def test_poison_ends_in_the_dead_letter_topic(cloud: Cloud, poison: Poison, function: str) -> None:
    """A tick that comes through Pub/Sub can't be poison: only the time of its publishing is read."""
    assert poison.dead_letters(function) == [function]
    job = Reads(cloud.database).job(poison.key)
    assert job is not None
    assert (job.status, job.version) == (JobStatus.PENDING, 1)
