"""The world around one job, as small as it can be, with the real `lifecycle.decide` in its middle.

It has a row, what Batch really has for each attempt, the CreateJob calls under way, and the events under
way. An event that was sent once may arrive at any time, any
number of times, or never: so doubling, loss, delay and reordering need no moves of their own. What Batch's
record means is asked of the real `Follower`, and its answer may arrive when it is out of date.

Two reductions keep the space small, and both are checked in every state. Events that must do nothing
(another attempt's, another Batch job's, any after the end) are not remembered: instead all that can be made
are tried on every row. And jobs share nothing, so two jobs are explored together with fewer faults.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from google.cloud import batch_v1

from shared.batch import BatchPage, BatchRecord, BatchState, TaskRecord, batch_name, our_labels
from shared.config import Settings
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
from shared.follow import Follower
from shared.lifecycle import EDGES, Applied, Decision, NotFound, Step, decide
from shared.model import Actor, Attempt, FailureReason, Job, JobKey, JobSpec, JobStatus, RetryPolicy
from shared.rows import Reads
from shared.transitions import Touch, Transitions

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SETTINGS = Settings(project="project", spanner_instance="instance")
_ID = "00000000-0000-4000-8000-000000000000"
_FORGED = "forged"
_LIVE = {JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING}
# The steps of the design's diagram, written down a second time: the table must not be its own judge.
_PENDING, _SCHEDULED, _RUNNING = JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING
_STEPS: frozenset[tuple[JobStatus | None, JobStatus]] = frozenset(
    {
        (None, _PENDING),
        (_PENDING, _SCHEDULED),
        (_PENDING, JobStatus.FAILED),
        (_SCHEDULED, _RUNNING),
        (_SCHEDULED, JobStatus.FAILED),
        (_RUNNING, JobStatus.FAILED),
        (_RUNNING, JobStatus.COMPLETED),
        (JobStatus.FAILED, _PENDING),
        *((live, JobStatus.CANCELLED) for live in _LIVE),
    }
)
_STOPPING = BatchState.CANCELLATION_IN_PROGRESS


class Fault(StrEnum):
    """What the world may do to a job. Without any, it is submitted, runs and succeeds."""

    CANCEL = "the tenant cancels"
    FAIL = "the container fails"
    PREEMPT = "the VM is preempted"
    NEVER_RAN = "Batch fails the job before it runs"
    REJECT = "Batch refuses the request"
    STOPPED = "cancelled outside, in Batch"
    DELETED = "deleted outside, in Batch"
    FORGE = "a forged notification"


class Work(NamedTuple):
    """A Batch job as it really is. `gone`: Batch has no record of it any more; `state` is its last one."""

    uid: str
    state: BatchState = BatchState.QUEUED
    ran: bool = False
    preempted: bool = False
    gone: bool = False

    @property
    def busy(self) -> bool:
        """Whether it runs, or will."""
        return not self.gone and not self.state.final


class Row(NamedTuple):
    """What matters of a row of Jobs, and how many audit rows stand beside it."""

    status: JobStatus
    attempt: int
    retry_count: int
    infra_retry_count: int
    version: int
    audit_rows: int
    uid: str | None
    named: bool
    waits: bool
    checked: bool
    scheduled: bool
    started: bool
    completed: bool


class State(NamedTuple):
    """One job, and all that the world holds about it.

    `works` has, per attempt, its Batch jobs by age. Of an attempt that is over it has only what is busy.
    """

    row: Row | None = None
    works: tuple[tuple[Work, ...], ...] = ()
    deletions: int = 0
    creating: frozenset[int] = frozenset()
    events: frozenset[Event] = frozenset()


S = TypeVar("S", bound=Hashable)


class Move(NamedTuple, Generic[S]):
    """One step of the world. `sound`: it may be counted on once faults stop."""

    label: str
    sound: bool
    to: S


class Violation(AssertionError):
    """An invariant does not hold; the message ends with the shortest way there, if it is known."""


class _Probe(Transitions):
    """Stands where the writer and Batch stand, for one question to the real Follower."""

    def __init__(self, record: BatchRecord | None, tasks: list[TaskRecord]) -> None:
        self._record, self._tasks = record, tasks
        self.event: Event | None = None
        self.cleared = False
        self.cancelled = False

    def apply(self, key: JobKey, event: Event, actor: Actor, *, known: Job | None = None) -> Decision:
        self.event = event
        return NotFound()

    def touch_all(self, touches: Sequence[Touch]) -> int:
        self.cleared = all(touch.next_check_at is None for touch in touches)
        return len(touches)

    def create(self, name: str, job: batch_v1.Job) -> BatchRecord:
        raise AssertionError("following creates nothing")

    def get(self, name: str) -> BatchRecord | None:
        return self._record

    def tasks(self, name: str) -> list[TaskRecord]:
        return self._tasks

    def cancel(self, name: str) -> None:
        self.cancelled = True

    def list_jobs(
        self, parent: str, *, deployment: str, state: BatchState | None = None, page_token: str = ""
    ) -> BatchPage:
        raise AssertionError("following lists nothing")


class _NoAttempts(Reads):
    """No attempt was ever given up for want of a machine."""

    def __init__(self) -> None:
        pass

    def attempt(self, key: JobKey, attempt: int) -> Attempt | None:
        return None


class JobModel:
    """One job under the given faults.

    Args:
        max_retries: its budget for the program's failures.
        max_infrastructure_retries: its budget for the platform's.
        faults: what may happen.
        deletions: how many Batch jobs may be deleted outside; a CreateJob still under way makes them anew.
    """

    def __init__(
        self,
        *,
        max_retries: int = 1,
        max_infrastructure_retries: int = 0,
        faults: Iterable[Fault] = Fault,
        deletions: int = 1,
    ) -> None:
        self._submission = Job(
            tenant_id=_ID,
            job_id=_ID,
            image_uri="image",
            spec=JobSpec(retry=RetryPolicy(max_infrastructure_retries=max_infrastructure_retries)),
            max_retries=max_retries,
            batch_parent=_SETTINGS.batch_parent,
        )
        self._attempts = 1 + max_retries + max_infrastructure_retries
        self._faults = frozenset(faults)
        self._deletions = deletions
        self.moves = cache(self._moves)
        self.check = cache(self._check)
        self._deliver_to_row = cache(self._deliver_uncached)
        self._check_inert = cache(self._check_inert_uncached)
        self._look = cache(self._look_uncached)

    # ---- the world's moves

    def _moves(self, state: State) -> tuple[Move[State], ...]:
        return tuple(self._all_moves(state))

    def _all_moves(self, state: State) -> Iterator[Move[State]]:
        row = state.row
        if row is None:
            yield self._deliver(state, Submitted(), sound=True)
            return
        for event in state.events:
            yield self._deliver(state, event, sound=True)
        if Fault.CANCEL in self._faults:
            yield self._deliver(state, Cancelled(reason="cancelled by the tenant"), sound=False)
        if Fault.FORGE in self._faults:
            ref = BatchRef(self._name(row.attempt), _FORGED)
            yield self._deliver(state, Started(attempt=row.attempt, batch=ref, confirmed=False), sound=False)
        yield from self._calls(state, row)
        for attempt, works in enumerate(state.works, 1):
            if works and not works[-1].gone:
                yield from self._progress(state, row, attempt)

    def _calls(self, state: State, row: Row) -> Iterator[Move[State]]:
        attempt = row.attempt
        record = self._present(state, attempt)
        if row.status is JobStatus.PENDING:
            if attempt not in state.creating:
                yield Move("CreateJob is called", True, state._replace(creating=state.creating | {attempt}))
            if record is None and Fault.REJECT in self._faults and attempt in state.creating:
                refused = Failure(FailureReason.REJECTED, "refused")
                yield self._send(state, Rejected(attempt=attempt, failure=refused), "is refused", sound=False)
        for called in state.creating:
            works = state.works[called - 1]
            if not works or works[-1].gone:
                made = (*works, Work(f"{called}.{len(works)}"))
                sound = called == attempt and row.status is JobStatus.PENDING
                yield Move(f"CreateJob {called} lands", sound, _with_works(state, called, made))
            yield Move(f"CreateJob {called} ends", True, state._replace(creating=state.creating - {called}))
        if row.status in _LIVE and (record is not None or row.status is not JobStatus.PENDING):
            event, cancels = self._look(row, record)
            looked = self._stopped(state, row) if cancels else state
            if event is not None:
                yield self._send(looked, event, "GetJob answers", sound=True)
        if row.status.final and row.checked:
            yield self._settle(state, row, record)

    def _progress(  # noqa: C901 - one move after the other
        self, state: State, row: Row, attempt: int
    ) -> Iterator[Move[State]]:
        *before, work = state.works[attempt - 1]

        def becomes(label: str, *, sound: bool = False, **changes: object) -> Move[State]:
            changed = Work(**(work._asdict() | changes))
            return Move(f"attempt {attempt} {label}", sound, _with_works(state, attempt, (*before, changed)))

        if Fault.DELETED in self._faults and state.deletions < self._deletions:
            label, sound, to = becomes("is deleted outside", gone=True)
            yield Move(label, sound, to._replace(deletions=state.deletions + 1))
        if work.state is _STOPPING:
            yield becomes("is stopped", sound=True, state=BatchState.CANCELLED)
        elif work.busy:
            if Fault.STOPPED in self._faults:
                yield becomes("is cancelled outside", state=_STOPPING)
            if row.status.final or attempt < row.attempt:
                yield becomes("is cancelled as an orphan", sound=True, state=_STOPPING)
        if work.state is BatchState.QUEUED:
            ref = BatchRef(self._name(attempt), work.uid)
            runs = becomes("runs", sound=True, state=BatchState.RUNNING, ran=True)
            notified = Started(attempt=attempt, batch=ref, confirmed=False)
            yield Move(runs.label, True, self._send(runs.to, notified, "", sound=True).to)
            if Fault.NEVER_RAN in self._faults:
                yield becomes("fails before it runs", state=BatchState.FAILED)
        if work.state is BatchState.RUNNING:
            yield becomes("succeeds", sound=True, state=BatchState.SUCCEEDED)
            if Fault.FAIL in self._faults:
                yield becomes("fails", state=BatchState.FAILED)
            if Fault.PREEMPT in self._faults:
                yield becomes("is preempted", state=BatchState.FAILED, preempted=True)

    def _send(self, state: State, event: Event, why: str, *, sound: bool) -> Move[State]:
        spent = state.row is None or _spent(state.row, event)
        to = state if spent else state._replace(events=state.events | {event})
        return Move(f"{why}: {_title(event)}", sound, to)

    # ---- the real code

    def _deliver(self, state: State, event: Event, *, sound: bool) -> Move[State]:
        row, steps = self._deliver_to_row(state.row, event)
        label = f"{_title(event)} arrives"
        if row == state.row or row is None:
            return Move(label, sound, state)
        works = state.works + ((),) * (row.attempt - len(state.works))
        for step in steps:
            _check_grounded(step, event, works)
        works = tuple(_over(past) for past in works[:-1]) + works[-1:]
        events = frozenset(sent for sent in state.events if not _spent(row, sent))
        return Move(label, sound, state._replace(row=row, works=works, events=events))

    def _deliver_uncached(self, row: Row | None, event: Event) -> tuple[Row | None, tuple[Step, ...]]:
        submitted = row is None and isinstance(event, Submitted)
        before = self._submission if submitted else self._job(row) if row else None
        decision = _decide(before, event)
        if not isinstance(decision, Applied):
            _require(isinstance(decision, NotFound) or decision.job == before, "a refusal changes nothing")
            return row, ()
        _require(row is None or row.status in _LIVE, f"{_title(event)} changes a final job")
        steps, after = decision.steps, decision.job
        path = [step.from_status for step in steps] + [steps[-1].to_status]
        _require(path[0] is (row.status if row else None), "history goes on from the row")
        _require(all(step.to_status is path[i + 1] for i, step in enumerate(steps)), "history is contiguous")
        _require(all(edge in EDGES & _STEPS for edge in pairwise(path)), f"{path} is no path of the table")
        _require(after.status is path[-1], "the row stands where its history ends")
        _require(row is None or row.attempt <= after.attempt <= row.attempt + 1, "the attempt only grows")
        _require(not isinstance(_decide(after, event), Applied), f"{_title(event)} is applied twice")
        return _row(after, (row.audit_rows if row else 0) + len(steps)), steps

    def _look_uncached(self, row: Row, work: Work | None) -> tuple[Event | None, bool]:
        probe = self._probe(row, work)
        self._follower(probe).follow(self._job(row), self._record(row, work), Actor.RECONCILER)
        return probe.event, probe.cancelled

    def _settle(self, state: State, row: Row, work: Work | None) -> Move[State]:
        probe = self._probe(row, work)
        # A CreateJob that is still under way is younger than the time for which checks are owed.
        old = timedelta() if row.attempt in state.creating else _SETTINGS.timing.settle * 2
        self._follower(probe).settle(self._job(row, age=old))
        if probe.cancelled:
            state = self._stopped(state, row)
        return Move("settled", True, state._replace(row=row._replace(checked=not probe.cleared)))

    def _follower(self, probe: _Probe) -> Follower:
        return Follower(
            transitions=probe,
            reads=_NoAttempts(),
            batch=probe,
            publish=lambda _: None,
            settings=_SETTINGS,
            now=lambda: _NOW,
        )

    def _probe(self, row: Row, work: Work | None) -> _Probe:
        failed = work is not None and work.state is BatchState.FAILED and work.ran
        code = 50001 if work is not None and work.preempted else 1
        return _Probe(self._record(row, work), [TaskRecord(True, True, code, None, None)] if failed else [])

    def _record(self, row: Row, work: Work | None) -> BatchRecord | None:
        if work is None:
            return None
        job = self._job(row)
        labels = our_labels(job.key, job.attempt, _SETTINGS)
        ref = BatchRef(self._name(row.attempt), work.uid)
        return BatchRecord(ref, work.state, labels, timedelta(seconds=work.ran), "", None)

    def _job(self, row: Row, *, age: timedelta = timedelta()) -> Job:
        def at(known: bool) -> datetime | None:
            return _NOW if known else None

        return replace(
            self._submission,
            status=row.status,
            version=row.version,
            attempt=row.attempt,
            retry_count=row.retry_count,
            infra_retry_count=row.infra_retry_count,
            created_at=_NOW,
            updated_at=_NOW - age,
            scheduled_at=at(row.scheduled),
            started_at=at(row.started),
            completed_at=at(row.completed),
            gcp_batch_job_name=self._name(row.attempt) if row.named else None,
            batch_uid=row.uid,
            not_before=at(row.waits),
            next_check_at=at(row.checked),
        )

    def _name(self, attempt: int) -> str:
        return batch_name(replace(self._submission, attempt=attempt))

    def _stopped(self, state: State, row: Row) -> State:
        """The state after a CancelJob for the current attempt."""
        *before, work = state.works[row.attempt - 1]
        stopped = work._replace(state=_STOPPING) if work.busy else work
        return _with_works(state, row.attempt, (*before, stopped))

    def _present(self, state: State, attempt: int) -> Work | None:
        works = state.works[attempt - 1]
        return works[-1] if works and not works[-1].gone else None

    # ---- what must hold

    def _check(self, state: State) -> None:
        row = state.row
        self._check_inert(row)
        if row is None:
            return
        _require(row.version == row.audit_rows, "the version counts the audit rows")
        _require(row.attempt <= self._attempts, f"attempt {row.attempt} of {self._attempts}")
        _require(row.attempt == 1 + row.retry_count + row.infra_retry_count, "each retry spends a budget")
        _require(row.retry_count <= self._submission.max_retries, "retries beyond the budget")
        budget = self._submission.spec.retry.max_infrastructure_retries
        _require(row.infra_retry_count <= budget, "infrastructure retries beyond the budget")
        self._check_times(row)
        _require(row.checked or row.status not in _LIVE, "a live job has no check time")
        known = {work.uid: work for work in state.works[row.attempt - 1]}
        _require(row.uid is None or row.uid in known, "the recorded Batch job never was")
        _require((row.uid is not None) == row.named, "a Batch job has a name and a uid")
        work = known.get(row.uid or "")
        if row.status is JobStatus.RUNNING:
            # A forger who knew the uid would be believed; nobody is told it.
            _require(work is not None and work.ran, "RUNNING, but the attempt never ran")
        if row.status is JobStatus.COMPLETED:
            _require(work is not None and work.state is BatchState.SUCCEEDED, "COMPLETED without success")
        if row.status is JobStatus.FAILED and work is not None:
            _require(work.gone or work.state is BatchState.FAILED, "FAILED, but Batch did not fail it")
        if row.status.final and not row.checked:
            self._check_settled(row, state, known)

    def _check_settled(self, row: Row, state: State, known: Mapping[str, Work]) -> None:
        if any(work.gone for work in known.values()):
            return  # deleted outside and made again: the search for orphans finds that one
        _require(not any(work.busy for work in known.values()), "Batch works on for a final job unchecked")
        late = row.attempt in state.creating and not known
        _require(not late, "a Batch job may yet appear for a final job that is owed no check")

    def _check_times(self, row: Row) -> None:
        live, final = row.status in {JobStatus.SCHEDULED, JobStatus.RUNNING}, row.status.final
        _require(row.completed == final, "the time of the end is there exactly at the end")
        _require(row.scheduled or not (live or row.status is JobStatus.COMPLETED), "no time of scheduling")
        _require(row.scheduled == row.named, "scheduled means that a Batch job is known")
        _require(row.started or row.status not in {JobStatus.RUNNING, JobStatus.COMPLETED}, "no start")
        clean = not (row.scheduled or row.started or row.completed or row.named)
        _require(clean or row.status is not JobStatus.PENDING, "PENDING keeps what an older attempt had")

    def _check_inert_uncached(self, row: Row | None) -> None:
        """Whatever must do nothing to this row does nothing."""
        for event in self._universe():
            if row is None:
                inert = not isinstance(event, Submitted)
            else:
                hint = isinstance(event, Started) and not event.confirmed
                inert = _spent(row, event) or (hint and row.uid is None)
            if inert:
                after, _ = self._deliver_to_row(row, event)
                _require(after == row, f"{_title(event)} moves a job that it must not move")

    def _universe(self) -> Iterator[Event]:
        yield Submitted()
        yield Cancelled(reason="cancelled by the tenant")
        for attempt in range(1, self._attempts + 2):
            yield Rejected(attempt=attempt, failure=Failure(FailureReason.REJECTED, "refused"))
            yield Cancelled(attempt=attempt, reason="cancelled by the tenant")
            for uid in (*(f"{attempt}.{made}" for made in range(1 + self._deletions)), _FORGED):
                ref = BatchRef(self._name(attempt), uid)
                yield Scheduled(attempt=attempt, batch=ref)
                yield Started(attempt=attempt, batch=ref, confirmed=False)
                yield Started(attempt=attempt, batch=ref, confirmed=True)
                yield Succeeded(attempt=attempt, batch=ref)
                yield Cancelled(attempt=attempt, batch=ref, reason="cancelled in Batch")
                for reason in (
                    FailureReason.USER_EXIT,
                    FailureReason.SPOT_PREEMPTION,
                    FailureReason.VANISHED,
                ):
                    failure = Failure(reason, "failed")
                    yield AttemptFailed(attempt=attempt, batch=ref, failure=failure, ran=True)


def at_rest(state: State) -> bool:
    """Whether the job is final, nothing runs for it, and nothing is owed."""
    row = state.row
    idle = not any(work.busy for works in state.works for work in works)
    return row is not None and row.status.final and not row.checked and idle


def _decide(job: Job | None, event: Event) -> Decision:
    return decide(job, event, now=_NOW, timing=_SETTINGS.timing, jitter=0.5)


def _row(job: Job, audit_rows: int) -> Row:
    return Row(
        status=job.status,
        attempt=job.attempt,
        retry_count=job.retry_count,
        infra_retry_count=job.infra_retry_count,
        version=job.version,
        audit_rows=audit_rows,
        uid=job.batch_uid,
        named=job.gcp_batch_job_name is not None,
        waits=job.not_before is not None,
        checked=job.next_check_at is not None,
        scheduled=job.scheduled_at is not None,
        started=job.started_at is not None,
        completed=job.completed_at is not None,
    )


def _spent(row: Row, event: Event) -> bool:
    """Whether the event must do nothing to this row, now and in whatever the row becomes."""
    if row.status.final or isinstance(event, Submitted):
        return True
    if event.attempt is not None and event.attempt != row.attempt:
        return True
    if isinstance(event, Rejected | Scheduled):
        return row.uid is not None
    if isinstance(event, Started) and row.status is JobStatus.RUNNING:
        return True
    return event.batch is not None and row.uid is not None and event.batch.uid != row.uid


def _over(works: tuple[Work, ...]) -> tuple[Work, ...]:
    """What still matters of an attempt that is over."""
    return tuple(Work("", _STOPPING) for work in works[-1:] if work.busy)


def _check_grounded(step: Step, event: Event, works: tuple[tuple[Work, ...], ...]) -> None:
    """A step says only what was so in Batch. The step back to PENDING bears the new attempt's number."""
    ref = None if isinstance(event, Submitted | Rejected) else event.batch
    of_attempt = works[step.attempt - 1]
    known = [work for work in of_attempt if ref is None or work.uid == ref.uid]
    match step.to_status:
        case JobStatus.SCHEDULED:
            _require(bool(known), "SCHEDULED, but the Batch job never was")
        case JobStatus.RUNNING:
            _require(any(work.ran for work in known), "RUNNING, but it never ran")
        case JobStatus.COMPLETED:
            _require(any(work.state is BatchState.SUCCEEDED for work in known), "COMPLETED without success")
        case JobStatus.FAILED if isinstance(event, AttemptFailed):
            failed = any(work.gone or work.state is BatchState.FAILED for work in known)
            _require(failed, "FAILED, but Batch did not fail it")
        case _:
            pass


def _with_works(state: State, attempt: int, works: tuple[Work, ...]) -> State:
    works = _over(works) if attempt < len(state.works) else works
    changed = (*state.works[: attempt - 1], works, *state.works[attempt:])
    return state._replace(works=changed)


def _title(event: Event) -> str:
    which = "" if event.attempt is None else f" {event.attempt}"
    forged = (
        not isinstance(event, Submitted | Rejected) and event.batch is not None and event.batch.uid == _FORGED
    )
    hint = isinstance(event, Started) and not event.confirmed
    return f"{'forged ' * forged}{'notification ' * hint}{type(event).__name__}{which}"


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
