"""Operators read what belongs to others, and only read; nobody else does."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.function_process import unchanged
from tests.integration.http_api.callers import Caller, Server, caller, put_jobs, refused


@pytest.fixture
def operator(server: Server) -> Caller:
    """Somebody who operates the platform, and has no tenant."""
    return caller(server, "operators.example.com")


def test_an_operator_reads_the_jobs_of_a_tenant(server: Server, operator: Caller, ann: Caller) -> None:
    job = ann.submitted()
    whose = {"tenant_id": job["tenant_id"]}
    path = f"/v1/jobs/{job['job_id']}"
    with unchanged(server.database):
        assert operator.listed(**whose) == ann.listed() == [job]
        assert operator.listed(**whose, status="FAILED") == []
        assert operator.get(path, **whose).content == ann.get(path).content
        assert operator.get(f"{path}/transitions", **whose).content == ann.get(f"{path}/transitions").content
        # Without being asked for, another's job is not there for an operator either.
        refused(operator.get(path), 404, "NOT_FOUND")
        refused(operator.get(path, tenant_id=str(uuid.uuid4())), 404, "NOT_FOUND")
        assert operator.listed() == operator.listed(tenant_id=str(uuid.uuid4())) == []
        for method, action in (("POST", ":cancel"), ("POST", ":retry"), ("DELETE", "")):
            refused(operator.call(method, path + action), 404, "NOT_FOUND")
            answer = operator.call(method, path + action, params=whose)
            refused(answer, 400, "INVALID_ARGUMENT", "tenant_id")


def test_nobody_else_does(server: Server, ann: Caller, bob: Caller) -> None:
    job = ann.submitted()
    bob.submitted()
    with unchanged(server.database):
        for named in (job["tenant_id"], str(uuid.uuid4()), "-"):
            refused(bob.get("/v1/jobs", tenant_id=named), 403, "PERMISSION_DENIED", "tenant_id")
        for named in (job["tenant_id"], str(uuid.uuid4())):
            for path in (f"/v1/jobs/{job['job_id']}", f"/v1/jobs/{job['job_id']}/transitions"):
                refused(bob.get(path, tenant_id=named), 403, "PERMISSION_DENIED", "tenant_id")


@pytest.mark.parametrize("page_size", ["1", "3", "100"])
def test_an_operator_lists_everybodys_jobs(server: Server, operator: Caller, page_size: str) -> None:
    moment = datetime.now(UTC) - timedelta(days=1)
    tenants = sorted(caller(server).submitted()["tenant_id"] for _ in range(3))
    for tenant_id in tenants:
        put_jobs(server, tenant_id, "COMPLETED", [moment] * 2 + [moment - timedelta(hours=1), None])
        put_jobs(server, tenant_id, "FAILED", [moment, None])
    listed = operator.listed(tenant_id="-", page_size=page_size)
    mine = [job for job in listed if job["tenant_id"] in tenants]
    assert len(mine) == len({job["job_id"] for job in mine}) == 3 * 7
    assert [job["tenant_id"] for job in mine] == sorted(job["tenant_id"] for job in mine)
    for tenant_id in tenants:
        own = [job for job in mine if job["tenant_id"] == tenant_id]
        assert own == operator.listed(tenant_id=tenant_id, page_size=page_size)
    for asked in ({"status": "COMPLETED"}, {"created_after": _text(moment - timedelta(minutes=1))}):
        some = operator.listed(tenant_id="-", page_size=page_size, **asked)
        for tenant_id in tenants:
            own = [job for job in some if job["tenant_id"] == tenant_id]
            assert own == operator.listed(tenant_id=tenant_id, **asked)
            assert own
    both: dict[str, Any] = {"status": "COMPLETED", "created_after": _text(moment - timedelta(minutes=1))}
    mine = [job for job in operator.listed(tenant_id="-", **both) if job["tenant_id"] in tenants]
    assert [job["status"] for job in mine] == ["COMPLETED"] * 6


def test_old_jobs_of_one_tenant_hide_no_young_ones_of_the_next(server: Server, operator: Caller) -> None:
    moment = datetime.now(UTC) - timedelta(days=1)
    old, young = sorted(caller(server).submitted()["tenant_id"] for _ in range(2))
    put_jobs(server, old, "COMPLETED", [moment - timedelta(days=1)] * 1100)  # more than a page looks through
    asked = {"tenant_id": "-", "created_after": _text(moment), "page_size": "100"}
    found = {job["tenant_id"] for job in operator.listed(**asked)}
    assert {old, young} <= found


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_tokens_hold_for_who_asked(server: Server, operator: Caller, ann: Caller) -> None:
    for _ in range(2):
        tenant_id = ann.submitted()["tenant_id"]
    whose = {"tenant_id": tenant_id, "page_size": "1"}
    token = operator.get("/v1/jobs", **whose).json()["next_page_token"]
    everybodys = operator.get("/v1/jobs", tenant_id="-", page_size="1").json()["next_page_token"]
    other = caller(server, "operators.example.com")
    for who, named in ((ann, {}), (other, whose), (operator, {**whose, "tenant_id": "-"}), (operator, {})):
        answer = who.get("/v1/jobs", page_token=token, **{"page_size": "1", **named})
        refused(answer, 400, "INVALID_ARGUMENT", "page_token")
    refused(operator.get("/v1/jobs", page_token=everybodys, **whose), 400, "INVALID_ARGUMENT", "page_token")
    assert operator.get("/v1/jobs", page_token=token, **whose).status_code == 200


def test_an_operator_is_a_tenant_like_everybody(operator: Caller) -> None:
    refused(operator.get("/v1/tenant"), 404, "NOT_FOUND")
    job = operator.submitted()
    assert operator.listed() == [job]
    assert operator.get("/v1/tenant").json()["tenant_id"] == job["tenant_id"]
