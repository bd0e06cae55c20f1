"""What must hold in every state of the closure, and of every step between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from shared.batch import BatchState
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
from shared.lifecycle import Step
from shared.model import JobStatus
from shared.spec import FailureReason
from tests.simulation.closure_code import JobCode
from tests.simulation.closure_state import FORGED, LIVE, Row, State, Work, require, spent, title


class JobRules(JobCode):
    """The invariants of one job.

    Args:
        max_retries: its budget for the program's failures.
        max_infrastructure_retries: its budget for the platform's.
        deletions: how many Batch jobs may be deleted outside; a CreateJob still under way makes them anew.
    """

    def __init__(self, *, max_retries: int, max_infrastructure_retries: int, deletions: int) -> None:
        super().__init__(max_retries=max_retries, max_infrastructure_retries=max_infrastructure_retries)
        self._attempts = 1 + max_retries + max_infrastructure_retries
        self._deletions = deletions
        self.check = cache(self._check)
        self._check_inert = cache(self._check_inert_uncached)

    def _check(self, state: State) -> None:
        row = state.row
        self._check_inert(row)
        if row is None:
            return
        require(row.version == row.audit_rows, "the version counts the audit rows")
        require(row.attempt <= self._attempts, f"attempt {row.attempt} of {self._attempts}")
        require(row.attempt == 1 + row.retry_count + row.infra_retry_count, "each retry spends a budget")
        require(row.retry_count <= self._submission.max_retries, "retries beyond the budget")
        budget = self._submission.spec.retry.max_infrastructure_retries
        require(row.infra_retry_count <= budget, "infrastructure retries beyond the budget")
        self._check_times(row)
        require(row.checked or row.status not in LIVE, "a live job has no check time")
        known = {work.uid: work for work in state.works[row.attempt - 1]}
        require(row.uid is None or row.uid in known, "the recorded Batch job never was")
        require((row.uid is not None) == row.named, "a Batch job has a name and a uid")
        work = known.get(row.uid or "")
        if row.status is JobStatus.RUNNING:
            # A forger who knew the uid would be believed; nobody is told it.
            require(work is not None and work.ran, "RUNNING, but the attempt never ran")
        if row.status is JobStatus.COMPLETED:
            require(work is not None and work.state is BatchState.SUCCEEDED, "COMPLETED without success")
        if row.status is JobStatus.FAILED and work is not None:
            require(work.gone or work.state is BatchState.FAILED, "FAILED, but Batch did not fail it")
        if row.status.final and not row.checked:
            self._check_settled(row, state, known)

    def _check_settled(self, row: Row, state: State, known: Mapping[str, Work]) -> None:
        if any(work.gone for work in known.values()):
            return  # deleted outside and made again: the search for orphans finds that one
        require(not any(work.busy for work in known.values()), "Batch works on for a final job unchecked")
        late = row.attempt in state.creating and not known
        require(not late, "a Batch job may yet appear for a final job that is owed no check")

    def _check_times(self, row: Row) -> None:
        live, final = row.status in {JobStatus.SCHEDULED, JobStatus.RUNNING}, row.status.final
        require(row.completed == final, "the time of the end is there exactly at the end")
        require(row.scheduled or not (live or row.status is JobStatus.COMPLETED), "no time of scheduling")
        require(row.scheduled == row.named, "scheduled means that a Batch job is known")
        require(row.started or row.status not in {JobStatus.RUNNING, JobStatus.COMPLETED}, "no start")
        clean = not (row.scheduled or row.started or row.completed or row.named)
        require(clean or row.status is not JobStatus.PENDING, "PENDING keeps what an older attempt had")

    def _check_inert_uncached(self, row: Row | None) -> None:
        """Whatever must do nothing to this row does nothing."""
        for event in self._universe():
            if row is None:
                inert = not isinstance(event, Submitted)
            else:
                hint = isinstance(event, Started) and not event.confirmed
                inert = spent(row, event) or (hint and row.uid is None)
            if inert:
                after, _ = self._deliver_to_row(row, event)
                require(after == row, f"{title(event)} moves a job that it must not move")

    def _universe(self) -> Iterator[Event]:
        yield Submitted()
        yield Cancelled(reason="cancelled by the tenant")
        for attempt in range(1, self._attempts + 2):
            yield Rejected(attempt=attempt, failure=Failure(FailureReason.REJECTED, "refused"))
            yield Cancelled(attempt=attempt, reason="cancelled by the tenant")
            for uid in (*(f"{attempt}.{made}" for made in range(1 + self._deletions)), FORGED):
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


def check_grounded(step: Step, event: Event, works: tuple[tuple[Work, ...], ...]) -> None:
    """A step says only what was so in Batch. The step back to PENDING bears the new attempt's number."""
    ref = None if isinstance(event, Submitted | Rejected) else event.batch
    of_attempt = works[step.attempt - 1]
    known = [work for work in of_attempt if ref is None or work.uid == ref.uid]
    match step.to_status:
        case JobStatus.SCHEDULED:
            require(bool(known), "SCHEDULED, but the Batch job never was")
        case JobStatus.RUNNING:
            require(any(work.ran for work in known), "RUNNING, but it never ran")
        case JobStatus.COMPLETED:
            require(any(work.state is BatchState.SUCCEEDED for work in known), "COMPLETED without success")
        case JobStatus.FAILED if isinstance(event, AttemptFailed):
            failed = any(work.gone or work.state is BatchState.FAILED for work in known)
            require(failed, "FAILED, but Batch did not fail it")
        case _:
            pass
