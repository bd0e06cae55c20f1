"""Following one job in Batch: what its record there means for the job, and what is owed to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from google.cloud import batch_v1

from shared.batch import (
    BatchPage,
    BatchRecord,
    BatchState,
    TaskRecord,
    batch_name,
    classify,
    first_failure,
    our_labels,
)
from shared.config import Settings
from shared.events import AttemptFailed, BatchRef, Cancelled, Event, Failure, Scheduled, Started, Succeeded
from shared.lifecycle import Decision, NotFound
from shared.messages import JobMessage
from shared.model import Actor, Job, JobStatus
from shared.rows import Reads
from shared.semantics import LogEvent
from shared.spec import FailureReason
from shared.status_details import NO_CAPACITY, PAUSED, PREPARING, StatusDetail, why_queued
from shared.telemetry import emit
from shared.transitions import Touch, Transitions

_STOPPING = frozenset({BatchState.CANCELLATION_IN_PROGRESS, BatchState.DELETION_IN_PROGRESS})

# The end in Batch that each final state of a job stands for.
_END_OF = {
    JobStatus.COMPLETED: BatchState.SUCCEEDED,
    JobStatus.FAILED: BatchState.FAILED,
    JobStatus.CANCELLED: BatchState.CANCELLED,
}

# How much longer than planned a check may wait: rows that fell due together must not stay together.
_SPREAD = 0.1


class Batch(Protocol):
    """What is needed of the Batch API; `batch_client.BatchClient` says what each call means."""

    def create(self, name: str, job: batch_v1.Job) -> BatchRecord: ...  # noqa: D102
    def get(self, name: str) -> BatchRecord | None: ...  # noqa: D102
    def tasks(self, name: str) -> list[TaskRecord]: ...  # noqa: D102
    def cancel(self, name: str) -> None: ...  # noqa: D102
    def list_jobs(  # noqa: D102
        self, parent: str, *, deployment: str, state: BatchState | None = None, page_token: str = ""
    ) -> BatchPage: ...


class Follower:
    """Brings a job to where Batch's own record says that it is.

    Args:
        transitions: the one writer of jobs.
        reads: committed rows.
        batch: GCP Batch.
        publish: sends a message to topic `jobs`; a message that it loses is sent again by reconciliation.
        settings: the deployment's.
        now: the clock.
        jitter: a number in [0, 1), which spreads check times.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        reads: Reads,
        batch: Batch,
        publish: Callable[[JobMessage], object],
        settings: Settings,
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._transitions = transitions
        self._reads = reads
        self._batch = batch
        self._publish = publish
        self._settings = settings
        self._timing = settings.timing
        self._now = now
        self._jitter = jitter

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
        if not isinstance(decision, NotFound):
            after = decision.job
            if after.status is JobStatus.PENDING and after.attempt > job.attempt and self.due(after):
                self._publish(JobMessage.of(after))
        return decision

    def settle(self, job: Job) -> None:
        """Make sure that nothing runs in Batch for a final job, now or later.

        Raises:
            Unavailable: try again later.
        """
        if job.gcp_batch_job_name is None and job.batch_parent is None:
            self._transitions.touch(Touch(job, next_check_at=None))
            return
        name = batch_name(job)
        record = self._batch.get(name)
        if record is None or self._anothers(job, record):
            # A Batch job of ours may still appear: CreateJob can land after its caller gave up.
            settled = self.age(job) > self._timing.settle
            touch = Touch(job, next_check_at=None if settled else self._now() + self.spacing(job))
        elif record.state.final:
            touch = Touch(job, next_check_at=None, last_ignored=late_end(job, record.state))
            if job.status is JobStatus.CANCELLED and record.ref.uid == job.batch_uid:
                # Who cancelled it did not wait for its end in Batch: only now it is known when that was.
                touch = replace(touch, finished_at=record.last_event_at)
        else:
            if record.state not in _STOPPING:
                emit(
                    LogEvent.BATCH_JOB_STOPPED,
                    "a Batch job goes on for a job that is %s: it is stopped",
                    job.status,
                    key=job.key,
                    attempt=job.attempt,
                    batch_job=name,
                )
                self._batch.cancel(name)
            touch = Touch(job, next_check_at=self._now() + self._timing.unconfirmed_check)
        self._transitions.touch(touch)

    def waiting(self, job: Job, record: BatchRecord | None) -> Touch:
        """When to look again at a job that has not moved, and what its owner is told meanwhile."""
        state = record.state if record else None
        later, detail = self.spacing(job), self._detail(job, record)
        if state is BatchState.QUEUED and record is not None:
            queued = self._queued(job, record)
            for mark in (self._timing.queued_detail, self._timing.queued_max_age):
                if queued < mark:
                    later = min(later, mark - queued)
        if state in _STOPPING or (record is not None and self._queued_too_long(job, record)):
            later = self._timing.unconfirmed_check
        return Touch(job=job, next_check_at=self._now() + later, status_detail=detail and str(detail))

    def _detail(self, job: Job, record: BatchRecord | None) -> StatusDetail | None:
        if record is not None and record.state is BatchState.QUEUED:
            late = self._queued(job, record) >= self._timing.queued_detail
            return why_queued(record.last_event) or (NO_CAPACITY if late else None)
        return PREPARING if record is not None and record.state is BatchState.SCHEDULED else None

    def paused(self, job: Job) -> Touch:
        """What is set on a PENDING job while dispatch is paused.

        It is not dispatched before its next look, so that jobs start one after the other when dispatch is
        resumed, and the time that it was paused does not count towards the age at which a job is given up.
        """
        shortest, longest = self._timing.pending_check, self._timing.pause_check
        at = self._now() + shortest + max(longest - shortest, timedelta()) * self._jitter()
        return Touch(job=job, next_check_at=at, not_before=at, status_detail=str(PAUSED))

    def seen_soon(self, job: Job) -> bool:
        """Whether reconciliation looks at the job by when a job waits at most while dispatch is paused."""
        longest = self._now() + self._timing.pause_check
        return job.next_check_at is not None and job.next_check_at <= longest

    def _anothers(self, job: Job, record: BatchRecord) -> bool:
        """Whether the Batch job is none of ours. One that was adopted is known by its name alone."""
        return not _adopted(job) and record.ref.uid != job.batch_uid and not self.ours(job, record)

    def ours(self, job: Job, record: BatchRecord) -> bool:
        """Whether the Batch job bears this deployment's labels for this very attempt."""
        labels = our_labels(job.key, job.attempt, self._settings)
        return labels.items() <= record.labels.items()

    def due(self, job: Job) -> bool:
        """Whether the attempt may start now: its backoff is over."""
        return job.not_before is None or job.not_before <= self._now()

    def age(self, job: Job) -> timedelta:
        """How long the job has been where it is; a retry counts from when it was due."""
        since = max((at for at in (job.updated_at, job.not_before) if at is not None), default=self._now())
        return max(self._now() - since, timedelta())

    def spacing(self, job: Job) -> timedelta:
        """How long until the next look: as long as the job has not moved, so that it doubles each time."""
        ahead = timedelta()
        if job.status is JobStatus.PENDING:
            shortest, longest = self._timing.pending_check, self._timing.pending_check_limit
        else:
            shortest, longest = self._timing.live_check, self._timing.live_check_limit
            ahead = self._timing.ahead
        planned = min(max(self.age(job), shortest), longest) * (1 + _SPREAD * self._jitter())
        return max(planned - ahead, timedelta())

    def _event(self, job: Job, record: BatchRecord | None) -> Event | None:
        attempt = job.attempt
        if record is None or (job.batch_uid is not None and record.ref.uid != job.batch_uid):
            return self._vanished(job, record)
        if self._queued_too_long(job, record):
            self._give_up(job, record)
            return None
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
                # Our own cancel would have ended it within that time: what ran longer, somebody else did.
                ours = record.run_duration <= self._timing.settle
                if ours and (given_up := self._given_up(job)):
                    return AttemptFailed(
                        attempt=attempt,
                        batch=record.ref,
                        failure=given_up,
                        ran=bool(record.run_duration) or job.status is JobStatus.RUNNING,
                        started_at=record.started_at,
                        finished_at=record.last_event_at,
                    )
                return Cancelled(
                    attempt=attempt,
                    batch=record.ref,
                    reason="cancelled in Batch",
                    started_at=record.started_at,
                    finished_at=record.last_event_at,
                )
            case BatchState.CANCELLATION_IN_PROGRESS | BatchState.DELETION_IN_PROGRESS:
                return None

    def _vanished(self, job: Job, record: BatchRecord | None) -> AttemptFailed:
        """The Batch job is gone. What may be there by its name all the same, unseen or late, is stopped."""
        if record is None or (self.ours(job, record) and not record.state.final):
            self._batch.cancel(batch_name(job))
        if _adopted(job):
            # It may have ended long ago, and well: to run it again is not safe.
            failure = Failure(FailureReason.UNKNOWN_END, "the Batch job from before this system is gone")
        else:
            gone = Failure(FailureReason.VANISHED, "the Batch job is gone")
            failure = self._given_up(job) or gone
        return AttemptFailed(
            attempt=job.attempt,
            batch=BatchRef(batch_name(job), job.batch_uid or ""),
            failure=failure,
            ran=job.status is JobStatus.RUNNING,
        )

    def _queued(self, job: Job, record: BatchRecord) -> timedelta:
        """How long Batch has kept the job queued."""
        since = record.created_at or job.scheduled_at or self._now()
        return max(self._now() - since, timedelta())

    def _queued_too_long(self, job: Job, record: BatchRecord) -> bool:
        queued = job.status is JobStatus.SCHEDULED and record.state is BatchState.QUEUED
        return queued and self._queued(job, record) >= self._timing.queued_max_age

    def _give_up(self, job: Job, record: BatchRecord) -> None:
        """Stop an attempt for which Batch finds no machine.

        First the attempt says why, for whoever sees its Batch job cancelled. A job that began to run before
        Batch could stop it goes on.
        """
        failure = Failure(FailureReason.QUEUE_TIMEOUT, "Batch found no machine for it in time")
        soon = self._now() + self._timing.unconfirmed_check
        if self._transitions.touch(Touch(job, next_check_at=soon, given_up=failure)):
            self._batch.cancel(record.ref.name)

    def _given_up(self, job: Job) -> Failure | None:
        attempt = self._reads.attempt(job.key, job.attempt)
        if attempt is None or attempt.reason != FailureReason.QUEUE_TIMEOUT:
            return None
        return Failure(FailureReason.QUEUE_TIMEOUT, attempt.message or "")

    def _failed(self, job: Job, record: BatchRecord) -> AttemptFailed:
        tasks = self._batch.tasks(record.ref.name)
        failed = first_failure(tasks)
        return AttemptFailed(
            attempt=job.attempt,
            batch=record.ref,
            failure=classify(record, tasks),
            ran=bool(record.run_duration) or any(task.ran for task in tasks),
            started_at=failed.started_at if failed else None,
            finished_at=(failed.finished_at if failed else None) or record.last_event_at,
        )


def late_end(job: Job, state: str) -> str | None:
    """What is noted of an end in Batch that comes after the job's own; None where it is the same end."""
    return None if state == _END_OF.get(job.status) else f"{state} came after {job.status}"


def _adopted(job: Job) -> bool:
    """Whether its Batch job was made by the system before this one, and is known by its name alone."""
    return job.gcp_batch_job_name is not None and job.batch_uid is None
