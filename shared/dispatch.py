"""The platform's use cases: bring a job to Batch, and follow it there.

Each may run twice, late, out of order and beside itself, and may stop between any two lines: what it does
next depends on the row that it finds, never on what it remembers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shared.batch import BatchState, batch_name
from shared.batch_client import NameTaken, PlatformFault, SpecRefused
from shared.batch_spec import batch_job
from shared.config import Settings
from shared.errors import Unavailable
from shared.events import BatchRef, Failure, Rejected, Started
from shared.follow import Batch, Follower, late_end
from shared.lifecycle import Decision, NotFound
from shared.messages import BatchNotification, JobMessage
from shared.model import Actor, Job, JobStatus
from shared.rows import Reads
from shared.semantics import Ignored, LogEvent
from shared.spans import processing
from shared.spec import FailureReason
from shared.status_details import PLATFORM_FAULT
from shared.switches import Switches
from shared.telemetry import emit
from shared.transition_log import drop
from shared.transitions import Touch, Transitions

_WAITING_FOR_PLATFORM = str(PLATFORM_FAULT)

_MESSAGE = "job message"

# States after which Batch sends nothing more.
_ENDS = frozenset({BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELLED})


class Dispatch:
    """Everything that moves a job after its submission, apart from its owner's cancel.

    Args:
        transitions: the one writer of jobs.
        reads: committed rows.
        batch: GCP Batch.
        follower: what Batch's record means for a job.
        switches: what operators have switched off.
        settings: the deployment's.
        now: the clock.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        reads: Reads,
        batch: Batch,
        follower: Follower,
        switches: Switches,
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        self._transitions = transitions
        self._reads = reads
        self._batch = batch
        self._follower = follower
        self._switches = switches
        self._settings = settings
        self._timing = settings.timing
        self._now = now

    def schedule(self, message: JobMessage) -> None:
        """A job wants attention: start its current attempt in Batch, or stop what a final job left there.

        Raises:
            Unavailable: try again later.
        """
        job = self._reads.job(message.key)
        if job is None:
            drop(Ignored.NOT_FOUND, "there is no such job", message.key, _MESSAGE, attempt=message.attempt)
            return
        with processing(job, self._settings.jobs_topic, message.trace):
            self._schedule(job, message)

    def _schedule(self, job: Job, message: JobMessage) -> None:
        if job.status.final:
            if job.next_check_at is not None:
                self._follower.settle(job)
            else:
                why = f"the job is already {job.status}"
                drop(Ignored.STALE, why, job.key, _MESSAGE, attempt=message.attempt, job=job)
        elif job.status is JobStatus.PENDING and job.attempt == message.attempt and self._follower.due(job):
            if self._switches.dispatch_paused():
                self._hold(job)
            else:
                self._start(job)
        else:
            reason, why = _unwanted(job, message)
            drop(reason, why, job.key, _MESSAGE, attempt=message.attempt, job=job)

    def _hold(self, job: Job) -> None:
        """Leave the job to its next look, which says why it waits in one commit with those of others."""
        if not self._follower.seen_soon(job):
            self._transitions.touch_all([self._follower.paused(job)])

    def _start(self, job: Job) -> None:
        name = batch_name(job)
        problem = self._settings.images.problem(job.image_uri)
        # One that an earlier try made, under the policy of then, is adopted: it may run.
        if problem is not None and self._batch.get(name) is None:
            self._reject(job, Failure(FailureReason.REJECTED, f"image_uri: {problem}"))
            return
        try:
            self._require_network(name)
            record = self._batch.create(name, batch_job(job, self._settings))
        except NameTaken:
            found = self._batch.get(name)
            if found is None:
                raise Unavailable("Batch has the job and has it not; ask again") from None
            record = found
        except SpecRefused as error:
            found = self._batch.get(name)
            if found is None:
                self._reject(job, Failure(FailureReason.REJECTED, f"Batch refused the job: {error}"))
                return
            record = found
        except PlatformFault as error:
            self._platform_fault(job, error)
            return
        if not self._follower.ours(job, record):
            emit(
                LogEvent.NAME_TAKEN,
                "a foreign Batch job holds our name",
                key=job.key,
                attempt=job.attempt,
                batch_job=name,
            )
            self._reject(job, Failure(FailureReason.NAME_TAKEN, "a foreign Batch job holds this job's name"))
            return
        decision = self._follower.follow(job, record, Actor.SCHEDULER)
        if decision is None:
            raise Unavailable("Batch is stopping the job; ask again what became of it")
        if not record.state.final and _abandoned(job, decision):
            emit(
                LogEvent.BATCH_JOB_STOPPED,
                "the job was given up while its Batch job was made: that is stopped",
                key=job.key,
                attempt=job.attempt,
                batch_job=name,
            )
            self._batch.cancel(name)

    def _reject(self, job: Job, failure: Failure) -> None:
        event = Rejected(attempt=job.attempt, failure=failure)
        self._transitions.apply(job.key, event, Actor.SCHEDULER, known=job)

    def _require_network(self, name: str) -> None:
        """Refuse to make a Batch job where the network for jobs is not; one that is there is adopted.

        Batch would refuse it for good, and without the network it might have an external address.
        """
        place = self._settings.job_network
        if place and f"/locations/{place.region}/" not in name and self._batch.get(name) is None:
            raise PlatformFault(f"the network for jobs is in {place.region}, and {name} would not be")

    def _platform_fault(self, job: Job, error: PlatformFault) -> None:
        emit(
            LogEvent.PLATFORM_FAULT,
            "no Batch job can be made: %s",
            error,
            key=job.key,
            attempt=job.attempt,
        )
        if self._follower.age(job) > self._timing.pending_max_age:
            self._reject(job, Failure(FailureReason.PLATFORM_FAULT, "the platform could not run the job"))
        else:
            later = self._now() + self._follower.spacing(job)
            self._transitions.touch(Touch(job, next_check_at=later, status_detail=_WAITING_FOR_PLATFORM))

    def notify(self, notification: BatchNotification) -> None:
        """Batch, or somebody who may publish to its topic, says that a job entered a state.

        Raises:
            Unavailable: try again later.
        """
        job = self._reads.job(notification.key)
        if job is None:
            self._drop(Ignored.NOT_FOUND, "there is no such job", notification, None)
            return
        # The message is not asked for its trace: who may publish to that topic is no reason to believe it.
        with processing(job, self._settings.batch_events_topic):
            self._notify(job, notification)

    def _notify(self, job: Job, notification: BatchNotification) -> None:
        if notification.attempt < job.attempt:
            self._drop(Ignored.STALE, f"the job is at attempt {job.attempt}", notification, job)
            self._note_late(job, notification)
            return
        ignored = self._ignored(job, notification)
        if ignored is not None:
            self._drop(Ignored.FOREIGN, ignored, notification, job)
            return
        if job.status.final:
            late = late_end(job, notification.state) if notification.state in _ENDS else None
            again = notification.state in _ENDS and late is None
            reason = Ignored.DUPLICATE if again else Ignored.STALE
            self._drop(reason, f"the job is already {job.status}", notification, job)
            if job.batch_uid is not None and late is not None:
                self._transitions.touch(Touch(job, next_check_at=job.next_check_at, last_ignored=late))
            elif job.batch_uid is None and job.next_check_at is not None:
                # Perhaps the Batch job that was still to be feared.
                self._follower.settle(job)
        elif notification.state == BatchState.RUNNING and job.batch_uid is not None:
            batch = BatchRef(batch_name(job), notification.uid)
            started = Started(attempt=notification.attempt, batch=batch, confirmed=False)
            self._transitions.apply(job.key, started, Actor.BATCH, known=job)
        elif notification.state in _ENDS or notification.state == BatchState.RUNNING:
            self._confirm(job, notification)
        else:
            self._drop(Ignored.EARLY, "nothing follows from that state", notification, job)

    def _drop(self, reason: Ignored, why: str, notification: BatchNotification, job: Job | None) -> None:
        what = f"notification {notification.state}"
        drop(reason, why, notification.key, what, attempt=notification.attempt, job=job)

    def _note_late(self, job: Job, notification: BatchNotification) -> None:
        """An attempt that failed, and was retried, is said to have ended otherwise."""
        if notification.state not in _ENDS or notification.state == BatchState.FAILED:
            return
        attempt = self._reads.attempt(job.key, notification.attempt)
        if attempt is None or attempt.batch_uid != notification.uid:
            return
        late = f"{notification.state} came after {JobStatus.FAILED} ({attempt.reason})"
        stopped_by_us = (
            attempt.reason == FailureReason.QUEUE_TIMEOUT and notification.state == BatchState.CANCELLED
        )
        if attempt.last_ignored != late and not stopped_by_us:
            self._transitions.note_ignored(job.key, attempt.attempt, uid=notification.uid, text=late)

    def _ignored(self, job: Job, notification: BatchNotification) -> str | None:
        if notification.attempt != job.attempt:
            return f"attempt {notification.attempt} is not the current one"
        if job.batch_uid is not None and notification.uid != job.batch_uid:
            return "it is about another Batch job of the same name"
        return None

    def _confirm(self, job: Job, notification: BatchNotification) -> None:
        record = self._batch.get(batch_name(job))
        current = job
        if record is None and job.batch_uid is None:
            self._drop(Ignored.FOREIGN, "Batch has no such job", notification, job)
            return
        if record is not None:
            if record.ref.uid != notification.uid or not self._follower.ours(job, record):
                self._drop(Ignored.FOREIGN, "Batch knows another uid", notification, job)
                return
            decision = self._follower.follow(job, record, Actor.BATCH)
            if isinstance(decision, NotFound):
                return
            current = job if decision is None else decision.job
        if notification.state in _ENDS and not current.status.final and current.attempt == job.attempt:
            # Batch's own record is behind its notification: look again soon.
            soon = self._now() + self._timing.unconfirmed_check
            self._transitions.touch(Touch(current, next_check_at=soon))


def _unwanted(job: Job, message: JobMessage) -> tuple[Ignored, str]:
    """Why a message about a live job leads to nothing."""
    if message.attempt < job.attempt:
        return Ignored.STALE, f"the job is at attempt {job.attempt}"
    if message.attempt > job.attempt:
        return Ignored.FOREIGN, f"the job is at attempt {job.attempt}"
    if job.status is JobStatus.PENDING:
        return Ignored.EARLY, "its backoff is not over"
    return Ignored.DUPLICATE, f"the job is already {job.status}"


def _abandoned(job: Job, decision: Decision) -> bool:
    """Whether the job was cancelled, deleted or retried while CreateJob was under way."""
    if isinstance(decision, NotFound):
        return True
    return decision.job.status.final or decision.job.attempt != job.attempt
