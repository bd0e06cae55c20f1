"""What `violations` says: nothing of the rows that the platform makes, something of every damage to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jennah.operations.history import violations
from jennah.operations.times import CLOCKS
from shared.batch_ids import batch_id
from shared.config import Timing
from shared.events import (
    AttemptFailed,
    BatchRef,
    Cancelled,
    Event,
    Failure,
    Rejected,
    Scheduled,
    Started,
    Submitted,
    Succeeded,
)
from shared.lifecycle import Applied, decide
from shared.model import Actor, Attempt, Job, JobStatus, Transition
from shared.spec import Backoff, FailureReason, JobSpec, RetryAction, RetryPolicy, RetryRule
from shared.transitions import transition_id

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NOW = START + timedelta(hours=1)
FAR = datetime(9000, 1, 1, tzinfo=UTC)
TENANT, JOB = "4f9f7fe6-7e2c-4c39-8f0b-6a2f3b0a9a01", "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
PARENT = "projects/p/locations/us-central1"
OLD_NAME = "projects/old/locations/asia-northeast1/jobs/jennah-1"


@dataclass(frozen=True)
class Rows:
    """Everything that the database holds of one job."""

    job: Job
    history: tuple[Transition, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    def violations(self) -> list[str]:
        return violations(self.job, self.history, self.attempts, now=NOW, timing=Timing())


@dataclass
class Life:
    """Lets events happen, and keeps the rows as `transitions` writes them."""

    job: Job
    history: list[Transition] = field(default_factory=list)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    now: datetime = START

    def happen(self, event: Event) -> None:
        self.now += SECOND
        before = self.job
        decision = decide(before, event, now=self.now, timing=Timing(), jitter=0.5)
        if not isinstance(decision, Applied):
            return
        self.job = decision.job
        for version, step in enumerate(decision.steps, start=before.version + 1):
            self.history.append(
                Transition(
                    transition_id=transition_id(version),
                    from_status=step.from_status,
                    to_status=step.to_status.value,
                    transitioned_at=self.now,
                    reason=step.reason,
                    actor=(Actor.TENANT if isinstance(event, Submitted) else Actor.BATCH).value,
                    attempt=step.attempt,
                )
            )
        if isinstance(event, Submitted):
            return
        changes: dict[str, Any] = {"created_at": self.now} if before.status is JobStatus.PENDING else {}
        if any(step.to_status is JobStatus.SCHEDULED for step in decision.steps):
            changes |= {"gcp_batch_job_name": event.batch.name, "batch_uid": event.batch.uid}  # type: ignore[union-attr]  # only events with a Batch job lead there
        if isinstance(event, AttemptFailed | Rejected):
            failure = event.failure
            changes |= {
                "reason": failure.reason.value,
                "message": failure.message[:10],
                "exit_code": failure.exit_code,
            }
        if isinstance(event, Cancelled):
            changes |= {"reason": "cancelled", "message": event.reason}
        if isinstance(event, Succeeded):
            changes |= {"reason": None, "message": None}
        if isinstance(event, AttemptFailed | Succeeded):
            changes |= {"started_at": START, "finished_at": START}
        row = self.attempts.get(before.attempt, Attempt(attempt=before.attempt))
        self.attempts[before.attempt] = replace(row, **changes)

    def ignore(self, text: str) -> None:
        """A late event: `touch` keeps it in the current attempt's row, and makes one where there is none."""
        row = self.attempts.get(self.job.attempt, Attempt(attempt=self.job.attempt))
        self.attempts[self.job.attempt] = replace(row, last_ignored=text)

    def give_up(self) -> None:
        """Batch kept it queued too long: its row says so, and then Batch is asked to stop it."""
        if self.job.status is JobStatus.SCHEDULED:
            row = self.attempts[self.job.attempt]
            reason = FailureReason.QUEUE_TIMEOUT.value
            self.attempts[self.job.attempt] = replace(row, reason=reason, message="no machine")

    def settle(self) -> None:
        """Batch has nothing left of a final job."""
        if self.job.status.final:
            self.job = replace(self.job, next_check_at=None)

    def rows(self) -> Rows:
        return Rows(self.job, tuple(self.history), tuple(self.attempts[n] for n in sorted(self.attempts)))


Move = Callable[[Life], None]


def move(make: Callable[[int, BatchRef], Event]) -> Move:
    """An event about the current attempt and its own Batch job."""

    def happen(life: Life) -> None:
        job = life.job
        name = job.gcp_batch_job_name or f"{job.batch_parent}/jobs/{batch_id(job.key, job.attempt)}"
        life.happen(make(job.attempt, BatchRef(name, job.batch_uid or f"uid-{job.attempt}")))

    return happen


def failed(reason: FailureReason, *, ran: bool = True, text: str = "it broke") -> Move:
    failure = Failure(reason, text, 1)
    return move(lambda attempt, ref: AttemptFailed(attempt=attempt, batch=ref, failure=failure, ran=ran))


scheduled = move(lambda attempt, ref: Scheduled(attempt=attempt, batch=ref))
started = move(lambda attempt, ref: Started(attempt=attempt, batch=ref, confirmed=True))
succeeded = move(lambda attempt, ref: Succeeded(attempt=attempt, batch=ref))
cancelled = move(lambda *_: Cancelled(reason="enough"))
cancelled_in_batch = move(lambda attempt, ref: Cancelled(reason="outside", attempt=attempt, batch=ref))
rejected = move(
    lambda attempt, _: Rejected(attempt=attempt, failure=Failure(FailureReason.REJECTED, "no such image"))
)

MOVES: Sequence[Move] = (
    scheduled,
    started,
    succeeded,
    cancelled,
    cancelled_in_batch,
    rejected,
    lambda life: life.ignore("RUNNING came late"),
    Life.give_up,
    Life.settle,
)
failures = st.builds(
    failed, st.sampled_from(FailureReason), ran=st.booleans(), text=st.text(max_size=12) | st.just("x" * 3000)
)
policies = st.builds(
    RetryPolicy,
    max_infrastructure_retries=st.integers(0, 3),
    rules=st.sampled_from([(), (RetryRule(exit_codes=(1,), action=RetryAction.FAIL),)]),
)
moves = st.lists(st.one_of(st.sampled_from([scheduled, started]), failures, st.sampled_from(MOVES)))


def submitted(**changes: Any) -> Life:
    life = Life(
        Job(
            tenant_id=TENANT,
            job_id=JOB,
            image_uri="busybox",
            batch_parent=PARENT,
            idempotency_key="key",
            request_hash="hash",
            **changes,
        )
    )
    life.happen(Submitted())
    return life


def adopted(status: JobStatus, retries: int = 0, old: int = 2) -> Life:
    """A job of an old system, taken over: its times and its history are whatever they were."""
    chance = random.Random(retries + old)
    runs = status in {JobStatus.SCHEDULED, JobStatus.RUNNING}
    life = Life(
        Job(
            tenant_id=TENANT,
            job_id=JOB,
            image_uri="busybox",
            status=status,
            attempt=retries + 1,
            retry_count=retries,
            max_retries=1,
            created_at=START,
            updated_at=START + timedelta(days=900),
            scheduled_at=START,
            completed_at=START,
            error_message="of before",
            gcp_batch_job_name=OLD_NAME,
            batch_parent=None if status.final else OLD_NAME.rpartition("/jobs/")[0],
            next_check_at=None if status.final else START,
        )
    )
    for _ in range(old):
        row = Transition(
            transition_id=str(chance.getrandbits(128)).zfill(36)[:36],
            from_status=None,
            to_status=chance.choice(list(JobStatus)).value,
            transitioned_at=None,
            reason=None,
            actor=None,
            attempt=None,
        )
        life.history.append(row)
    if runs:
        attempt = Attempt(attempt=retries + 1, gcp_batch_job_name=OLD_NAME, created_at=START)
        life.attempts[retries + 1] = attempt
    return life


def lived(life: Life, *steps: Move) -> Rows:
    for step in steps:
        step(life)
    return life.rows()


FULL = {
    "waits": lived(submitted()),
    "waits, with a late event": lived(submitted(), lambda life: life.ignore("late")),
    "runs": lived(submitted(), scheduled, started),
    "given up, and not stopped yet": lived(submitted(), scheduled, Life.give_up),
    "given up, and runs all the same": lived(submitted(), scheduled, Life.give_up, started),
    "given up, and done all the same": lived(submitted(), scheduled, Life.give_up, started, succeeded),
    "given up, and stopped": lived(
        submitted(), scheduled, Life.give_up, failed(FailureReason.QUEUE_TIMEOUT, ran=False)
    ),
    "done": lived(submitted(), scheduled, started, succeeded),
    "done, RUNNING never seen": lived(submitted(), succeeded),
    "waits again": lived(submitted(), scheduled, failed(FailureReason.USER_EXIT)),
    "preempted, then done": lived(
        submitted(), scheduled, failed(FailureReason.SPOT_PREEMPTION), scheduled, started, succeeded
    ),
    "failed twice": lived(
        submitted(max_retries=1),
        scheduled,
        failed(FailureReason.TIMEOUT),
        scheduled,
        started,
        failed(FailureReason.USER_EXIT, text="x" * 3000),
    ),
    "rejected": lived(submitted(), rejected),
    "cancelled before": lived(submitted(), cancelled),
    "cancelled while it ran": lived(submitted(), scheduled, started, cancelled, Life.settle),
}

Damage = tuple[str, Rows]


def other_time(at: datetime | None) -> datetime | None:
    return at + SECOND if at else START


def damages(rows: Rows) -> Iterator[Damage]:
    """Every damage of a single value or row that the data can show, with a name for its kind."""
    yield from ((f"job.{name}", replace(rows, job=job)) for name, job in job_damages(rows))
    yield from (
        (f"history.{name}", replace(rows, history=new)) for name, new in history_damages(rows.history)
    )
    yield from ((f"attempts.{name}", replace(rows, attempts=new)) for name, new in attempt_damages(rows))


def job_damages(rows: Rows) -> Iterator[tuple[str, Job]]:  # noqa: C901, PLR0912 - a list, longer than deep
    job = rows.job
    for status in set(JobStatus) - {job.status}:
        yield "status", replace(job, status=status)
    for name in ("version", "attempt", "retry_count", "infra_retry_count"):
        for more in (-1, 1):
            yield name, replace(job, **{name: getattr(job, name) + more})
    yield "version", replace(job, version=0)
    for name in ("created_at", "updated_at", "scheduled_at", "started_at", "completed_at"):
        at = getattr(job, name)
        yield name, replace(job, **{name: other_time(at)})  # type: ignore[arg-type]  # all are times
        if at is not None:
            yield name, replace(job, **{name: None})  # type: ignore[arg-type]  # all may be None
    yield "next_check_at", replace(job, next_check_at=FAR)
    yield "not_before", replace(job, not_before=FAR)
    if job.status in {JobStatus.SCHEDULED, JobStatus.RUNNING}:
        yield "not_before", replace(job, not_before=START)
    yield "max_retries", replace(job, max_retries=-1)
    if not job.status.final:
        yield "next_check_at", replace(job, next_check_at=None)
    if job.status is JobStatus.COMPLETED:
        yield "next_check_at", replace(job, next_check_at=START)
    for name in ("gcp_batch_job_name", "batch_uid"):
        yield name, replace(job, **{name: "another"})  # type: ignore[arg-type]  # all are texts
        if getattr(job, name) is not None:
            yield name, replace(job, **{name: None})  # type: ignore[arg-type]  # all may be None
    failed = job.status is JobStatus.FAILED
    yield "error_message", replace(job, error_message=None if failed else "it failed")
    if failed and any(row.message for row in rows.attempts if row.attempt == job.attempt):
        yield "error_message", replace(job, error_message="")
    yield "tenant_id", replace(job, tenant_id=TENANT.upper())
    yield "job_id", replace(job, job_id=JOB.upper())
    yield "batch_parent", replace(job, batch_parent=None)
    if any(row.gcp_batch_job_name for row in rows.attempts):
        yield "batch_parent", replace(job, batch_parent=PARENT.replace("central", "east"))
        yield "tenant_id", replace(job, tenant_id=JOB)
        yield "job_id", replace(job, job_id=TENANT)
    yield "request_hash", replace(job, request_hash=None)
    if job.retry_count:
        yield "max_retries", replace(job, max_retries=job.retry_count - 1)
    spends = failed and rows.attempts[-1].reason in {"timeout", "user_exit"}
    if spends and not job.spec.retry.rules:
        yield "max_retries", replace(job, max_retries=job.retry_count + 1)
    if job.infra_retry_count:
        policy = RetryPolicy(max_infrastructure_retries=job.infra_retry_count - 1)
        yield "spec", replace(job, spec=JobSpec(retry=policy))


def history_damages(history: tuple[Transition, ...]) -> Iterator[tuple[str, tuple[Transition, ...]]]:
    for place, row in enumerate(history):
        before, after = history[:place], history[place + 1 :]
        yield "lost", before + after
        yield "doubled", (*before, row, row, *after)
        renumbered = [
            replace(r, transition_id=transition_id(n)) for n, r in enumerate((row, *after), place + 2)
        ]
        yield "doubled, with its number", (*before, row, *renumbered)
        closed = [replace(r, transition_id=transition_id(n)) for n, r in enumerate(after, place + 1)]
        yield "lost, with its number", (*before, *closed)
        if after:
            swapped = (
                replace(after[0], transition_id=row.transition_id),
                replace(row, transition_id=after[0].transition_id),
            )
            yield "swapped", (*before, *swapped, *after[1:])
        edits: list[dict[str, Any]] = [
            {"transition_id": transition_id(len(history) + 5)},
            {"transition_id": "6b1f2f3a-9f0e-4a86-8f0b-0b9f8c0e3f0d"},
            {"transitioned_at": None},
            {"transitioned_at": START - timedelta(days=1)},
            {"transitioned_at": START + timedelta(days=1)},
            {"reason": None},
            {"reason": ""},
            {"actor": None},
            {"actor": "nobody"},
            {"attempt": None},
            {"attempt": (row.attempt or 0) + 1},
        ]
        if place == 0:
            edits += [{"actor": other} for other in Actor if other is not Actor.TENANT]
        edits += [
            {"from_status": other} for other in (None, *JobStatus, "QUEUED") if other != row.from_status
        ]
        edits += [{"to_status": other} for other in (*JobStatus, "QUEUED") if other != row.to_status]
        for edit in edits:
            yield next(iter(edit)), (*before, replace(row, **edit), *after)
    yield "of before", (replace(history[0], transition_id="6b1f2f3a-9f0e-4a86-8f0b-0b9f8c0e3f0d"), *history)
    yield "gone", ()


def attempt_damages(  # noqa: C901, PLR0912 - a list, longer than deep
    rows: Rows,
) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
    job, attempts = rows.job, rows.attempts
    ends = {row.attempt: row.to_status for row in rows.history if row.to_status != JobStatus.PENDING}
    yield "too many", (*attempts, Attempt(attempt=job.attempt + 1))
    yield "too few", (Attempt(attempt=0), *attempts)
    for place, row in enumerate(attempts):
        before, after = attempts[:place], attempts[place + 1 :]
        end = ends.get(row.attempt)
        if end is not None:
            yield "lost", before + after
        if after and after[0].attempt in ends:
            one, other = after[0], row
            yield (
                "swapped",
                (*before, replace(one, attempt=row.attempt), replace(other, attempt=one.attempt), *after[1:]),
            )
        edits: list[dict[str, Any]] = [
            {"gcp_batch_job_name": "projects/p/locations/us-central1/jobs/another"},
            {"created_at": other_time(row.created_at)},
            {"reason": "tired"},
            {"started_at": START - timedelta(days=1)},
            {"started_at": FAR},
            {"finished_at": START - timedelta(days=1)},
            {"finished_at": FAR},
            {"started_at": START + SECOND, "finished_at": START},
            {"reason": None if row.reason else "timeout"},
            {"message": None if row.message is not None else "it said"},
        ]
        if row.gcp_batch_job_name is not None:
            edits += [{"gcp_batch_job_name": None}, {"batch_uid": None}, {"batch_uid": ""}]
        if row.attempt == job.attempt:
            edits.append({"batch_uid": "another"})
        if row.created_at is not None:
            edits.append({"created_at": None})
        if end != JobStatus.FAILED:
            edits += [{"exit_code": 1}, {"reason": "user_exit", "message": "it did not"}]
        if end in {JobStatus.COMPLETED, JobStatus.CANCELLED}:
            edits.append({"reason": "queue_timeout", "message": "no machine"})
        if end in {None, JobStatus.SCHEDULED, JobStatus.RUNNING}:
            edits.append({"finished_at": START})
        if end in {None, JobStatus.SCHEDULED}:
            edits.append({"started_at": START})
        for edit in edits:
            yield next(iter(edit)), (*before, replace(row, **edit), *after)
        if row.attempt < job.attempt and row.reason is not None:
            infrastructure = FailureReason(row.reason).infrastructure
            other_budget = FailureReason.USER_EXIT if infrastructure else FailureReason.VM_LOST
            yield "reason of the other budget", (*before, replace(row, reason=other_budget), *after)
    if sum(row.batch_uid is not None for row in attempts) > 1:
        yield "one uid", tuple(replace(row, batch_uid=row.batch_uid and "uid") for row in attempts)


def unseen(rows: Rows) -> list[tuple[str, object]]:
    """Damages of which nothing is said."""
    return [
        (kind, damaged) for kind, damaged in damages(rows) if damaged != rows and not damaged.violations()
    ]


@pytest.mark.parametrize("name", FULL)
def test_a_life_is_clean_and_no_damage_to_it_is(name: str) -> None:
    assert FULL[name].violations() == []
    assert unseen(FULL[name]) == []


@given(moves=moves, retries=st.integers(0, 3), policy=policies)
def test_whatever_happens_the_rows_are_clean_and_no_damage_to_them_is(
    moves: list[Move], retries: int, policy: RetryPolicy
) -> None:
    rows = lived(submitted(max_retries=retries, spec=JobSpec(retry=policy)), *moves)
    assert rows.violations() == []
    assert unseen(rows) == []


@given(moves=moves, status=st.sampled_from(JobStatus), retries=st.integers(0, 3), old=st.integers(0, 3))
def test_an_adopted_job_is_judged_by_what_came_after(
    moves: list[Move], status: JobStatus, retries: int, old: int
) -> None:
    life = adopted(status, retries, old)
    if status.final:
        moves = []
    rows = lived(life, *moves)
    assert rows.violations() == []
    own = rows.history[old:]
    for place in range(len(own)):
        missing = (*rows.history[: old + place], *own[place + 1 :])
        assert replace(rows, history=missing).violations() != []
    if own:
        assert replace(rows, job=replace(rows.job, retry_count=rows.job.retry_count + 1)).violations()
        assert replace(rows, job=replace(rows.job, updated_at=START)).violations()
        assert replace(rows, attempts=()).violations()
    if not rows.job.status.final:
        assert replace(rows, job=replace(rows.job, next_check_at=None)).violations()


def test_a_job_that_adoption_failed_is_clean() -> None:
    life = adopted(JobStatus.RUNNING)
    at = START + timedelta(days=1000)
    audit = Transition(
        transition_id=transition_id(1),
        from_status="RUNNING",
        to_status="FAILED",
        transitioned_at=at,
        reason="predates this system",
        actor="operator",
        attempt=1,
    )
    job = replace(
        life.job,
        job_id="of another shape",
        status=JobStatus.FAILED,
        version=1,
        updated_at=at,
        completed_at=at,
        next_check_at=None,
        batch_parent=None,
    )
    rows = Rows(job, (*life.history, audit))
    assert rows.violations() == []
    assert replace(rows, job=replace(job, status=JobStatus.COMPLETED)).violations()
    assert replace(rows, history=(*life.history, replace(audit, from_status="COMPLETED"))).violations()


def test_a_job_that_was_not_taken_over_yet_has_no_check_time() -> None:
    rows = adopted(JobStatus.RUNNING).rows()
    waiting = replace(rows, job=replace(rows.job, next_check_at=None), attempts=())
    assert len(waiting.violations()) == 1
    assert "has no NextCheckAt" in waiting.violations()[0]


DEFAULT = Timing()
SPACING = 2 * DEFAULT.live_check_limit + CLOCKS
HALF_A_DAY = JobSpec(retry=RetryPolicy(backoff=Backoff(max_delay_seconds=43_200)))
PLANS = {
    "waits": SPACING + DEFAULT.retry_limit,
    "waits for half a day": SPACING + timedelta(hours=12),
    "waits in Batch": SPACING,
    "runs": SPACING,
    "cancelled while it ran": SPACING,
}
PLANNED = FULL | {
    "waits for half a day": lived(submitted(spec=HALF_A_DAY)),
    "waits in Batch": lived(submitted(), scheduled),
}


@pytest.mark.parametrize("name", PLANS)
def test_no_check_is_planned_further_ahead_than_the_longest_wait(name: str) -> None:
    rows = PLANNED[name]
    last = NOW + PLANS[name]
    for at in (START - timedelta(days=400), last):
        assert replace(rows, job=replace(rows.job, next_check_at=at)).violations() == []
    [found] = replace(rows, job=replace(rows.job, next_check_at=last + SECOND)).violations()
    assert found.startswith("its NextCheckAt is 2026-01-")


@pytest.mark.parametrize(("name", "most"), [("waits", "waits"), ("cancelled before", "waits")])
def test_no_start_is_planned_further_ahead_than_a_backoff(name: str, most: str) -> None:
    rows, last = FULL[name], NOW + PLANS[most]
    for at in (START - timedelta(days=400), last):
        assert replace(rows, job=replace(rows.job, not_before=at)).violations() == []
    [found] = replace(rows, job=replace(rows.job, not_before=last + SECOND)).violations()
    assert found.startswith("its NotBefore is 2026-01-")


def test_how_far_ahead_is_planned_follows_the_settings() -> None:
    rows, last = FULL["runs"], NOW + 2 * timedelta(days=1) + CLOCKS
    late = replace(rows.job, next_check_at=last)
    names = ("tick", "pending_check", "pending_check_limit", "live_check", "live_check_limit")
    for name in (*names, "unconfirmed_check", "pause_check"):
        timing = replace(DEFAULT, **{name: timedelta(days=1)})
        assert violations(late, rows.history, rows.attempts, now=NOW, timing=timing) == []
    assert len(violations(late, rows.history, rows.attempts, now=NOW, timing=DEFAULT)) == 1


LAST = START + 4 * SECOND  # of the four transitions of "done" and "cancelled while it ran"


@pytest.mark.parametrize(
    ("name", "attempt", "found"),
    [
        ("done", {"started_at": START + SECOND, "finished_at": START}, "finished at"),
        ("done", {"started_at": LAST, "finished_at": LAST + CLOCKS}, None),
        ("done", {"finished_at": LAST + CLOCKS + SECOND}, "after its end was known"),
        ("done", {"started_at": LAST + CLOCKS + SECOND, "finished_at": None}, "after its end was known"),
        ("done", {"started_at": START + SECOND - CLOCKS}, None),
        ("done", {"started_at": START - CLOCKS}, "before it was there"),
        ("done", {"started_at": None, "finished_at": START - CLOCKS}, "before it was there"),
        ("cancelled while it ran", {"finished_at": NOW + CLOCKS}, None),
        ("cancelled while it ran", {"finished_at": NOW + CLOCKS + SECOND}, "after the time of this check"),
    ],
)
def test_an_attempt_runs_in_its_own_time(name: str, attempt: dict[str, Any], found: str | None) -> None:
    rows = FULL[name]
    [row] = rows.attempts
    seen = replace(rows, attempts=(replace(row, **attempt),)).violations()
    assert len(seen) == (found is not None)
    assert found is None or found in seen[0]


def test_the_second_attempt_begins_with_its_retry() -> None:
    rows = FULL["preempted, then done"]
    first, second = rows.attempts
    began = next(
        row.transitioned_at for row in rows.history if (row.attempt, row.to_status) == (2, "PENDING")
    )
    assert began is not None
    early = replace(second, started_at=began - CLOCKS - SECOND)
    [found] = replace(rows, attempts=(first, early)).violations()
    assert found.startswith("attempt 2 started at")
    assert "before it was there" in found


def test_an_adopted_attempt_may_have_begun_at_any_time() -> None:
    rows = lived(adopted(JobStatus.RUNNING), succeeded)
    [row] = rows.attempts
    old = replace(row, started_at=START - timedelta(days=1000))
    assert replace(rows, attempts=(old,)).violations() == []
    assert replace(rows, attempts=(replace(old, finished_at=FAR),)).violations() != []


@pytest.mark.parametrize(
    ("job", "found"),
    [
        ({"max_retries": -1}, "its MaxRetries is -1"),
        ({"not_before": START}, "it is RUNNING and has a NotBefore"),
    ],
)
def test_a_value_that_nothing_writes_is_reported(job: dict[str, Any], found: str) -> None:
    rows = FULL["runs"]
    assert replace(rows, job=replace(rows.job, **job)).violations() == [found]


@pytest.mark.parametrize(
    ("audit", "found"),
    [
        ({"reason": ""}, "history: version 1 does not say when, by whom or why"),
        ({"actor": "batch"}, "history: it was submitted by batch, and only tenants submit"),
    ],
)
def test_a_submission_says_why_and_is_a_tenants(audit: dict[str, Any], found: str) -> None:
    rows = FULL["runs"]
    history = (replace(rows.history[0], **audit), *rows.history[1:])
    assert replace(rows, history=history).violations() == [found]


def test_a_revived_job_is_reported() -> None:
    """A final FAILED never changes: a retry is of the commit that failed the attempt."""
    rows = lived(submitted(), scheduled, failed(FailureReason.USER_EXIT))
    later = rows.history[-1].transitioned_at
    assert later is not None
    revived = replace(rows.history[-1], transitioned_at=later + SECOND)
    job = replace(rows.job, updated_at=later + SECOND)
    damaged = Rows(job, (*rows.history[:-1], revived), rows.attempts)
    assert "revives a job that had failed" in damaged.violations()[0]


def test_a_batch_job_that_no_transition_recorded_is_reported() -> None:
    rows = FULL["cancelled before"]
    [attempt] = rows.attempts
    name = f"{PARENT}/jobs/{batch_id(rows.job.key, 1)}"
    damaged = Rows(
        replace(rows.job, gcp_batch_job_name=name, batch_uid="uid"),
        rows.history,
        (replace(attempt, gcp_batch_job_name=name, batch_uid="uid"),),
    )
    assert damaged.violations() != []


def test_an_adopted_job_keeps_the_batch_job_of_its_attempt() -> None:
    rows = lived(adopted(JobStatus.RUNNING), succeeded)
    assert rows.violations() == []
    assert replace(rows, job=replace(rows.job, gcp_batch_job_name=None)).violations() != []


def test_batch_may_show_the_project_by_its_number() -> None:
    rows = FULL["runs"]
    name = (rows.job.gcp_batch_job_name or "").replace("projects/p/", "projects/123456/")
    numbered = Rows(
        replace(rows.job, gcp_batch_job_name=name),
        rows.history,
        tuple(replace(row, gcp_batch_job_name=name) for row in rows.attempts),
    )
    assert numbered.violations() == []


def test_every_column_is_judged_or_said_not_to_be() -> None:
    """A new column needs a decision: add its damages above, or say here why its data show nothing."""
    seen = {kind for rows in FULL.values() for kind, _ in damages(rows)}
    kinds = {kind.rpartition(".")[2] for kind in seen if kind.startswith("job.")}
    unjudged = {"image_uri", "commands", "idempotency_key", "status_detail", "trace_context"}
    assert {field.name for field in fields(Job)} - kinds == unjudged
    kinds = {kind.rpartition(".")[2] for kind in seen if kind.startswith("history.")}
    assert {field.name for field in fields(Transition)} <= kinds
    kinds = {kind.rpartition(".")[2] for kind in seen if kind.startswith("attempts.")}
    assert {field.name for field in fields(Attempt)} - kinds == {"attempt", "last_ignored"}
