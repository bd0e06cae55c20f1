"""The world around one job, as small as it can be, with the real `lifecycle.decide` in its middle.

It has a row, what Batch really has for each attempt, the CreateJob calls under way, and the events under
way. An event that was sent once may arrive at any time, any number of times, or never: so doubling, loss,
delay and reordering need no moves of their own. What Batch's record means is asked of the real `Follower`,
and its answer may arrive when it is out of date.

Two reductions keep the space small, and both are checked in every state. Events that must do nothing
(another attempt's, another Batch job's, any after the end) are not remembered: instead all that can be made
are tried on every row. And jobs share nothing, so two jobs are explored together with fewer faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from shared.batch import BatchState
from shared.events import BatchRef, Cancelled, Event, Failure, Rejected, Started, Submitted
from shared.model import JobStatus
from shared.spec import FailureReason
from tests.simulation.closure_rules import JobRules, check_grounded
from tests.simulation.closure_state import (
    FORGED,
    LIVE,
    STOPPING,
    Fault,
    Move,
    Row,
    State,
    Work,
    over,
    spent,
    title,
    with_works,
)


class JobModel(JobRules):
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
        super().__init__(
            max_retries=max_retries,
            max_infrastructure_retries=max_infrastructure_retries,
            deletions=deletions,
        )
        self._faults = frozenset(faults)
        self.moves = cache(self._moves)

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
            ref = BatchRef(self._name(row.attempt), FORGED)
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
                yield Move(f"CreateJob {called} lands", sound, with_works(state, called, made))
            yield Move(f"CreateJob {called} ends", True, state._replace(creating=state.creating - {called}))
        if row.status in LIVE and (record is not None or row.status is not JobStatus.PENDING):
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
            return Move(f"attempt {attempt} {label}", sound, with_works(state, attempt, (*before, changed)))

        if Fault.DELETED in self._faults and state.deletions < self._deletions:
            label, sound, to = becomes("is deleted outside", gone=True)
            yield Move(label, sound, to._replace(deletions=state.deletions + 1))
        if work.state is STOPPING:
            yield becomes("is stopped", sound=True, state=BatchState.CANCELLED)
        elif work.busy:
            if Fault.STOPPED in self._faults:
                yield becomes("is cancelled outside", state=STOPPING)
            if row.status.final or attempt < row.attempt:
                yield becomes("is cancelled as an orphan", sound=True, state=STOPPING)
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
        idle = state.row is None or spent(state.row, event)
        to = state if idle else state._replace(events=state.events | {event})
        return Move(f"{why}: {title(event)}", sound, to)

    # ---- the real code

    def _deliver(self, state: State, event: Event, *, sound: bool) -> Move[State]:
        row, steps = self._deliver_to_row(state.row, event)
        label = f"{title(event)} arrives"
        if row == state.row or row is None:
            return Move(label, sound, state)
        works = state.works + ((),) * (row.attempt - len(state.works))
        for step in steps:
            check_grounded(step, event, works)
        works = tuple(over(past) for past in works[:-1]) + works[-1:]
        events = frozenset(sent for sent in state.events if not spent(row, sent))
        return Move(label, sound, state._replace(row=row, works=works, events=events))

    def _settle(self, state: State, row: Row, work: Work | None) -> Move[State]:
        # A CreateJob that is still under way is younger than the time for which checks are owed.
        probe = self._settled(row, work, young=row.attempt in state.creating)
        if probe.cancelled:
            state = self._stopped(state, row)
        return Move("settled", True, state._replace(row=row._replace(checked=not probe.cleared)))

    def _stopped(self, state: State, row: Row) -> State:
        """The state after a CancelJob for the current attempt."""
        *before, work = state.works[row.attempt - 1]
        stopped = work._replace(state=STOPPING) if work.busy else work
        return with_works(state, row.attempt, (*before, stopped))

    def _present(self, state: State, attempt: int) -> Work | None:
        works = state.works[attempt - 1]
        return works[-1] if works and not works[-1].gone else None
