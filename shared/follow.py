"""Following one job in Batch: what its record there means for the job, and what is owed to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from google.cloud import batch_v1

from shared.batch import BatchRecord, BatchState, TaskRecord, batch_name, classify, our_labels
from shared.config import Settings
from shared.events import AttemptFailed, BatchRef, Cancelled, Event, Failure, Scheduled, Started, Succeeded
from shared.lifecycle import Decision, NotFound, Stale
from shared.messages import JobMessage
from shared.model import Actor, FailureReason, Job, JobStatus
from shared.transitions import Transitions

_logger = logging.getLogger(__name__)


class Batch(Protocol):
    """What is needed of the Batch API; `batch_client.BatchClient` says what each call means."""

    def create(self, name: str, job: batch_v1.Job) -> BatchRecord: ...  # noqa: D102
    def get(self, name: str) -> BatchRecord | None: ...  # noqa: D102
    def tasks(self, name: str) -> list[TaskRecord]: ...  # noqa: D102
    def cancel(self, name: str) -> None: ...  # noqa: D102


class Follower:
    """Brings a job to where Batch's own record says that it is.

    Args:
        transitions: the one writer of jobs.
        batch: GCP Batch.
        publish: sends a message to topic `jobs`; a message that it loses is sent again by reconciliation.
        settings: the deployment's.
        now: the clock.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        batch: Batch,
        publish: Callable[[JobMessage], object],
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        self._transitions = transitions
        self._batch = batch
        self._publish = publish
        self._settings = settings
        self._timing = settings.timing
        self._now = now

    def follow(self, job: Job, record: BatchRecord | None, actor: Actor) -> Decision | None:
        """Feed Batch's record of the current attempt to the job, and publish the retry that follows at once.

        Args:
            job: the row as just read.
            record: what Batch says; None where it has no such job (any more).
            actor: who found out.

        Returns:
            What became of it; None where the record says nothing that concerns the job yet.

        Raises:
            Unavailable: try again later.
        """
        event = self._event(job, record)
        if event is None:
            return None
        decision = self._transitions.apply(job.key, event, actor, known=job)
        if isinstance(decision, Stale):
            _logger.info("event ignored: %s", decision.why, extra={"job": job.job_id})
        if not isinstance(decision, NotFound):
            after = decision.job
            if after.status is JobStatus.PENDING and after.attempt > job.attempt and self.due(after):
                self._publish(JobMessage(after.key, after.attempt))
        return decision

    def settle(self, job: Job) -> None:
        """Make sure that nothing runs in Batch for a final job, now or later.

        Raises:
            Unavailable: try again later.
        """
        if job.gcp_batch_job_name is None and job.batch_parent is None:
            self._transitions.touch(job, next_check_at=None)
            return
        name = batch_name(job)
        record = self._batch.get(name)
        if record is None:
            # A job that Batch never showed may still appear: CreateJob can land after its caller gave up.
            settled = job.gcp_batch_job_name is not None or self.age(job) > self._timing.settle
            later = None if settled else self._now() + self.spacing(job)
            self._transitions.touch(job, next_check_at=later)
        elif record.state.final or self._anothers(job, record):
            late = None if record.state is BatchState.CANCELLED else f"{record.state} came after {job.status}"
            self._transitions.touch(job, next_check_at=None, last_ignored=late)
        else:
            if record.state not in {BatchState.CANCELLATION_IN_PROGRESS, BatchState.DELETION_IN_PROGRESS}:
                self._batch.cancel(name)
            self._transitions.touch(job, next_check_at=self._now() + self._timing.unconfirmed_check)

    def _anothers(self, job: Job, record: BatchRecord) -> bool:
        """Whether the Batch job is none of ours. One that was adopted is known by its name alone."""
        adopted = job.gcp_batch_job_name is not None and job.batch_uid is None
        return not adopted and record.ref.uid != job.batch_uid and not self.ours(job, record)

    def ours(self, job: Job, record: BatchRecord) -> bool:
        """Whether the Batch job bears this deployment's labels for this very attempt."""
        return our_labels(job, self._settings).items() <= record.labels.items()

    def due(self, job: Job) -> bool:
        """Whether the attempt may start now: its backoff is over."""
        return job.not_before is None or job.not_before <= self._now()

    def age(self, job: Job) -> timedelta:
        """How long the job has been where it is; a retry counts from when it was due."""
        since = max((at for at in (job.updated_at, job.not_before) if at is not None), default=self._now())
        return max(self._now() - since, timedelta())

    def spacing(self, job: Job) -> timedelta:
        """How long until the next look: as long as the job has not moved, so that it doubles each time."""
        if job.status is JobStatus.PENDING:
            shortest, longest = self._timing.pending_check, self._timing.pending_check_limit
        else:
            shortest, longest = self._timing.live_check, self._timing.live_check_limit
        return min(max(self.age(job), shortest), longest)

    def _event(self, job: Job, record: BatchRecord | None) -> Event | None:
        attempt = job.attempt
        if record is None or (job.batch_uid is not None and record.ref.uid != job.batch_uid):
            return AttemptFailed(
                attempt=attempt,
                batch=BatchRef(batch_name(job), job.batch_uid or ""),
                failure=Failure(FailureReason.VANISHED, "the Batch job is gone"),
                ran=job.status is JobStatus.RUNNING,
            )
        match record.state:
            case BatchState.STATE_UNSPECIFIED | BatchState.QUEUED | BatchState.SCHEDULED:
                return Scheduled(attempt=attempt, batch=record.ref)
            case BatchState.RUNNING:
                return Started(attempt=attempt, batch=record.ref, confirmed=True)
            case BatchState.SUCCEEDED:
                return Succeeded(
                    attempt=attempt,
                    batch=record.ref,
                    started_at=record.started_at,
                    finished_at=record.last_event_at,
                )
            case BatchState.FAILED:
                return self._failed(job, record)
            case BatchState.CANCELLED:
                return Cancelled(
                    attempt=attempt,
                    batch=record.ref,
                    reason="cancelled in Batch",
                    started_at=record.started_at,
                    finished_at=record.last_event_at,
                )
            case BatchState.CANCELLATION_IN_PROGRESS | BatchState.DELETION_IN_PROGRESS:
                return None

    def _failed(self, job: Job, record: BatchRecord) -> AttemptFailed:
        tasks = self._batch.tasks(record.ref.name)
        failed = next((task for task in tasks if task.failed), None)
        return AttemptFailed(
            attempt=job.attempt,
            batch=record.ref,
            failure=classify(record, tasks),
            ran=bool(record.run_duration) or any(task.ran for task in tasks),
            started_at=failed.started_at if failed else None,
            finished_at=(failed.finished_at if failed else None) or record.last_event_at,
        )
