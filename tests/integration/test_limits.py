"""Limits of tenants on the emulators: what is counted, what a count costs, and what a client is answered."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_server import BatchServer
from jennah.local.processes import Processes
from shared.api.spec import SubmitRequest
from shared.config import Limits, Timing
from shared.errors import ResourceExhausted
from shared.limits import COUNT_SECONDS, Limiter, Usage
from shared.rows import Reads
from shared.tenant_deletion import TenantDeletion
from shared.transitions import Transitions
from shared.usage import OpenJobs
from tests.integration.api_process import ApiProcess, running_api
from tests.integration.conftest import Platform, make_platform
from tests.integration.function_process import unchanged
from tests.integration.wire import Wire

ALL = Limits(open_jobs=1000, vcpu_in_flight=1000)
BODY: dict[str, Any] = {"image_uri": "busybox", "commands": ["true"]}


# ---- counts ------------------------------------------------------------------------------------------------


def test_open_jobs_and_their_vcpus_are_counted(platform: Platform) -> None:
    count = OpenJobs(platform.database)
    assert count(platform.tenant_id, ALL) == Usage()
    platform.submit("true")
    platform.submit("true", profile="small")
    platform.submit("true", resources={"cpu_milli": 500, "memory_mib": 512}, task_count=10, parallelism=4)
    platform.submit("true", machine_type="e2-standard-8")
    cancelled = platform.submit("true", profile="xlarge")
    platform.jobs.cancel(*cancelled)
    assert count(platform.tenant_id, ALL) == Usage(4, 2000 + 1000 + 4 * 500 + 8000)
    assert count(str(uuid.uuid4()), ALL) == Usage()


def test_rows_from_before_the_specification_count_as_the_default(platform: Platform) -> None:
    for status, spec in (("PENDING", None), ("RUNNING", JsonObject({"env": {}})), ("COMPLETED", None)):
        with platform.database.batch() as batch:
            row = [platform.tenant_id, str(uuid.uuid4()), status, spec]
            batch.insert("Jobs", ["TenantId", "JobId", "Status", "Spec"], [row])
    assert OpenJobs(platform.database)(platform.tenant_id, ALL) == Usage(2, 4000)


def test_counting_ends_where_a_limit_is_passed(platform: Platform) -> None:
    for _ in range(6):
        platform.submit("true", profile="large")
    count = OpenJobs(platform.database)
    assert count(platform.tenant_id, Limits(open_jobs=2)) == Usage(3)
    assert count(platform.tenant_id, Limits(vcpu_in_flight=1)) == Usage(5, 20_000)
    assert count(platform.tenant_id, Limits(vcpu_in_flight=9)) == Usage(6, 24_000)
    assert count(platform.tenant_id, Limits(open_jobs=0, vcpu_in_flight=0)) == Usage(1, 4000)


def submit(platform: Platform, limiter: Limiter, key: str | None = None) -> bool:
    """Whether it is let through."""
    allowance = limiter.of(platform.tenant_id, None)
    request = SubmitRequest(image_uri="busybox", commands=["true"])
    try:
        platform.jobs.submit(platform.tenant_id, request, key, allowance=allowance)
    except ResourceExhausted:
        return False
    return True


@pytest.mark.parametrize(
    ("limits", "cost"),
    [
        (Limits(), {}),
        (Limits(submissions_per_minute=1000), {}),
        (Limits(open_jobs=1000), {"ExecuteStreamingSql": 1}),
        (Limits(vcpu_in_flight=1000), {"ExecuteStreamingSql": 1}),
        (ALL, {"ExecuteStreamingSql": 1}),
    ],
    ids=str,
)
def test_a_submission_is_one_rpc_and_a_count_comes_every_ten_seconds(
    wired: Database, wire: Wire, batch_server: BatchServer, limits: Limits, cost: dict[str, int]
) -> None:
    now = 0.0
    platform = make_platform(wired, batch_server)
    limiter = Limiter(limits, OpenJobs(wired), clock=lambda: now)
    wire.taken()
    assert submit(platform, limiter)
    assert wire.taken() == {"Commit": 1, **cost}
    now = COUNT_SECONDS - 0.1
    for _ in range(20):
        assert submit(platform, limiter)
    assert wire.taken() == {"Commit": 20}
    now = COUNT_SECONDS
    assert submit(platform, limiter)
    assert wire.taken() == {"Commit": 1, **cost}


def test_a_refusal_costs_nothing_and_with_a_key_one_read(
    wired: Database, wire: Wire, batch_server: BatchServer
) -> None:
    platform = make_platform(wired, batch_server)
    limiter = Limiter(Limits(open_jobs=1), OpenJobs(wired), clock=lambda: 0.0)
    assert submit(platform, limiter, "key")
    wire.taken()
    assert not submit(platform, limiter)
    assert wire.taken() == {}
    assert not submit(platform, limiter, "another")
    assert wire.taken() == {"StreamingRead": 1}
    assert submit(platform, limiter, "key")  # the same job again


@pytest.mark.parametrize("instances", [1, 3])
def test_so_many_instances_accept_at_most_so_many_times_the_limit(platform: Platform, instances: int) -> None:
    """Each instance of the function has counted an empty database, and then they race."""
    limit, now = 4, 0.0
    limiters = [
        Limiter(Limits(open_jobs=limit), OpenJobs(platform.database), clock=lambda: now)
        for _ in range(instances)
    ]
    together = threading.Barrier(4 * instances)

    def race(at: int) -> None:
        together.wait(20)
        for _ in range(limit):
            submit(platform, limiters[at % instances])

    with ThreadPoolExecutor(4 * instances) as pool:
        list(pool.map(race, range(4 * instances)))
    opened = OpenJobs(platform.database)(platform.tenant_id, ALL).jobs
    assert limit <= opened <= instances * limit
    assert opened == limit or instances > 1
    now = COUNT_SECONDS
    assert not any(submit(platform, limiter) for limiter in limiters)


# ---- answers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ApiProcess]:
    hosts = {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host}
    limits = {"open_jobs": 3, "submissions_per_minute": 100}
    settings = {"JENNAH_ADMIT": "everyone", "JENNAH_LIMITS": json.dumps(limits)}
    folder = tmp_path_factory.mktemp("limits")
    with running_api(spanner_instance, processes, folder, hosts, settings=settings) as running:
        yield running


@dataclass(frozen=True)
class Caller:
    """A tenant."""

    api: ApiProcess
    subject: str

    def headers(self) -> dict[str, str]:
        token = self.api.issuers[0].mint("a@example.com", sub=self.subject)
        return {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> httpx.Response:
        return self.api.client.get(path, headers=self.headers())

    def post(self, path: str, body: object = None, key: str | None = None) -> httpx.Response:
        headers = self.headers() | ({"Idempotency-Key": key} if key else {})
        return self.api.client.post(path, json=body, headers=headers)


@pytest.fixture
def ann(api: ApiProcess) -> Caller:
    return Caller(api, uuid.uuid4().hex)


def refused(answer: httpx.Response, limit: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (429, 429, "RESOURCE_EXHAUSTED")
    assert error["details"] == [{"limit": limit}]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def refused_for_good(answer: httpx.Response, status: int, code: str, limit: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (status, status, code)
    assert error["details"] == [{"limit": limit}]
    assert "Retry-After" not in answer.headers


def test_a_tenant_that_has_enough_is_told_so(ann: Caller) -> None:
    first = ann.post("/v1/jobs", BODY, "first")
    assert first.status_code == 201
    assert [ann.post("/v1/jobs", BODY).status_code for _ in range(2)] == [201, 201]
    refused(ann.post("/v1/jobs", BODY), "open_jobs")
    refused(ann.post("/v1/jobs", BODY, "new"), "open_jobs")
    again = ann.post("/v1/jobs", BODY, "first")
    assert (again.status_code, again.json()["job_id"]) == (200, first.json()["job_id"])
    assert ann.post("/v1/jobs", {**BODY, "name": "x"}, "first").status_code == 409
    assert Caller(ann.api, uuid.uuid4().hex).post("/v1/jobs", BODY).status_code == 201


def test_a_tenant_sees_why_it_is_refused(ann: Caller) -> None:
    for _ in range(3):
        ann.post("/v1/jobs", BODY)
    refused(ann.post("/v1/jobs", BODY), "open_jobs")
    tenant = ann.get("/v1/tenant").json()
    assert tenant["limits"] == {"open_jobs": 3, "submissions_per_minute": 100, "vcpu_in_flight": None}
    assert tenant["usage"] == {"open_jobs": 3, "vcpu_in_flight": None}


def test_a_batch_counts_its_jobs(ann: Caller) -> None:
    four = ann.post("/v1/jobs:batchCreate", {"requests": [BODY] * 4})
    refused_for_good(four, 409, "FAILED_PRECONDITION", "open_jobs")
    batch = {"requests": [BODY] * 3}
    assert ann.post("/v1/jobs:batchCreate", batch, "batch").status_code == 201
    refused(ann.post("/v1/jobs:batchCreate", {"requests": [BODY]}), "open_jobs")
    assert ann.post("/v1/jobs:batchCreate", batch, "batch").status_code == 200


def test_a_retry_counts_as_a_job(ann: Caller) -> None:
    jobs = [ann.post("/v1/jobs", BODY).json()["job_id"] for _ in range(3)]
    assert ann.post(f"/v1/jobs/{jobs[0]}:cancel").status_code == 200
    refused(ann.post(f"/v1/jobs/{jobs[0]}:retry"), "open_jobs")  # the count is used for ten seconds


def test_the_operator_may_give_a_tenant_other_limits(ann: Caller) -> None:
    own = JsonObject({"open_jobs": None, "submissions_per_minute": 5})
    with ann.api.database.batch() as batch:
        columns = ["TenantId", "OAuthProvider", "OAuthUserId", "Limits"]
        batch.insert("Tenants", columns, [[str(uuid.uuid4()), "local", ann.subject, own]])
    assert [ann.post("/v1/jobs", BODY).status_code for _ in range(5)] == [201] * 5
    refused(ann.post("/v1/jobs", BODY), "submissions_per_minute")


def test_a_first_submission_that_is_refused_makes_no_tenant(ann: Caller) -> None:
    with unchanged(ann.api.database):
        assert ann.post("/v1/jobs:batchCreate", {"requests": [BODY] * 4}).status_code == 409
        secret = {"A": "projects/p/secrets/s/versions/1"}
        assert ann.post("/v1/jobs", {**BODY, "secret_env": secret}).status_code == 400
    # Whatever is refused counts.
    for _ in range(24):
        ann.post("/v1/jobs:batchCreate", {"requests": [BODY] * 4})
    with unchanged(ann.api.database):
        refused(ann.post("/v1/jobs", BODY), "submissions_per_minute")


def test_who_is_blocked_stays_blocked_after_leaving(ann: Caller) -> None:
    """Also where everybody is admitted."""
    database, tenant_id = ann.api.database, str(uuid.uuid4())
    with database.batch() as batch:
        columns = ["TenantId", "OAuthProvider", "OAuthUserId", "DeletedAt", "Limits"]
        limits = JsonObject({"open_jobs": 0})
        batch.insert("Tenants", columns, [[tenant_id, "local", ann.subject, COMMIT_TIMESTAMP, limits]])
    reads, timing = Reads(database), Timing()
    TenantDeletion(
        database,
        reads=reads,
        transitions=Transitions(database, timing=timing, now=in_an_hour),
        publish=lambda *_: None,
        timing=timing,
        now=in_an_hour,
    ).proceed(until=in_an_hour() + timedelta(minutes=1))
    with database.snapshot() as snapshot:
        assert list(snapshot.read("Tenants", ["TenantId"], KeySet(keys=[[tenant_id]]))) == []
    with unchanged(database):
        for path, body in (("/v1/jobs", BODY), ("/v1/jobs:batchCreate", {"requests": [BODY]})):
            refused_for_good(ann.post(path, body), 403, "PERMISSION_DENIED", "open_jobs")


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def test_a_wrong_request_and_a_read_spend_nothing(ann: Caller) -> None:
    for _ in range(4):
        assert ann.post("/v1/jobs", {**BODY, "image_uri": 5}).status_code == 400
        assert ann.post(f"/v1/jobs/{uuid.uuid4()}:cancel").status_code == 404
    assert [ann.post("/v1/jobs", BODY).status_code for _ in range(3)] == [201] * 3
