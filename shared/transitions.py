"""The one module that writes Jobs, JobAttempts and JobStateTransitions.

A transition is a read of the row, a pure decision, and one commit that holds the row, the attempt and the
audit rows. The commit carries no lock over from the read. Its fence is the audit row's key, which is the
version that the row will have: if anybody else moved the job since it was read, that key is taken, the
commit fails as a whole with AlreadyExists, and the decision is made again on the row as it stands. The same
collision makes the write safe to repeat when its outcome is unknown (see `commits`).

It is long because nothing else may write these tables.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, cast

from google.api_core import exceptions
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.batch import Batch
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.transaction import Transaction

from shared import tracing, transition_log
from shared.commits import PATIENT, Patience, PerhapsApplied, commit
from shared.config import Timing
from shared.errors import Unavailable
from shared.events import AttemptFailed, Cancelled, Event, Failure, Rejected, Submitted, Succeeded
from shared.lifecycle import Applied, Decision, Duplicate, NotFound, decide
from shared.model import Actor, Job, JobKey, JobStatus
from shared.rows import COMMIT_TIMES, JOB_COLUMNS, READ_TIMEOUT, TRANSITION_ID_DIGITS, Reads, column_value

_MOST_COLLISIONS = 100
_LONGEST_TEXT = 2000

# Seconds in which a touch is begun again after an ABORTED.
_TOUCH_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Touch:
    """What is set on a job that does not move. None leaves what is there, `next_check_at` apart.

    Attributes:
        job: the row as it was read.
        next_check_at: when it is looked at next; None where nothing is owed.
        status_detail: what its owner is told meanwhile.
        not_before: when the attempt may be dispatched.
        last_ignored: the last event of the attempt that changed nothing, with the reason.
        given_up: the failure that the attempt will end with once Batch shows that it has stopped.
        finished_at: when the attempt ended, by Batch's own time.
    """

    job: Job
    _: KW_ONLY
    next_check_at: datetime | None
    status_detail: str | None = None
    not_before: datetime | None = None
    last_ignored: str | None = None
    given_up: Failure | None = None
    finished_at: datetime | None = None


class Deletion(Enum):
    """What became of a job that was to be deleted. The values are why it is kept, for its owner."""

    DONE = "it is deleted"
    LIVE = "it has not ended"
    OWED = "it has ended, but not yet for certain in Batch"
    YOUNG = "it was submitted a moment ago"


class Transitions:
    """Applies events to jobs.

    Args:
        database: the database, with the current schema.
        timing: how long to wait for what.
        now: the clock; it sets only when a job is looked at again, all recorded times are the database's.
        jitter: a number in [0, 1) for the backoff of retries.
        patience: how long a commit whose outcome is unknown is repeated.
    """

    def __init__(
        self,
        database: Database,
        *,
        timing: Timing,
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
        patience: Patience = PATIENT,
    ) -> None:
        self._database = database
        self._reads = Reads(database)
        self._timing = timing
        self._now = now
        self._jitter = jitter
        self._patience = patience

    def submit(self, job: Job, actor: Actor = Actor.TENANT) -> Applied | Duplicate | NotFound:
        """Store a new job and its first audit row; 1 RPC.

        Returns:
            Applied with the stored job. Duplicate with the job that holds the same id (then an earlier try
            of this very call was applied) or the same idempotency key. NotFound: there is no such tenant.
        """
        outcome = self.submit_all([job], actor)
        return outcome[0] if isinstance(outcome, list) else outcome

    def submit_all(
        self, jobs: Sequence[Job], actor: Actor = Actor.TENANT
    ) -> list[Applied] | Duplicate | NotFound:
        """Store new jobs of one tenant, each with its first audit row, all or none; 1 RPC.

        Only the first may have an idempotency key: it stands for all.

        Returns:
            Applied for each. Duplicate and NotFound as `submit` has them for the first.
        """
        decisions = [self._new(job) for job in jobs]
        job = jobs[0]

        for _ in range(_MOST_COLLISIONS):
            try:
                return self._commit_new(decisions, actor)
            except exceptions.NotFound:
                return NotFound()
            except exceptions.AlreadyExists:
                existing = self._reads.job(job.key)
                if existing is None and job.idempotency_key:
                    existing = self._reads.job_by_idempotency_key(job.tenant_id, job.idempotency_key)
                if existing is not None:
                    if existing.job_id == job.job_id:
                        # An earlier try of this very call was applied, and nobody has told of it yet.
                        _tell_new(decisions, actor)
                    return Duplicate(existing)
                # The job that held the key was deleted between the two: the key is free again.
        raise Unavailable("The job could not be stored; please try again.")

    def apply(self, key: JobKey, event: Event, actor: Actor, *, known: Job | None = None) -> Decision:
        """Let `event` happen to the job, exactly once.

        Args:
            key: whose.
            event: what happened.
            actor: who says so.
            known: the row as the caller read it a moment ago, which spares a read. If it is out of date the
                commit finds out.

        Returns:
            What became of it, with the job as it now stands. 2 RPCs when applied, 1 with `known`.
        """
        job = known
        for _ in range(_MOST_COLLISIONS):
            job = job or self._reads.job(key)
            decision = self._decide(job, event)
            if job is None or not isinstance(decision, Applied):
                transition_log.ignored(key, event, decision)
                return decision
            try:
                return self._commit(job, decision, event, actor)
            except exceptions.NotFound:
                transition_log.ignored(key, event, NotFound())
                return NotFound()
            except exceptions.AlreadyExists:
                transition_log.forestalled(job, decision, actor)
                job = None
        raise Unavailable("The job changes too often; please try again.")

    def _commit(self, job: Job, decision: Applied, event: Event, actor: Actor) -> Applied:
        with transition_log.applying(job, decision, actor) as applied:
            try:
                at = commit(self._database, _writer(job, applied, event, actor), patience=self._patience)
            except PerhapsApplied:
                stored = self._applied_before(job, applied, actor)
                if stored is None:
                    raise
            else:
                stored = _dated(applied.job, job, at)
        done = Applied(stored, applied.steps)
        transition_log.applied(job, done, event, actor)
        return done

    def _applied_before(self, before: Job, applied: Applied, actor: Actor) -> Job | None:
        """The row after these steps, if it is they that were committed; 2 RPCs, else 1.

        A rival with the same news may have written the very same: then both tell of it. Its row is the one
        that is returned, for it may have drawn another time for the next attempt.
        """
        wanted = _step_rows(applied, actor)
        rows = self._reads.transitions(before.key, after=transition_id(before.version), limit=len(wanted))
        stored = [
            (row.transition_id, row.from_status, row.to_status, row.reason, row.actor, row.attempt)
            for row in rows
        ]
        if stored != wanted:
            return None
        job = self._reads.job(before.key)
        if job is not None and job.version == applied.job.version:
            return job
        # Somebody went on meanwhile.
        at = rows[0].transitioned_at
        return _dated(applied.job, before, at) if at else applied.job

    def _commit_new(self, decisions: Sequence[Applied], actor: Actor) -> list[Applied]:
        with ExitStack() as spans:
            request = tracing.here()
            new = [
                spans.enter_context(transition_log.applying(None, each, actor, within=request))
                for each in decisions
            ]

            def write(batch: Batch) -> None:
                for applied in new:
                    _write_new(batch, applied, actor)

            at = commit(self._database, write, patience=self._patience)
        done = [Applied(_dated(applied.job, None, at), applied.steps) for applied in new]
        _tell_new(done, actor)
        return done

    def delete(self, keys: Sequence[JobKey]) -> dict[JobKey, Deletion]:
        """Delete those jobs that have ended and are owed nothing, with history and attempts; 2 RPCs.

        No lock is held between the look and the deletion: such a row never changes again. What comes later,
        an event, a touch or a message, finds no job and does nothing; no Batch job is left to speak of it.
        Only the commit of its submission could, if it was sent twice and one was held up on its way, bring
        the job back as new: so one that is younger than `Timing.delete_age` is kept.

        Returns:
            What became of each job that was found.
        """
        columns = ("TenantId", "JobId", "Status", "NextCheckAt", "CreatedAt")
        with self._database.snapshot() as snapshot:
            rows = list(snapshot.read("Jobs", columns, KeySet(keys=keys), timeout=READ_TIMEOUT))
        found = {
            JobKey(tenant_id, job_id): self._deletion(JobStatus(status), check, created)
            for tenant_id, job_id, status, check, created in rows
        }
        done = KeySet(keys=[key for key, deletion in found.items() if deletion is Deletion.DONE])
        if done.keys:
            commit(self._database, lambda batch: batch.delete("Jobs", done), patience=self._patience)
        return found

    def _deletion(
        self, status: JobStatus, next_check_at: datetime | None, created_at: datetime | None
    ) -> Deletion:
        if not status.final:
            return Deletion.LIVE
        if next_check_at is not None:
            return Deletion.OWED
        young = created_at is not None and self._now() - created_at < self._timing.delete_age
        return Deletion.YOUNG if young else Deletion.DONE

    def touch(self, touch: Touch) -> bool:
        """Set when a job is looked at next, and what `Touch` says besides; no transition.

        Returns:
            Whether the row was still at its version. If not, nothing is set.
        """
        return self.touch_all([touch]) == 1

    def touch_all(self, touches: Sequence[Touch]) -> int:
        """Touch several jobs, each its own; 2 RPCs for all of them.

        Nothing happens to a row that is no longer at its `job.version`: a check that is late can't hide a
        newer state from reconciliation. A final row that is owed nothing any more is not owed a check
        again, and an earlier look that somebody else has asked for meanwhile takes place.

        Returns:
            How many rows were still at their version.
        """
        keys = KeySet(keys=[touch.job.key for touch in touches])

        def write(transaction: Transaction) -> int:
            columns = ("TenantId", "JobId", "Version", "NextCheckAt")
            rows = transaction.read("Jobs", columns, keys, timeout=READ_TIMEOUT)
            found = {JobKey(*key): (version, check) for *key, version, check in rows}
            touched = 0
            for touch in touches:
                version, check = found.get(touch.job.key, (None, None))
                if version == touch.job.version:
                    _write_touch(transaction, replace(touch, next_check_at=_next_check(touch, check)))
                    touched += 1
            return touched

        # Idempotent as a whole, so that a retry after ABORTED or an unknown outcome does no harm.
        return cast("int", self._run(write))

    def note_ignored(self, key: JobKey, attempt: int, *, uid: str, text: str) -> None:
        """Record an event of an attempt that is over; nothing happens unless `uid` is its Batch job's."""
        attempt_key = [*key, attempt]

        def write(transaction: Transaction) -> None:
            keys = KeySet(keys=[attempt_key])
            rows = list(transaction.read("JobAttempts", ["BatchUid"], keys, timeout=READ_TIMEOUT))
            if rows and rows[0][0] == uid:
                columns = ("TenantId", "JobId", "Attempt", "LastIgnored")
                transaction.update("JobAttempts", columns, [[*attempt_key, text[:_LONGEST_TEXT]]])

        self._run(write)

    def postpone(self, key: JobKey, *, until: datetime) -> None:
        """Look at a job later, whatever it is: also where its row can't be understood."""

        def write(transaction: Transaction) -> None:
            rows = list(transaction.read("Jobs", ["NextCheckAt"], KeySet(keys=[key]), timeout=READ_TIMEOUT))
            if rows and rows[0][0] is not None:
                values = {"TenantId": key.tenant_id, "JobId": key.job_id, "NextCheckAt": until}
                _update(transaction, "Jobs", values)

        self._run(write)

    def _run(self, write: Callable[[Transaction], object]) -> object:
        return self._database.run_in_transaction(write, timeout_secs=_TOUCH_TIMEOUT, default_retry_delay=0.02)

    def _new(self, job: Job) -> Applied:
        decision = self._decide(job, Submitted())
        assert isinstance(decision, Applied)  # noqa: S101 - nothing else follows from Submitted at version 0
        return decision

    def _decide(self, job: Job | None, event: Event) -> Decision:
        return decide(job, event, now=self._now(), timing=self._timing, jitter=self._jitter())


def _next_check(touch: Touch, stored: datetime | None) -> datetime | None:
    """When the job is looked at next, where `stored` is the time that its row has by now."""
    wanted = touch.next_check_at
    if touch.job.status.final:
        return wanted if stored else None
    if stored is None or wanted is None or stored == touch.job.next_check_at:
        return wanted
    # Somebody asked for a look meanwhile: the earlier one holds.
    return min(wanted, stored)


def _write_touch(transaction: Transaction, touch: Touch) -> None:
    job = touch.job
    values: dict[str, Any] = {"NextCheckAt": touch.next_check_at}
    if touch.status_detail is not None:
        values["StatusDetail"] = touch.status_detail[:_LONGEST_TEXT]
    if touch.not_before is not None:
        values["NotBefore"] = touch.not_before
    _update(transaction, "Jobs", {"TenantId": job.tenant_id, "JobId": job.job_id} | values)
    attempt: dict[str, Any] = {}
    if touch.last_ignored is not None:
        attempt["LastIgnored"] = touch.last_ignored[:_LONGEST_TEXT]
    if touch.given_up is not None:
        attempt |= {"Reason": touch.given_up.reason, "Message": touch.given_up.message[:_LONGEST_TEXT]}
    if touch.finished_at is not None:
        attempt["FinishedAt"] = touch.finished_at
    if attempt:
        attempt = _attempt_key(job) | attempt
        transaction.insert_or_update("JobAttempts", list(attempt), [list(attempt.values())])


def _writer(job: Job, decision: Applied, event: Event, actor: Actor) -> Callable[[Batch], None]:
    def write(batch: Batch) -> None:
        _update(batch, "Jobs", _changes(job, decision.job))
        _write_steps(batch, decision, actor)
        attempt = _attempt_key(job) | _attempt_changes(job, decision, event)
        batch.insert_or_update("JobAttempts", list(attempt), [list(attempt.values())])

    return write


def _tell_new(done: Sequence[Applied], actor: Actor) -> None:
    for applied in done:
        transition_log.applied(None, applied, Submitted(), actor)


def _write_new(batch: Batch, decision: Applied, actor: Actor) -> None:
    job = decision.job
    values = {column: column_value(name, getattr(job, name)) for name, column in JOB_COLUMNS.items()}
    batch.insert("Jobs", list(values), [list(values.values())])
    _write_steps(batch, decision, actor)


def _write_steps(batch: Batch, decision: Applied, actor: Actor) -> None:
    columns = ("TransitionId", "FromStatus", "ToStatus", "Reason", "Actor", "Attempt")
    batch.insert(
        "JobStateTransitions",
        ["TenantId", "JobId", "TransitionedAt", *columns],
        [[*decision.job.key, COMMIT_TIMESTAMP, *row] for row in _step_rows(decision, actor)],
    )


def _step_rows(
    decision: Applied, actor: Actor
) -> list[tuple[str, str | None, str, str | None, str | None, int | None]]:
    """Transition id, statuses, reason, actor and attempt of each step's audit row."""
    first = decision.job.version - len(decision.steps) + 1
    return [
        (
            transition_id(first + position),
            step.from_status,
            step.to_status,
            step.reason[:_LONGEST_TEXT],
            actor,
            step.attempt,
        )
        for position, step in enumerate(decision.steps)
    ]


def transition_id(version: int) -> str:
    """The key of the audit row that brings a job to `version`: in key order, history is in order."""
    return f"{version:0{TRANSITION_ID_DIGITS}d}"


def _changes(before: Job, after: Job) -> Mapping[str, Any]:
    # A touch between the read and this commit may have set the last three: a transition has the last word.
    changed = {"tenant_id", "job_id", "updated_at", "status_detail", "not_before", "next_check_at"} | {
        name for name in JOB_COLUMNS if getattr(before, name) != getattr(after, name)
    }
    return {JOB_COLUMNS[name]: column_value(name, getattr(after, name)) for name in changed}


def _attempt_key(job: Job) -> dict[str, Any]:
    return {"TenantId": job.tenant_id, "JobId": job.job_id, "Attempt": job.attempt}


def _attempt_changes(job: Job, decision: Applied, event: Event) -> dict[str, Any]:
    """What the attempt's row learns from the event. `job` is the row before it."""
    changes: dict[str, Any] = {}
    if job.status is JobStatus.PENDING:
        changes["CreatedAt"] = COMMIT_TIMESTAMP
    if any(step.to_status is JobStatus.SCHEDULED for step in decision.steps) and not isinstance(
        event, Submitted | Rejected
    ):
        batch = event.batch
        if batch is not None:
            changes |= {"GcpBatchJobName": batch.name, "BatchUid": batch.uid}
    match event:
        case AttemptFailed() | Rejected():
            failure = event.failure
            changes |= {
                "Reason": failure.reason,
                "Message": failure.message[:_LONGEST_TEXT],
                "ExitCode": failure.exit_code,
            }
        case Cancelled(reason=reason):
            changes |= {"Reason": "cancelled", "Message": reason[:_LONGEST_TEXT]}
        case Succeeded():
            # It may have been given up, and have run all the same before Batch could stop it.
            changes |= {"Reason": None, "Message": None}
        case _:
            pass
    if isinstance(event, AttemptFailed | Succeeded | Cancelled):
        changes |= {"StartedAt": event.started_at, "FinishedAt": event.finished_at}
    return changes


def _dated(after: Job, before: Job | None, at: datetime) -> Job:
    """`after` with the commit's own time where the commit set one."""
    stored: dict[str, Any] = {
        name: at
        for name in COMMIT_TIMES
        if (value := getattr(after, name)) is not None and (before is None or getattr(before, name) != value)
    }
    return replace(after, **stored)


def _update(target: Batch | Transaction, table: str, values: Mapping[str, Any]) -> None:
    target.update(table, list(values), [list(values.values())])
