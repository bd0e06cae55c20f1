"""The real code, asked by the closure: what `decide` makes of an event, and `Follower` of Batch's record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

from google.cloud import batch_v1

from shared.batch import BatchPage, BatchRecord, BatchState, TaskRecord, batch_name, our_labels
from shared.config import Settings
from shared.events import BatchRef, Event, Submitted
from shared.follow import Follower
from shared.lifecycle import EDGES, Applied, Decision, NotFound, Step, decide
from shared.model import Actor, Attempt, Job, JobKey, JobStatus
from shared.rows import Reads
from shared.spec import JobSpec, RetryPolicy
from shared.transitions import Touch, Transitions
from tests.simulation.closure_state import LIVE, Row, Work, require, title

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SETTINGS = Settings(project="project", spanner_instance="instance")
_ID = "00000000-0000-4000-8000-000000000000"
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
        *((live, JobStatus.CANCELLED) for live in LIVE),
    }
)


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


class JobCode:
    """The code around one job.

    Args:
        max_retries: its budget for the program's failures.
        max_infrastructure_retries: its budget for the platform's.
    """

    def __init__(self, *, max_retries: int, max_infrastructure_retries: int) -> None:
        self._submission = Job(
            tenant_id=_ID,
            job_id=_ID,
            image_uri="image",
            spec=JobSpec(retry=RetryPolicy(max_infrastructure_retries=max_infrastructure_retries)),
            max_retries=max_retries,
            batch_parent=_SETTINGS.batch_parent,
        )
        self._deliver_to_row = cache(self._deliver_uncached)
        self._look = cache(self._look_uncached)

    def _deliver_uncached(self, row: Row | None, event: Event) -> tuple[Row | None, tuple[Step, ...]]:
        submitted = row is None and isinstance(event, Submitted)
        before = self._submission if submitted else self._job(row) if row else None
        decision = _decide(before, event)
        if not isinstance(decision, Applied):
            require(isinstance(decision, NotFound) or decision.job == before, "a refusal changes nothing")
            return row, ()
        require(row is None or row.status in LIVE, f"{title(event)} changes a final job")
        steps, after = decision.steps, decision.job
        path = [step.from_status for step in steps] + [steps[-1].to_status]
        require(path[0] is (row.status if row else None), "history goes on from the row")
        require(all(step.to_status is path[i + 1] for i, step in enumerate(steps)), "history is contiguous")
        require(all(edge in EDGES & _STEPS for edge in pairwise(path)), f"{path} is no path of the table")
        require(after.status is path[-1], "the row stands where its history ends")
        require(row is None or row.attempt <= after.attempt <= row.attempt + 1, "the attempt only grows")
        require(not isinstance(_decide(after, event), Applied), f"{title(event)} is applied twice")
        return _row(after, (row.audit_rows if row else 0) + len(steps)), steps

    def _look_uncached(self, row: Row, work: Work | None) -> tuple[Event | None, bool]:
        probe = self._probe(row, work)
        self._follower(probe).follow(self._job(row), self._record(row, work), Actor.RECONCILER)
        return probe.event, probe.cancelled

    def _settled(self, row: Row, work: Work | None, *, young: bool) -> _Probe:
        """What `settle` does; `young`: while a check is still owed whatever it finds."""
        probe = self._probe(row, work)
        old = timedelta() if young else _SETTINGS.timing.settle * 2
        self._follower(probe).settle(self._job(row, age=old))
        return probe

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
