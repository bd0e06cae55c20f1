"""Several jobs in one request: all or none, under one key."""

from __future__ import annotations

from typing import Any

import pytest

from shared.api.batches import MAX_BATCH
from tests.integration.function_process import unchanged
from tests.integration.http_api.callers import BODY, JOB_FIELDS, Caller, Server, refused

PATH = "/v1/jobs:batchCreate"


def batch(size: int) -> dict[str, Any]:
    return {"requests": [{**BODY, "name": f"job {number}"} for number in range(size)]}


def create(who: Caller, body: object, key: str | None = None) -> Any:
    return who.call("POST", PATH, json=body, headers={} if key is None else {"Idempotency-Key": key})


def test_a_batch_is_one_moment_in_the_order_that_was_asked(ann: Caller) -> None:
    answer = create(ann, batch(MAX_BATCH))
    assert answer.status_code == 201
    jobs = answer.json()["jobs"]
    assert [job["name"] for job in jobs] == [f"job {number}" for number in range(MAX_BATCH)]
    assert all(list(job) == JOB_FIELDS for job in jobs)
    assert len({job["job_id"] for job in jobs}) == MAX_BATCH
    assert len({job["created_at"] for job in jobs}) == 1
    listed = ann.listed(page_size="7")
    assert sorted(job["job_id"] for job in listed) == sorted(job["job_id"] for job in jobs)
    assert ann.get(f"/v1/jobs/{jobs[99]['job_id']}").json() == {**jobs[99], "attempts": []}
    (first,) = ann.get(f"/v1/jobs/{jobs[7]['job_id']}/transitions").json()["transitions"]
    assert (first["to_status"], first["transitioned_at"]) == ("PENDING", jobs[7]["created_at"])


def test_a_key_brings_the_whole_batch_again(server: Server, ann: Caller, bob: Caller) -> None:
    first = create(ann, batch(5), key="k")
    assert first.status_code == 201
    with unchanged(server.database):
        again = create(ann, batch(5), key="k")
        assert (again.status_code, again.json()) == (200, first.json())
        for other in (batch(4), batch(6), {"requests": batch(5)["requests"][::-1]}):
            refused(create(ann, other, key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")
        refused(ann.submit(batch(5)["requests"][0], key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")
    assert create(ann, batch(5), key="other").status_code == 201
    assert create(bob, batch(5), key="k").status_code == 201


def test_the_key_of_one_job_brings_no_batch(server: Server, ann: Caller) -> None:
    assert ann.submit(key="k").status_code == 201
    with unchanged(server.database):
        refused(create(ann, {"requests": [BODY]}, key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")


def test_what_is_left_of_a_batch_is_answered(server: Server, ann: Caller) -> None:
    jobs = create(ann, batch(3), key="k").json()["jobs"]
    tenant_id = jobs[0]["tenant_id"]
    with server.database.batch() as write:
        columns = ("TenantId", "JobId", "Status", "NextCheckAt", "CreatedAt")
        write.update("Jobs", columns, [(tenant_id, jobs[1]["job_id"], "COMPLETED", None, None)])
    assert ann.call("DELETE", f"/v1/jobs/{jobs[1]['job_id']}").status_code == 204
    again = create(ann, batch(3), key="k")
    assert (again.status_code, again.json()["jobs"]) == (200, [jobs[0], jobs[2]])


def test_the_first_of_a_batch_keeps_its_key_while_others_are_there(server: Server, ann: Caller) -> None:
    """Else the key would bring the whole batch anew."""
    jobs = create(ann, batch(3), key="k").json()["jobs"]
    with server.database.batch() as write:
        columns = ("TenantId", "JobId", "Status", "NextCheckAt", "CreatedAt")
        write.update(
            "Jobs", columns, [(job["tenant_id"], job["job_id"], "FAILED", None, None) for job in jobs]
        )
    first, *others = [f"/v1/jobs/{job['job_id']}" for job in jobs]
    for other in others:
        with unchanged(server.database):
            assert "batch" in refused(ann.call("DELETE", first), 409, "FAILED_PRECONDITION")["message"]
            assert create(ann, batch(3), key="k").status_code == 200
        assert ann.call("DELETE", other).status_code == 204
    assert ann.call("DELETE", first).status_code == 204
    assert create(ann, batch(3), key="k").status_code == 201


def test_the_first_of_a_batch_without_a_key_is_a_job_like_others(server: Server, ann: Caller) -> None:
    first = create(ann, batch(3)).json()["jobs"][0]
    with server.database.batch() as write:
        columns = ("TenantId", "JobId", "Status", "NextCheckAt", "CreatedAt")
        write.update("Jobs", columns, [(first["tenant_id"], first["job_id"], "COMPLETED", None, None)])
    assert ann.call("DELETE", f"/v1/jobs/{first['job_id']}").status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [BODY] * (MAX_BATCH + 1)}, "requests"),
        ({"requests": {}}, "requests"),
        ({"requests": [BODY, BODY, BODY, {"image_uri": ""}]}, "requests[3].image_uri"),
        ({"requests": [{**BODY, "env": {"JENNAH_X": "x"}}]}, "requests[0].env"),
        ({"requests": [BODY, {**BODY, "tenant_id": "x"}]}, "requests[1].tenant_id"),
        ({"requests": [BODY, 5]}, "requests[1]"),
        ({"requests": [BODY], "tenant_id": "x"}, "tenant_id"),
        (
            {"requests": [BODY, {**BODY, "secret_env": {"A": "projects/p/secrets/s/versions/1"}}]},
            "requests[1].secret_env",
        ),
    ],
)
def test_one_that_is_wrong_stops_all_and_is_named(
    server: Server, ann: Caller, body: dict[str, Any], field: str
) -> None:
    ann.submitted()
    with unchanged(server.database):
        refused(create(ann, body), 400, "INVALID_ARGUMENT", field)


def test_the_retry_of_a_batchs_first_job_is_one_job(server: Server, ann: Caller) -> None:
    first = create(ann, batch(3), key="k").json()["jobs"][0]
    ann.call("POST", f"/v1/jobs/{first['job_id']}:cancel")
    path, headers = f"/v1/jobs/{first['job_id']}:retry", {"Idempotency-Key": "again"}
    answers = [ann.call("POST", path, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["origin_job_id"] == first["job_id"]
