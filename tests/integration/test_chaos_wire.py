"""The wires that the chaos run lays before Spanner and Pub/Sub do to calls what they say."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from google.api_core import exceptions
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.database import Database

from shared.database import connect
from shared.model import JobKey
from shared.rows import Reads
from tests.chaos.wire import (
    COMMIT_ABORTED,
    COMMIT_ANSWER_LOST,
    COMMIT_LATE,
    COMMIT_NEVER_ARRIVED,
    COMMIT_UNAVAILABLE,
    READ_UNAVAILABLE,
    Fault,
    FaultyWire,
)

Opened = Callable[..., AbstractContextManager[Database]]


@pytest.fixture
def through(spanner_host: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens the database behind a wire that commits one fault, on a share of the occasions."""

    @contextmanager
    def opened(fault: Fault, share: float = 1) -> Iterator[Database]:
        with FaultyWire(lambda: spanner_host, 0, {fault: share}) as wire:
            monkeypatch.setenv("SPANNER_EMULATOR_HOST", wire.address)
            behind = connect("jennah-test", "jennah-test", database.database_id)
            count(behind)  # makes its session
            wire.faulty = True
            yield behind
            assert set(wire.committed) == {fault}
            [strikes] = wire.strikes()
            assert (strikes.name, strikes.share) == (fault.name, share)
            assert strikes.struck == wire.committed[fault]
            assert strikes.struck <= strikes.occasions
            assert share < 1 or strikes.struck == strikes.occasions

    return opened


def insert(database: Database) -> None:
    with database.batch(timeout_secs=0) as batch:
        batch.insert("Tenants", ["TenantId", "CreatedAt"], [[str(uuid.uuid4()), COMMIT_TIMESTAMP]])


def count(database: Database) -> int:
    with database.snapshot() as snapshot:
        return len(list(snapshot.read("Tenants", ["TenantId"], KeySet(all_=True))))


@pytest.mark.parametrize(
    ("fault", "answer", "applied"),
    [
        (COMMIT_ABORTED, exceptions.Aborted, 0),
        (COMMIT_UNAVAILABLE, exceptions.ServiceUnavailable, 0),
        (COMMIT_NEVER_ARRIVED, exceptions.DeadlineExceeded, 0),
        (COMMIT_ANSWER_LOST, exceptions.DeadlineExceeded, 1),
    ],
)
def test_a_commit_that_fails_with_and_without_effect(
    through: Opened,
    database: Database,
    fault: Fault,
    answer: type[Exception],
    applied: int,
) -> None:
    with through(fault) as behind, pytest.raises(answer):
        insert(behind)
    assert count(database) == applied


def test_a_commit_that_is_applied_after_its_caller_gave_up(
    through: Opened, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[threading.Timer] = []

    def keep(timer: threading.Timer) -> None:
        timers.append(timer)

    with monkeypatch.context() as late, through(COMMIT_LATE) as behind:
        # Its time comes when the test says so: "later" must not depend on how quick the machine is.
        late.setattr("threading.Timer.start", keep)
        with pytest.raises(exceptions.DeadlineExceeded):
            insert(behind)
        assert count(database) == 0
    (timer,) = timers
    timer.start()
    deadline = time.monotonic() + 60
    while count(database) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_read_that_is_refused_is_read_again(through: Opened) -> None:
    with through(READ_UNAVAILABLE, 0.5) as behind:
        assert [count(behind) for _ in range(20)] == [0] * 20


def test_reads_of_a_spanner_that_stays_unavailable_end(
    through: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.READ_PATIENCE", 0.5)
    with through(READ_UNAVAILABLE) as behind:
        reads = Reads(behind)
        with pytest.raises(exceptions.RetryError):
            reads.job(JobKey("nobody", "nothing"))
        with pytest.raises(exceptions.RetryError):
            reads.job_entries(["nobody"], limit=1)
