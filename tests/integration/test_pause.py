"""`jennah pause`, `jennah resume` and `jennah dispatch`: new work waits, everything else goes on."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_jobs import JobState
from jennah.local.batch_server import BatchServer
from shared.batch_ids import batch_id
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from shared.status_details import PAUSED
from shared.switches import DISPATCH
from shared.transitions import Touch
from tests.command import run_command
from tests.integration.conftest import Platform, make_platform
from tests.integration.wire import Wire

JENNAH = Path(sys.executable).with_name("jennah")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
DETAIL = str(PAUSED)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def switch(platform: Platform, *, paused: bool) -> None:
    """Turn the switch, and let the functions' caches grow old."""
    with platform.database.batch() as batch:
        columns = ("Name", "Paused", "SetAt")
        batch.insert_or_update("Switches", columns, [(DISPATCH, paused, "spanner.commit_timestamp()")])
    platform.clock += 6 * SECOND


def deliver(platform: Platform) -> None:
    """Deliver what was published."""
    for message in platform.published:
        platform.dispatch.schedule(message)
    platform.published.clear()


def created(platform: Platform, key: JobKey) -> int:
    return platform.faults.calls("CreateJob", job=batch_id(key, 1)).received


def test_a_job_waits_while_dispatch_is_paused_and_says_so(platform: Platform) -> None:
    switch(platform, paused=True)
    key = platform.submit("true")
    deliver(platform)
    platform.tick(MINUTE)
    job = platform.job(key)
    assert (job.status, job.status_detail) == (JobStatus.PENDING, DETAIL)
    assert job.next_check_at is not None
    assert job.next_check_at - platform.now() <= 5 * MINUTE
    for _ in range(20):
        platform.tick(MINUTE)
    platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.published == []
    assert created(platform, key) == 0


def test_a_message_that_comes_while_dispatch_is_paused_writes_nothing(
    wired: Database, wire: Wire, batch_server: BatchServer
) -> None:
    platform = make_platform(wired, batch_server)
    switch(platform, paused=True)
    first, second = platform.submit("true"), platform.submit("true")
    platform.dispatch.schedule(JobMessage(first, 1))
    wire.taken()
    platform.dispatch.schedule(JobMessage(second, 1))
    assert wire.taken() == {"StreamingRead": 1}
    # Both are told why they wait by one look, in one commit; the rest are reads.
    platform.tick(MINUTE)
    assert wire.taken()["Commit"] == 1
    assert {platform.job(key).status_detail for key in (first, second)} == {DETAIL}


def test_a_job_whose_next_look_is_far_away_is_told_at_once_why_it_waits(platform: Platform) -> None:
    key = platform.submit("true")
    later = platform.now() + 10 * MINUTE
    assert platform.transitions.touch(Touch(platform.job(key), next_check_at=later))
    switch(platform, paused=True)
    deliver(platform)
    job = platform.job(key)
    assert job.status_detail == DETAIL
    assert job.next_check_at is not None
    assert job.next_check_at - platform.now() <= 5 * MINUTE


def test_jobs_start_spread_over_five_minutes_after_a_resume(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Evenly spread, where chance would have half of them start together in one run of 33.
    draws = itertools.count()
    monkeypatch.setattr(platform.dispatch._follower, "_jitter", lambda: next(draws) * 0.618 % 1)
    switch(platform, paused=True)
    keys = [platform.submit("true") for _ in range(30)]
    deliver(platform)
    for _ in range(10):
        platform.tick(MINUTE)
    switch(platform, paused=False)
    started = []
    for _ in range(6):
        platform.tick(MINUTE)
        started.append(len(platform.published))
        deliver(platform)
    assert sum(started) == len(keys)
    assert max(started) < len(keys) / 2
    assert JobStatus.PENDING not in {platform.status(key) for key in keys}
    assert {platform.job(key).status_detail for key in keys} == {None}


def test_a_duplicate_does_not_start_a_job_before_its_turn_after_a_resume(platform: Platform) -> None:
    switch(platform, paused=True)
    key = platform.submit("true")
    deliver(platform)
    platform.tick(MINUTE)
    switch(platform, paused=False)
    platform.dispatch.schedule(JobMessage(key, 1))
    assert created(platform, key) == 0
    platform.tick(5 * MINUTE)
    deliver(platform)
    assert platform.status(key) is JobStatus.SCHEDULED


def test_a_pause_does_not_count_towards_the_age_at_which_a_platform_fault_fails_a_job(
    platform: Platform,
) -> None:
    switch(platform, paused=True)
    key = platform.submit("true")
    deliver(platform)
    platform.tick(3 * timedelta(days=1))
    switch(platform, paused=False)
    platform.tick(6 * MINUTE)
    with platform.faults.answer("CreateJob", grpc.StatusCode.PERMISSION_DENIED, job=batch_id(key, 1)):
        deliver(platform)
    assert created(platform, key) == 1
    assert platform.status(key) is JobStatus.PENDING


def test_what_runs_is_followed_and_cancelled_while_dispatch_is_paused(platform: Platform) -> None:
    ending, running = platform.scheduled("true"), platform.scheduled("sleep", "60")
    failing = platform.scheduled("false", max_retries=1)
    switch(platform, paused=True)
    for key in (ending, failing):
        platform.faults.wait_for_state(batch_id(key, 1), JobState.SUCCEEDED, JobState.FAILED)
    platform.notify(ending, "SUCCEEDED")
    platform.tick(2 * MINUTE)
    platform.jobs.cancel(platform.tenant_id, running.job_id)
    deliver(platform)
    platform.faults.wait_for_state(batch_id(running, 1), JobState.CANCELLED)
    platform.tick(MINUTE)
    assert platform.status(ending) is JobStatus.COMPLETED
    assert platform.job(running).next_check_at is None
    job = platform.job(failing)
    assert (job.status, job.attempt, job.status_detail) == (JobStatus.PENDING, 2, DETAIL)
    assert platform.faults.calls("CreateJob", job=batch_id(failing, 2)).received == 0


def test_the_switch_is_read_only_where_something_is_to_be_started(
    wired: Database, wire: Wire, batch_server: BatchServer
) -> None:
    platform = make_platform(wired, batch_server)
    key = platform.scheduled("sleep", "60")
    for _ in range(2):
        due = platform.job(key).next_check_at
        assert due is not None
        wire.taken()
        assert platform.tick(due - platform.now()) == 1
    # What is due, its row, the version that the next look is set at, and the tenants that leave.
    assert wire.taken() == {"StreamingRead": 4, "Commit": 1}
    platform.submit("true")
    wire.taken()
    assert platform.tick(MINUTE) == 1
    assert wire.taken() == {"StreamingRead": 5, "Commit": 1}


@pytest.fixture
def run(spanner_host: str, database: Database) -> Run:
    """Run the command line against this test's database; keywords change its environment."""

    def run_jennah(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "GOOGLE_CLOUD_PROJECT": "jennah-test",
            "SPANNER_INSTANCE": "jennah-test",
            "SPANNER_DATABASE": database.database_id,
            "SPANNER_EMULATOR_HOST": spanner_host,
        } | changes
        return run_command(*arguments, env=env)

    return run_jennah


def test_the_commands_turn_the_switch(run: Run, platform: Platform) -> None:
    paused = run("pause", "--reason", "Batch quota")
    assert (paused.returncode, paused.stdout.startswith("Dispatch is paused")) == (0, True)
    assert platform.switches.dispatch_paused()
    assert run("pause").returncode == 0  # again: no error
    resumed = run("resume", "--json")
    shown = json.loads(resumed.stdout)
    assert (shown["dispatch"], shown["reason"]) == ("on", None)
    platform.clock += 6 * SECOND
    assert not platform.switches.dispatch_paused()


def test_dispatch_is_shown_with_since_when_and_why(run: Run, database: Database) -> None:
    def shown() -> Any:
        done = run("dispatch", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    assert shown() == {"dispatch": "on", "reason": None, "set_at": None}
    paused = json.loads(run("pause", "--reason", "quota\x1b[2J", "--json").stdout)
    assert paused["dispatch"] == "paused"
    assert shown() == paused
    since = datetime.fromisoformat(paused["set_at"])
    told = f"Dispatch is paused since {since:%Y-%m-%dT%H:%M:%SZ}: quota\\x1b[2J.\n"
    done = run("dispatch")
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
    check = run("check")
    assert (check.returncode, check.stderr) == (0, told)
    resumed = json.loads(run("resume", "--json").stdout)
    assert shown() == resumed
    assert resumed["set_at"] > paused["set_at"]
    assert run("check").stderr == ""


def test_a_command_that_cannot_reach_the_switch_says_why_in_one_sentence(
    run: Run, empty_database: Database
) -> None:
    silent = "Nothing answers at SPANNER_EMULATOR_HOST"
    for done, code, sentence in (
        (run("pause", SPANNER_DATABASE="no-such"), 2, "There is no database 'no-such'"),
        (run("resume", SPANNER_EMULATOR_HOST="127.0.0.1:1"), 3, silent),
        (run("dispatch", SPANNER_EMULATOR_HOST="127.0.0.1:99999"), 3, silent),
        (run("dispatch", SPANNER_DATABASE=empty_database.database_id), 1, "run `jennah migrate`"),
        (run("pause", SPANNER_DATABASE=empty_database.database_id), 1, "run `jennah migrate`"),
    ):
        assert done.returncode == code
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
