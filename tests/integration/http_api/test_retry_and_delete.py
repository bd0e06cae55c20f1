"""What is done with jobs that have ended: once more, or away with them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.model import JobStatus
from tests.integration.function_process import rows, unchanged
from tests.integration.http_api.callers import BODY, Caller, Server, put_job, refused

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


def end(server: Server, job: dict[str, Any], status: str) -> None:
    """Let a job be one that ended long ago, and is owed nothing."""
    columns = ("TenantId", "JobId", "Status", "NextCheckAt", "CreatedAt")
    with server.database.batch() as batch:
        batch.update("Jobs", columns, [(job["tenant_id"], job["job_id"], status, None, LONG_AGO)])


def retry(who: Caller, job_id: str, key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return who.call("POST", f"/v1/jobs/{job_id}:retry", headers=headers)


def delete(who: Caller, job_id: str) -> Any:
    return who.call("DELETE", f"/v1/jobs/{job_id}")


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_a_job_is_done_again_as_a_new_one(server: Server, ann: Caller, status: str) -> None:
    asked = {"name": "x", "env": {"A": "b"}, "max_retries": 1, "timeout_seconds": 9, "provisioning": "spot"}
    origin = ann.submitted(**asked)
    end(server, origin, status)
    answer = retry(ann, origin["job_id"])
    assert answer.status_code == 201
    job = answer.json()
    own = {"job_id", "origin_job_id", "created_at", "updated_at"}
    assert {name: job[name] for name in job.keys() - own} == {
        name: origin[name] for name in origin.keys() - own
    }
    assert (job["origin_job_id"], origin["origin_job_id"]) == (origin["job_id"], None)
    assert job["job_id"] != origin["job_id"]
    assert ann.get(f"/v1/jobs/{origin['job_id']}").json()["status"] == status
    again = retry(ann, origin["job_id"])
    assert (again.status_code, again.json()["job_id"] != job["job_id"]) == (201, True)


def test_a_key_brings_the_same_retry_again(server: Server, ann: Caller) -> None:
    origin, other = ann.submitted(), ann.submitted()
    for job in (origin, other):
        end(server, job, "FAILED")
    first = retry(ann, origin["job_id"], key="k")
    assert first.status_code == 201
    with unchanged(server.database):
        again = retry(ann, origin["job_id"], key="k")
        assert (again.status_code, again.json()) == (200, first.json())
        refused(retry(ann, other["job_id"], key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")
        refused(ann.submit(key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")
    # The retry of a retry names the job that it retries.
    end(server, first.json(), "CANCELLED")
    assert retry(ann, first.json()["job_id"]).json()["origin_job_id"] == first.json()["job_id"]


def test_a_key_brings_the_same_retry_after_its_origin_was_deleted(server: Server, ann: Caller) -> None:
    origin = ann.submitted()["job_id"]
    end(server, {"tenant_id": ann.listed()[0]["tenant_id"], "job_id": origin}, "FAILED")
    first = retry(ann, origin, key="k")
    assert (first.status_code, delete(ann, origin).status_code) == (201, 204)
    with unchanged(server.database):
        again = retry(ann, origin, key="k")
        assert (again.status_code, again.json()) == (200, first.json())
        for key in (None, "other"):
            refused(retry(ann, origin, key=key), 404, "NOT_FOUND")


@pytest.mark.parametrize("status", ["PENDING", "SCHEDULED", "RUNNING", "COMPLETED"])
def test_only_what_failed_or_was_cancelled_is_done_again(server: Server, ann: Caller, status: str) -> None:
    job_id = put_job(server, ann.submitted()["tenant_id"], status)
    with unchanged(server.database):
        error = refused(retry(ann, job_id), 409, "FAILED_PRECONDITION")
    assert status in error["message"]


def test_a_retry_needs_what_a_submission_needs(server: Server, ann: Caller) -> None:
    """The account that the origin had is not the new job's: an operator may have taken it away."""
    origin = ann.submitted()
    spec = f'{{"secret_env": {{"A": "projects/p/secrets/s/versions/1"}}, "service_account": "{"a" * 5}@b"}}'
    with server.database.batch() as batch:
        columns = ("TenantId", "JobId", "Status", "Spec")
        batch.update("Jobs", columns, [(origin["tenant_id"], origin["job_id"], "FAILED", spec)])
    with unchanged(server.database):
        error = refused(retry(ann, origin["job_id"]), 409, "FAILED_PRECONDITION")
    assert "service account" in error["message"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
def test_a_job_goes_with_all_that_is_known_of_it(server: Server, ann: Caller, status: str) -> None:
    kept = ann.submitted()
    job = ann.submit(key="k").json()
    with server.database.batch() as batch:
        batch.insert("JobAttempts", ("TenantId", "JobId", "Attempt"), [(job["tenant_id"], job["job_id"], 1)])
    end(server, job, status)
    answer = delete(ann, job["job_id"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Content-Type" not in answer.headers
    for table, found in rows(server.database).items():
        assert table == "Tenants" or all(row[1] != job["job_id"] for row in found)
    refused(delete(ann, job["job_id"]), 404, "NOT_FOUND")
    refused(ann.get(f"/v1/jobs/{job['job_id']}"), 404, "NOT_FOUND")
    assert ann.listed() == [kept]
    # Its key is free again, for whatever comes.
    new = ann.submit({**BODY, "name": "another"}, key="k")
    assert (new.status_code, new.json()["job_id"] != job["job_id"]) == (201, True)


@pytest.mark.parametrize("status", list(JobStatus))
def test_what_is_not_over_is_not_deleted(server: Server, ann: Caller, status: JobStatus) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    owed = put_job(server, tenant_id, status, LONG_AGO, NextCheckAt=datetime.now(UTC))
    young = put_job(server, tenant_id, status, datetime.now(UTC) - timedelta(seconds=10))
    with unchanged(server.database):
        refused(delete(ann, owed), 409, "FAILED_PRECONDITION")
        refused(delete(ann, young), 409, "FAILED_PRECONDITION")
    old = put_job(server, tenant_id, status, LONG_AGO)
    assert delete(ann, old).status_code == (204 if status.final else 409)


def test_who_does_not_own_a_job_does_not_touch_it(server: Server, ann: Caller, bob: Caller) -> None:
    job = ann.submitted()
    bob.submitted()
    end(server, job, "FAILED")
    with unchanged(server.database):
        missing = [delete(bob, str(uuid.uuid4())), retry(bob, str(uuid.uuid4()))]
        foreign = [delete(bob, job["job_id"]), retry(bob, job["job_id"])]
    assert {answer.content for answer in missing} == {answer.content for answer in foreign}
    assert all(answer.status_code == 404 for answer in [*missing, *foreign])
