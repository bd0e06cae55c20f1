"""`jennah check` on the emulator: of sound rows, of damaged ones, and of rows that move meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeyRange, KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.operations import check as check_module
from jennah.operations import check_command
from jennah.operations.check import Check, Violation, clock_of
from jennah.operations.migrate import migrate
from jennah.output import CommandFailed
from shared.batch_ids import batch_id
from shared.config import Timing
from shared.events import AttemptFailed, BatchRef, Cancelled, Event, Failure, Scheduled, Started, Succeeded
from shared.lifecycle import Applied, Duplicate
from shared.model import Actor, Job, JobKey, JobStatus
from shared.rows import Reads
from shared.spec import FailureReason
from shared.transitions import Transitions, transition_id
from tests.command import run_command
from tests.integration import test_adoption as adoption
from tests.integration.wire import Wire

JENNAH = Path(sys.executable).with_name("jennah")
PARENT = "projects/p/locations/us-central1"

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def now() -> datetime:
    return datetime.now(UTC)


class Book:
    """Jobs in a database, which live as the platform lets them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reads = Reads(database)
        self.transitions = Transitions(database, timing=Timing(), now=now)

    def tenant(self) -> str:
        tenant_id = str(uuid.uuid4())
        with self.database.batch() as batch:
            batch.insert("Tenants", ["TenantId", "CreatedAt"], [[tenant_id, COMMIT_TIMESTAMP]])
        return tenant_id

    def job(self, tenant_id: str, *kinds: type[Event]) -> JobKey:
        """A job to which these things happen, one after the other."""
        job = Job(
            tenant_id=tenant_id,
            job_id=str(uuid.uuid4()),
            image_uri="busybox",
            batch_parent=PARENT,
            idempotency_key=str(uuid.uuid4()),
            request_hash="0" * 64,
        )
        assert isinstance(self.transitions.submit(job), Applied)
        for kind in kinds:
            self.happen(job.key, kind)
        return job.key

    def happen(self, key: JobKey, kind: type[Event]) -> None:
        job = self.reads.job(key)
        assert job is not None
        decision = self.transitions.apply(key, event(job, kind), Actor.BATCH)
        assert isinstance(decision, Applied | Duplicate)

    def write(self, table: str, key: Iterable[object], **values: object) -> None:
        """Damage a row, or make one."""
        names = {"Jobs": (), "JobStateTransitions": ("TransitionId",), "JobAttempts": ("Attempt",)}[table]
        columns = ("TenantId", "JobId", *names, *values)
        with self.database.batch() as batch:
            put = batch.update if values else batch.insert
            put(table, columns, [[*key, *values.values()]])

    def delete(self, table: str, *key: object) -> None:
        with self.database.batch() as batch:
            batch.delete(table, KeySet(keys=[list(key)]))

    def forget(self, key: JobKey) -> None:
        """Lose a job's history."""
        whole = KeyRange(start_closed=list(key), end_closed=list(key))
        with self.database.batch() as batch:
            batch.delete("JobStateTransitions", KeySet(ranges=[whole]))

    def check(self, **options: Any) -> Check:
        return Check(self.database, now=clock_of(self.database), timing=Timing(), **options)

    def found(self, **options: Any) -> list[Violation]:
        return list(self.check(**options).violations())


def event(job: Job, kind: type[Event]) -> Event:
    """A sound event of this kind about the current attempt and its Batch job."""
    name = job.gcp_batch_job_name or f"{job.batch_parent}/jobs/{batch_id(job.key, job.attempt)}"
    batch = BatchRef(name, job.batch_uid or f"uid-{job.job_id}-{job.attempt}")
    failure = Failure(FailureReason.USER_EXIT, "exit 1", 1)
    events: dict[type[Event], Event] = {
        Scheduled: Scheduled(attempt=job.attempt, batch=batch),
        Started: Started(attempt=job.attempt, batch=batch, confirmed=True),
        Succeeded: Succeeded(attempt=job.attempt, batch=batch),
        AttemptFailed: AttemptFailed(attempt=job.attempt, batch=batch, failure=failure, ran=True),
        Cancelled: Cancelled(reason="enough"),
    }
    return events[kind]


LIVES: tuple[tuple[type[Event], ...], ...] = (
    (),
    (Scheduled,),
    (Scheduled, Started),
    (Scheduled, Started, Succeeded),
    (Succeeded,),
    (Scheduled, Started, AttemptFailed),
    (AttemptFailed,) * 4,
    (AttemptFailed, Scheduled, Cancelled),
    (Cancelled,),
)


@pytest.fixture
def book(database: Database) -> Book:
    return Book(database)


@pytest.fixture
def environment(spanner_host: str, spanner_instance: Instance, book: Book) -> Mapping[str, str]:
    return {
        "GOOGLE_CLOUD_PROJECT": "jennah-test",
        "SPANNER_INSTANCE": spanner_instance.instance_id,
        "SPANNER_DATABASE": book.database.database_id,
        "SPANNER_EMULATOR_HOST": spanner_host,
    }


@pytest.fixture
def run(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the command in this process; keywords change its environment."""

    def run_check(tenant_id: str | None = None, *, strict: bool = False, **changes: str) -> Done:
        for name, value in {**environment, **changes}.items():
            monkeypatch.setenv(name, value)
        code, error = 0, ""
        try:
            check_command.check(tenant_id=tenant_id, limit=100, strict=strict, as_json=False)
        except CommandFailed as failure:
            code, error = failure.exit_code, failure.message
        printed = capsys.readouterr()
        return Done([], code, printed.out, printed.err + error)

    return run_check


@pytest.mark.parametrize(("page", "keys"), [(1, 1), (4, 9), (4, 18), (200, 10_000)])
def test_what_the_platform_writes_is_clean_whatever_the_pages(book: Book, page: int, keys: int) -> None:
    for _ in range(2):
        tenant_id = book.tenant()
        for life in LIVES:
            book.job(tenant_id, *life)
    check = book.check(page=page, keys=keys)
    assert list(check.violations()) == []
    assert (check.figures.jobs, check.figures.transitions, check.figures.attempts) == (18, 88, 24)
    one = book.check(tenant_id=tenant_id, page=page, keys=keys)
    assert list(one.violations()) == []
    assert one.figures.jobs == 9


FAR = datetime(9000, 1, 1, tzinfo=UTC)
DAMAGES: dict[str, Callable[[Book, JobKey], None]] = {
    "status: the row has RUNNING": lambda book, key: book.write("Jobs", key, Status="RUNNING"),
    "version: the row has 9": lambda book, key: book.write("Jobs", key, Version=9),
    "attempt: the row has 3": lambda book, key: book.write("Jobs", key, Attempt=3),
    "retry_count: the row has 0": lambda book, key: book.write("Jobs", key, RetryCount=0),
    "infra_retry_count: the row has 1": lambda book, key: book.write("Jobs", key, InfraRetryCount=1),
    "scheduled_at: the row has None": lambda book, key: book.write("Jobs", key, ScheduledAt=None),
    "has no NextCheckAt": lambda book, key: book.write("Jobs", key, NextCheckAt=None),
    "its NextCheckAt is 9000-01-01": lambda book, key: book.write("Jobs", key, NextCheckAt=FAR),
    "and has a NotBefore": lambda book, key: book.write("Jobs", key, NotBefore=now()),
    "its MaxRetries is -1": lambda book, key: book.write("Jobs", key, MaxRetries=-1),
    "it was submitted by batch": lambda book, key: book.write(
        "JobStateTransitions", (*key, transition_id(1)), Actor="batch"
    ),
    "version 1 does not say when, by whom or why": lambda book, key: book.write(
        "JobStateTransitions", (*key, transition_id(1)), Reason=""
    ),
    "attempt 1 started at 9000-01-01": lambda book, key: book.write("JobAttempts", (*key, 1), StartedAt=FAR),
    "IdempotencyKey without RequestHash": lambda book, key: book.write("Jobs", key, RequestHash=None),
    "its Batch job is another": lambda book, key: book.write("Jobs", key, GcpBatchJobName="another"),
    "with an ErrorMessage": lambda book, key: book.write("Jobs", key, ErrorMessage="it failed"),
    "transition 00000000000000000003 stands where version 2": lambda book, key: book.delete(
        "JobStateTransitions", *key, transition_id(2)
    ),
    "version 6 starts from FAILED": lambda book, key: book.write(
        "JobStateTransitions", (*key, transition_id(6)), FromStatus="FAILED"
    ),
    "history: no transition at all": lambda book, key: book.forget(key),
    "attempt 2 has a history and no row": lambda book, key: book.delete("JobAttempts", *key, 2),
    "attempt 3 has a row, and no history": lambda book, key: book.write("JobAttempts", (*key, 3)),
    "attempt 1 was retried, and has no record": lambda book, key: book.write(
        "JobAttempts", (*key, 1), Reason=None
    ),
    "its row can't be understood": lambda book, key: book.write(
        "Jobs", key, Spec=JsonObject({"retry": {"rules": [{"action": "dance"}]}})
    ),
}


def test_each_damage_is_found_in_its_own_job(book: Book) -> None:
    tenant_id = book.tenant()
    damaged = {book.job(tenant_id, Scheduled, AttemptFailed, Scheduled): what for what in DAMAGES}
    assert book.found() == []
    for key, what in damaged.items():
        DAMAGES[what](book, key)
    found = book.found(page=3)
    for key, what in damaged.items():
        assert any(what in v.violation for v in found if v[:2] == key), what
    assert {JobKey(*violation[:2]) for violation in found} == set(damaged)
    assert [violation[:2] for violation in found] == sorted(violation[:2] for violation in found)


def test_a_job_that_moves_between_two_reads_is_no_violation(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = book.job(book.tenant())
    life = iter((Scheduled, AttemptFailed, Scheduled, Started, Succeeded))
    read = check_module._read

    def move_and_read(*arguments: Any, **options: Any) -> Any:
        if (kind := next(life, None)) is not None:
            book.happen(key, kind)
        return read(*arguments, **options)

    monkeypatch.setattr(check_module, "_read", move_and_read)
    assert book.found() == []
    assert book.found() == []
    assert next(life, None) is None
    job = book.reads.job(key)
    assert job is not None
    assert job.status is JobStatus.COMPLETED


def test_a_page_costs_three_reads(wired: Database, wire: Wire) -> None:
    book = Book(wired)
    tenant_id = book.tenant()
    for _ in range(7):
        book.job(tenant_id, Scheduled)
    check = book.check(page=3, keys=6)
    wire.taken()
    seen: list[int] = []
    assert list(check.violations(lambda figures: seen.append(figures.jobs))) == []
    assert seen == [3, 6, 7]
    assert wire.taken() == {"StreamingRead": 2 + 3 * 3}


def test_an_adopted_database_is_clean_then_and_after_its_jobs_went_on(empty_database: Database) -> None:
    adoption.make(empty_database, adoption.PLAIN + adoption.SECOND, adoption.some_jobs(72))
    migrate(empty_database, batch_parent=adoption.PARENT, resume_pending=True)
    book = Book(empty_database)
    assert book.found() == []
    with empty_database.snapshot() as snapshot:
        rows = snapshot.execute_sql("SELECT TenantId, JobId FROM Jobs WHERE NextCheckAt IS NOT NULL")
        live = [JobKey(*row) for row in rows]
    assert len(live) > 12
    for position, key in enumerate(live):
        for kind in LIVES[position % len(LIVES)]:
            job = book.reads.job(key)
            if job is not None and not job.status.final:
                book.happen(key, kind)
    assert book.found() == []
    ended = [key for key in live if (job := book.reads.job(key)) and job.version > 0]
    for key in ended:
        book.forget(key)
    assert {violation[:2] for violation in book.found()} == set(ended)


def test_the_command_says_how_much_was_checked(run: Run, book: Book) -> None:
    tenant_id = book.tenant()
    for life in LIVES:
        book.job(tenant_id, *life)
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "9 jobs, 44 transitions checked: no violation.\n"
    assert run(book.tenant()).stdout == "0 jobs, 0 transitions checked: no violation.\n"
    unknown = run(str(uuid.uuid4()))
    assert unknown.returncode == 1
    assert "There is no tenant" in unknown.stderr


def test_an_overdue_job_is_a_warning(run: Run, book: Book) -> None:
    book.write("Jobs", book.job(book.tenant()), NextCheckAt=now() - timedelta(minutes=16))
    done = run()
    assert (done.returncode, done.stdout) == (0, "1 jobs, 1 transitions checked: no violation.\n")
    assert done.stderr == (
        "1 jobs should have been looked at more than 15 minutes ago: does reconciliation run?\n"
    )
    strict = run(strict=True)
    assert (strict.returncode, strict.stdout) == (1, "")
    assert strict.stderr == done.stderr + "1 jobs, 1 transitions checked: no violation, and 1 jobs overdue."


def test_the_command_prints_violations_and_exits_with_1(
    run: Run, book: Book, environment: Mapping[str, str]
) -> None:
    tenant_id = book.tenant()
    keys = sorted(book.job(tenant_id, Scheduled) for _ in range(3))
    for key in keys:
        book.write("Jobs", key, NextCheckAt=None)
    done = run()
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split() == ["TENANT", "JOB", "VIOLATION"]
    assert [tuple(line.split()[:2]) for line in done.stdout.splitlines()[1:]] == keys
    assert done.stderr == "3 jobs, 6 transitions checked: 3 violations in 3 jobs."

    command = ["check", "--json", "--limit-violations", "2"]
    process = run_command(*command, env={"PATH": os.environ["PATH"], **environment})
    assert process.returncode == 1
    *violations, figures = map(json.loads, process.stdout.splitlines())
    assert [(line["tenant_id"], line["job_id"]) for line in violations] == keys[:2]
    assert (figures["jobs"], figures["violations"], figures["damaged_jobs"]) == (3, 3, 3)
    assert "the first 2 are shown" in process.stderr
    assert process.stderr.count("\n") == 1, "one sentence, no traceback"


def test_a_database_without_the_schema_is_one_sentence(run: Run, empty_database: Database) -> None:
    done = run(SPANNER_DATABASE=empty_database.database_id)
    assert done.returncode == 1
    assert "does not have the schema of this release" in done.stderr
    done = run(SPANNER_INSTANCE="")
    assert done.returncode == 2
    assert "SPANNER_INSTANCE is not set" in done.stderr
