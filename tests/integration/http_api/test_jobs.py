"""Submitting, showing and cancelling jobs."""

from __future__ import annotations

import pytest

from tests.integration.function_process import unchanged
from tests.integration.http_api.callers import (
    BODY,
    JOB_FIELDS,
    TRANSITION_FIELDS,
    Caller,
    Server,
    put_job,
    refused,
)


def test_a_submitted_job_is_shown_in_full(ann: Caller) -> None:
    retry = {
        "backoff": {"first_delay_seconds": 1, "factor": 1.1, "max_delay_seconds": 60},
        "rules": [{"exit_codes": [2], "action": "fail"}, {"reasons": ["timeout"], "action": "retry"}],
        "max_infrastructure_retries": 0,
    }
    asked = {**BODY, "name": "é", "env": {"A": "b"}, "max_retries": 1, "timeout_seconds": 9}
    asked |= {"retry": retry, "provisioning": "spot"}
    answer = ann.submit(asked)
    job = answer.json()
    assert answer.status_code == 201
    assert list(job) == JOB_FIELDS
    assert {name: job[name] for name in asked} == asked
    assert (job["status"], job["version"], job["attempt"], job["retry_count"]) == ("PENDING", 1, 1, 0)
    assert job["created_at"] == job["updated_at"]
    assert job["created_at"].endswith("Z")
    shown = ann.get(f"/v1/jobs/{job['job_id']}").json()
    assert list(shown) == [*JOB_FIELDS, "attempts"]
    assert shown == {**job, "attempts": []}
    assert ann.get("/v1/jobs").json() == {"jobs": [job], "next_page_token": None}
    trail = ann.get(f"/v1/jobs/{job['job_id']}/transitions").json()
    assert trail["next_page_token"] is None
    (first,) = trail["transitions"]
    assert list(first) == TRANSITION_FIELDS
    assert (first["from_status"], first["to_status"], first["actor"]) == (None, "PENDING", "tenant")
    assert first["transitioned_at"] == job["created_at"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_what_has_ended_is_not_cancelled(server: Server, ann: Caller, status: str) -> None:
    job_id = put_job(server, ann.submitted()["tenant_id"], status)
    with unchanged(server.database):
        error = refused(ann.call("POST", f"/v1/jobs/{job_id}:cancel"), 409, "FAILED_PRECONDITION")
    assert status in error["message"]


def test_a_cancel_is_done_once(server: Server, ann: Caller) -> None:
    job_id = ann.submitted()["job_id"]
    first = ann.call("POST", f"/v1/jobs/{job_id}:cancel")
    assert (first.status_code, first.json()["status"], first.json()["version"]) == (200, "CANCELLED", 2)
    assert list(first.json()) == JOB_FIELDS
    with unchanged(server.database):
        again = ann.call("POST", f"/v1/jobs/{job_id}:cancel", content=b"{}")
        assert (again.status_code, again.json()) == (200, first.json())


def test_a_key_brings_the_same_job_again(server: Server, ann: Caller) -> None:
    first = ann.submit(key="k")
    assert first.status_code == 201
    with unchanged(server.database):
        for same in (BODY, {"commands": ["true"], "image_uri": "busybox", "max_retries": 3, "env": {}}):
            again = ann.submit(same, key="k")
            assert (again.status_code, again.json()) == (200, first.json())
        for other in ({**BODY, "commands": ["false"]}, {**BODY, "max_retries": 0}, {**BODY, "name": "x"}):
            refused(ann.submit(other, key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")


def test_keys_of_two_tenants_never_meet(ann: Caller, bob: Caller) -> None:
    one, other = ann.submit(key="k"), bob.submit({**BODY, "commands": ["false"]}, key="k")
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.json()["job_id"] != other.json()["job_id"]
    assert one.json()["tenant_id"] != other.json()["tenant_id"]


@pytest.mark.parametrize("key", ["k", "k" * 255, "a b", "~!@#$%^&*()_+|'\"\\"])
def test_keys_that_are_taken(ann: Caller, key: str) -> None:
    assert [ann.submit(key=key).status_code for _ in range(2)] == [201, 200]
    assert ann.submit(key=key + "x" if len(key) < 255 else "other").status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "é".encode(), "é".encode("latin-1"), b"\xff"])
def test_keys_that_are_refused(server: Server, ann: Caller, key: str | bytes) -> None:
    with unchanged(server.database):
        refused(ann.submit(key=key), 400, "INVALID_ARGUMENT", "Idempotency-Key")
