"""What the closure's world consists of: one job's row, what Batch really has, and the events under way."""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from shared.batch import BatchState
from shared.events import Event, Rejected, Scheduled, Started, Submitted
from shared.model import JobStatus

FORGED = "forged"
LIVE = {JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING}
STOPPING = BatchState.CANCELLATION_IN_PROGRESS


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


def at_rest(state: State) -> bool:
    """Whether the job is final, nothing runs for it, and nothing is owed."""
    row = state.row
    idle = not any(work.busy for works in state.works for work in works)
    return row is not None and row.status.final and not row.checked and idle


def spent(row: Row, event: Event) -> bool:
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


def over(works: tuple[Work, ...]) -> tuple[Work, ...]:
    """What still matters of an attempt that is over."""
    return tuple(Work("", STOPPING) for work in works[-1:] if work.busy)


def with_works(state: State, attempt: int, works: tuple[Work, ...]) -> State:
    """The state with these Batch jobs of an attempt."""
    works = over(works) if attempt < len(state.works) else works
    changed = (*state.works[: attempt - 1], works, *state.works[attempt:])
    return state._replace(works=changed)


def title(event: Event) -> str:
    """The event in a few words."""
    which = "" if event.attempt is None else f" {event.attempt}"
    forged = (
        not isinstance(event, Submitted | Rejected) and event.batch is not None and event.batch.uid == FORGED
    )
    hint = isinstance(event, Started) and not event.confirmed
    return f"{'forged ' * forged}{'notification ' * hint}{type(event).__name__}{which}"


def require(holds: bool, what: str) -> None:
    """Say that an invariant does not hold.

    Raises:
        Violation: it does not.
    """
    if not holds:
        raise Violation(what)
