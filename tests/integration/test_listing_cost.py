"""A listing costs the same, however many jobs there are."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud.spanner_v1 import JsonObject, KeySet, ReadRequest
from google.cloud.spanner_v1.database import Database

from shared.job_reads import JobReads
from shared.model import Job, JobKey, JobStatus
from shared.pages import encode_token
from shared.rows import Reads
from tests.integration.conftest import Platform
from tests.integration.wire import Wire

FEW, MANY = 1000, int(os.environ.get("JENNAH_TEST_JOBS", "3000"))
MIB = 1024 * 1024
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def tenants(database: Database) -> dict[int, str]:
    """A tenant with few jobs, and one with many; every fifth job is live."""
    made = {}
    for count in (FEW, MANY):
        made[count] = tenant_id = str(uuid.uuid4())
        with database.batch() as batch:
            batch.insert("Tenants", ["TenantId"], [[tenant_id]])
        for first in range(0, count, 1000):
            rows = [
                (tenant_id, str(uuid.uuid4()), "COMPLETED" if number % 5 else "RUNNING", "i", at)
                for number in range(first, min(first + 1000, count))
                for at in [START + timedelta(seconds=number)]
            ]
            with database.batch() as batch:
                batch.insert("Jobs", ("TenantId", "JobId", "Status", "ImageUri", "CreatedAt"), rows)
    return made


def test_a_page_reads_as_much_of_many_jobs_as_of_few(
    tenants: dict[int, str], wired: Database, wire: Wire
) -> None:
    jobs = JobReads(Reads(wired))
    costs: dict[int, list[object]] = {FEW: [], MANY: []}
    for count, tenant_id in tenants.items():
        for asked in (
            {},
            {"status": JobStatus.RUNNING},
            {"created_after": (START + timedelta(seconds=count // 2)).isoformat().replace("+00:00", "Z")},
        ):
            wire.taken()
            page, token = jobs.page(tenant_id, page_size=100, page_token=None, **asked)
            costs[count].append(cost(wire))
            wire.taken()
            more, _ = jobs.page(tenant_id, page_size=100, page_token=token, **asked)
            costs[count].append(cost(wire))
            times = [job.created_at for job in [*page, *more]]
            assert times == sorted(times, key=str, reverse=True)
            assert len(set(times)) == 200
    assert costs[FEW] == costs[MANY]
    assert costs[MANY] == [[("index", 101), ("keys", 100)], [("index", 201), ("keys", 100)]] * 3


def cost(wire: Wire) -> list[tuple[str, int]]:
    """What each call reads at most: entries of an index in one range, or rows by their keys."""
    assert set(wire.calls) == {"StreamingRead"}
    found = []
    for raw in wire.requests:
        request = ReadRequest.deserialize(raw)
        if request.index:
            assert (len(request.key_set.ranges), request.key_set.all_) == (1, False)
            found.append(("index", request.limit))
        else:
            assert not request.key_set.ranges
            found.append(("keys", len(request.key_set.keys)))
    return found


class Moving(Reads):
    """Between the two reads of a page, what was listed moves on."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform.database)
        self.platform = platform

    def sized(self, keys: Sequence[JobKey]) -> Iterator[tuple[JobKey, Job | None, int]]:
        self.platform.jobs.cancel(*keys[0])
        with self.platform.database.batch() as batch:
            batch.delete("Jobs", KeySet(keys=[keys[1]]))
        return super().sized(keys)


@pytest.mark.parametrize("asked", [{}, {"status": JobStatus.PENDING}])
def test_a_page_of_large_jobs_ends_at_4_mib(
    database: Database, wired: Database, wire: Wire, asked: dict[str, JobStatus]
) -> None:
    """And each job stands on one page, in its place, whatever its neighbours' sizes."""
    tenant_id = str(uuid.uuid4())
    # Characters of four bytes, and a small job after each large one.
    texts = ["\N{GRINNING FACE}" * (60_000 if number % 2 else 1) for number in range(60)]
    rows = [
        (tenant_id, str(uuid.uuid4()), "PENDING", "i", START + timedelta(seconds=number), JsonObject(spec))
        for number, text in enumerate(texts)
        for spec in [{"env": {"TEXT": text}}]
    ]
    columns = ("TenantId", "JobId", "Status", "ImageUri", "CreatedAt", "Spec")
    with database.batch() as batch:
        batch.insert("Tenants", ["TenantId"], [[tenant_id]])
        batch.insert("Jobs", columns, rows)
    jobs, token = JobReads(Reads(wired)), None
    pages: list[list[Job]] = []
    wire.taken()
    while not pages or token:
        page, token = jobs.page(tenant_id, page_size=50, page_token=token, **asked)
        pages.append(page)
    shown = [job.job_id for page in pages for job in page]
    assert shown == [row[1] for row in reversed(rows)]
    sizes = [sum(len(job.spec.env["TEXT"].encode()) for job in page) for page in pages]
    assert len(pages) == 2
    assert 4 * MIB <= sizes[0] < 4.3 * MIB
    assert wire.taken()["StreamingRead"] <= len(pages) * (2 + 50 / 8)


def test_what_moves_while_it_is_listed_is_left_out(platform: Platform) -> None:
    keys = [platform.submit("true") for _ in range(3)]
    page, token = JobReads(Moving(platform)).page(
        platform.tenant_id, status=JobStatus.PENDING, page_size=3, page_token=None
    )
    assert [job.key for job in page] == keys[:1]
    assert token is None


def test_a_row_that_can_not_be_read_hides_no_other(platform: Platform) -> None:
    keys = [platform.submit("true") for _ in range(2)]
    with platform.database.batch() as batch:
        columns = ("TenantId", "JobId", "Spec")
        batch.update("Jobs", columns, [(*keys[0], JsonObject({"provisioning": "of a later release"}))])
    page, _ = platform.jobs.page(platform.tenant_id, page_size=3, page_token=None)
    assert [job.key for job in page] == keys[1:]


def test_a_token_that_points_past_the_time_costs_nothing(wired: Database, wire: Wire) -> None:
    tenant_id, time = str(uuid.uuid4()), "2026-01-01T00:00:00Z"
    token = encode_token(["2025-01-01T00:00:00Z", "x"], query=("jobs", tenant_id, tenant_id, None, time))
    wire.taken()
    page = JobReads(Reads(wired)).page(tenant_id, created_after=time, page_size=1, page_token=token)
    assert (page, wire.calls) == (([], None), [])
