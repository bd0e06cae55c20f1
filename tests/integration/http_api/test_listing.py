"""Pages: complete, stable, and bound to their query."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.model import JobStatus
from shared.pages import encode_token
from tests.integration.http_api.callers import Caller, Server, put_job, put_jobs, refused


def test_pages_are_complete_and_stable_while_jobs_arrive(ann: Caller) -> None:
    expected = [ann.submitted()["job_id"] for _ in range(7)][::-1]
    found: list[str] = []
    token: str | None = ""
    sizes = []
    while token is not None:
        page = ann.get("/v1/jobs", page_size="3", page_token=token).json()
        found += [job["job_id"] for job in page["jobs"]]
        sizes.append(len(page["jobs"]))
        token = page["next_page_token"]
        ann.submitted()
    assert found == expected
    assert sizes == [3, 3, 1]


def test_a_page_that_ends_exactly_has_no_next(ann: Caller) -> None:
    for _ in range(2):
        ann.submitted()
    assert ann.get("/v1/jobs", page_size="2").json()["next_page_token"] is None
    assert ann.get("/v1/jobs", page_size="1").json()["next_page_token"] is not None


def test_jobs_of_one_moment_or_of_none_are_listed_once(server: Server, ann: Caller) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    moment = datetime.now(UTC) - timedelta(days=1)
    put = [put_job(server, tenant_id, "COMPLETED", at) for at in [moment] * 4 + [None] * 3]
    for filtered in ({}, {"status": "COMPLETED"}):
        for page_size in ("1", "2", "3", "100"):
            listed = [job["job_id"] for job in ann.listed(page_size=page_size, **filtered)]
            assert listed[-7:] == sorted(put[:4]) + sorted(put[4:])
            assert len(listed) == (7 if filtered else 8)


def test_a_status_lists_its_jobs_only(server: Server, ann: Caller) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    ids = {status: [put_job(server, tenant_id, status) for _ in range(2)] for status in JobStatus}
    for status in JobStatus:
        listed = ann.listed(status=status, page_size="1")
        assert {job["status"] for job in listed} == {status}
        assert {job["job_id"] for job in listed} >= set(ids[status])
        assert len(listed) == len({job["job_id"] for job in listed}) == 2 + (status == "PENDING")


def test_tokens_hold_for_their_own_listing_and_tenant(ann: Caller, bob: Caller) -> None:
    for _ in range(2):
        job = ann.submitted()
        bob.submitted()
    token = ann.get("/v1/jobs", page_size="1").json()["next_page_token"]
    refused(bob.get("/v1/jobs", page_token=token), 400, "INVALID_ARGUMENT", "page_token")
    refused(ann.get("/v1/jobs", status="PENDING", page_token=token), 400, "INVALID_ARGUMENT", "page_token")
    path = f"/v1/jobs/{job['job_id']}/transitions"
    refused(ann.get(path, page_token=token), 400, "INVALID_ARGUMENT", "page_token")
    assert ann.get("/v1/jobs", page_token=token, page_size="100").status_code == 200


@pytest.mark.parametrize(
    "position",
    [
        ["0001-01-01T00:00:00+14:00", "x"],
        ["9999-12-31T23:59:59-14:00", "x"],
        ["2026-01-01T00:00:00", "x"],
        ["yesterday", "x"],
        ["2026-01-01T00:00:00+00:00", "\ud800"],
        ["2026-01-01T00:00:00+00:00", "a\0"],
    ],
)
def test_tokens_that_a_tenant_makes_up_are_refused(ann: Caller, position: list[str]) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    token = encode_token(position, query=("jobs", tenant_id, tenant_id, None, None))
    refused(ann.get("/v1/jobs", page_token=token), 400, "INVALID_ARGUMENT", "page_token")


def test_the_trail_comes_in_pages_oldest_first(ann: Caller) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    ann.call("POST", f"{path}:cancel")
    first = ann.get(f"{path}/transitions", page_size="1").json()
    second = ann.get(f"{path}/transitions", page_size="1", page_token=first["next_page_token"]).json()
    rows = first["transitions"] + second["transitions"]
    assert [(row["from_status"], row["to_status"]) for row in rows] == [
        (None, "PENDING"),
        ("PENDING", "CANCELLED"),
    ]
    assert second["next_page_token"] is None
    assert rows == ann.get(f"{path}/transitions").json()["transitions"]


def test_jobs_after_a_time(server: Server, ann: Caller) -> None:
    newest = ann.submitted()
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    hours = [timedelta(hours=hour) for hour in range(4)]
    put = put_jobs(server, newest["tenant_id"], "FAILED", [*(moment - hour for hour in hours), None])

    def after(text: str, **asked: str) -> list[str]:
        return [job["job_id"] for job in ann.listed(created_after=text, page_size="2", **asked)]

    assert after("2026-03-28T23:30:00Z") == [newest["job_id"], *put[:2]]  # not those of that very time
    assert after("2026-03-28T23:29:59.999999Z") == [newest["job_id"], *put[:3]]
    assert after("2026-03-29T00:29:59.999999999+01:00") == [newest["job_id"], *put[:3]]
    assert after("2026-03-28T23:30:00Z", status="FAILED") == put[:2]
    assert after("2026-03-28T23:30:00Z", status="COMPLETED") == []
    assert after("0000-01-01T00:00:00Z") == after("0001-01-01T00:00:00+23:59") == [newest["job_id"], *put[:4]]
    assert after("9999-12-31T23:59:59.999999999Z") == after("9999-12-31T23:59:59-23:59") == []
    token = ann.get("/v1/jobs", created_after="2026-03-28T23:30:00Z", page_size="1").json()["next_page_token"]
    for other in ({}, {"created_after": "2026-03-28T23:30:01Z"}):
        refused(ann.get("/v1/jobs", page_token=token, **other), 400, "INVALID_ARGUMENT", "page_token")
    # The same time, written otherwise, is the same query.
    assert ann.get("/v1/jobs", page_token=token, created_after="2026-03-29T00:30:00+01:00").status_code == 200


def test_a_token_that_points_past_the_time_finds_nothing(ann: Caller) -> None:
    job = ann.submitted()
    query = ("jobs", job["tenant_id"], job["tenant_id"], None, "2026-01-01T00:00:00Z")
    for position in (["2025-01-01T00:00:00Z", job["job_id"]], ["", job["job_id"]]):
        token = encode_token(position, query=query)
        page = ann.get("/v1/jobs", page_token=token, created_after="2026-01-01T00:00:00Z").json()
        assert page == {"jobs": [], "next_page_token": None}


def test_more_jobs_of_one_moment_than_a_page_reads(server: Server, ann: Caller) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    put = put_jobs(server, tenant_id, "FAILED", [datetime(2026, 1, 1, tzinfo=UTC)] * 350)
    for page_size in ("100", "30"):
        listed = [job["job_id"] for job in ann.listed(page_size=page_size)]
        assert listed[1:] == sorted(put)
