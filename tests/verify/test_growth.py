"""What is stored costs nothing: reads of a tick and calls of a job's life, beside many finished jobs.

GROWTH_JOBS sets how many (20,000): `GROWTH_JOBS=100000 pytest tests/verify/test_growth.py`. The emulator
takes 500 to 1,000 of them a second.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_jobs import JobState
from jennah.local.batch_server import BatchServer
from jennah.operations.check import Check, Figures
from shared.batch_ids import batch_id
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from tests.benchmarks.stored import fill
from tests.integration.conftest import Platform, make_platform
from tests.integration.wire import Wire

JOBS = int(os.environ.get("GROWTH_JOBS", "20000"))


def calls(platform: Platform, wire: Wire) -> dict[str, Counter[str]]:
    """The calls to Spanner that each of these takes."""
    counted: dict[str, Counter[str]] = {}

    def count(what: str, do: Callable[[], object]) -> None:
        wire.taken()
        do()
        counted[what] = wire.taken()

    keys: list[JobKey] = []
    count("an idle tick", platform.tick)
    count("a submission", lambda: keys.append(platform.submit("true")))
    [key] = keys
    count("a tick with one due job", lambda: platform.tick(timedelta(minutes=2)))
    count("its start", lambda: platform.dispatch.schedule(JobMessage(key, 1)))
    platform.faults.wait_for_state(batch_id(key, 1), JobState.SUCCEEDED)
    uid = platform.uid(key)
    for state in ("RUNNING", "SUCCEEDED"):
        count(f"its notification {state}", lambda state=state: platform.notify(key, state, uid=uid))  # type: ignore[misc]  # mypy can't infer a lambda with a default
    assert platform.status(key) is JobStatus.COMPLETED
    return counted


@pytest.mark.timeout(900)
def test_finished_jobs_cost_nothing(
    wired: Database,
    database: Database,
    wire: Wire,
    batch_server: BatchServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform = make_platform(wired, batch_server)
    calls(platform, wire)  # warm
    before = calls(platform, wire)
    began = time.monotonic()
    fill(database, JOBS, own=platform.tenant_id)
    filled = time.monotonic()
    assert calls(platform, wire) == before
    process = psutil.Process()
    idle = process.memory_info().rss
    most = idle
    check = Check(database, now=lambda: datetime.now(UTC), timing=platform.settings.timing)

    def measure(_: Figures) -> None:
        nonlocal most
        most = max(most, process.memory_info().rss)

    checking = time.monotonic()
    assert list(check.violations(measure)) == []
    took = time.monotonic() - checking
    assert check.figures.jobs >= JOBS
    grown = (most - idle) / 2**20
    lines = (
        f"beside {JOBS:,} finished jobs (stored in {filled - began:.0f} s), as without them:",
        *(f"  {what}: {dict(counted)}" for what, counted in before.items()),
        f"jennah check: {check.figures.jobs / took:,.0f} jobs/s, memory grew by {grown:.0f} MiB",
    )
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    # A page of 200 jobs and 10,000 keys; all rows at once would take 4 KiB a job.
    assert grown < 40
