"""The tenant's use cases. Every one is given the tenant and sees no row of another."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import datetime

from shared.api import SubmitRequest
from shared.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from shared.events import Cancelled
from shared.lifecycle import Applied, Duplicate, Stale
from shared.lifecycle import NotFound as NoSuchJob
from shared.messages import JobMessage
from shared.model import Actor, Attempt, Job, JobKey, JobStatus, Transition
from shared.pages import decode_token, encode_token
from shared.rows import Position, Reads
from shared.transitions import Transitions

_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")


class TenantGone(Exception):
    """The tenant's row is not there (any more): whoever remembered it should look again."""


class Jobs:
    """What a tenant may do with jobs.

    Args:
        transitions: the one writer of jobs.
        reads: committed rows.
        publish: sends a message to topic `jobs`. It may fail: the job is durable, reconciliation repeats it.
        batch_parent: where new jobs will run, `projects/{project}/locations/{region}`.
        new_id: makes the id of a job, a random UUID in canonical form.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        reads: Reads,
        publish: Callable[[JobMessage], object],
        batch_parent: str,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._transitions = transitions
        self._reads = reads
        self._publish = publish
        self._batch_parent = batch_parent
        self._new_id = new_id

    def submit(self, tenant_id: str, request: SubmitRequest, idempotency_key: str | None) -> tuple[Job, bool]:
        """Accept a job: one commit, then a message.

        Returns:
            The job, and whether it is new: False where the key brought it before with the same body.

        Raises:
            Conflict: the key brought another body before.
            TenantGone: there is no such tenant.
            Unavailable: nobody knows whether it was accepted; the same key settles it.
        """
        digest = request.digest()
        job = Job(
            tenant_id=tenant_id,
            job_id=self._new_id(),
            image_uri=request.image_uri,
            commands=tuple(request.commands),
            spec=request.spec(),
            max_retries=request.max_retries,
            batch_parent=self._batch_parent,
            idempotency_key=idempotency_key,
            request_hash=digest,
        )
        outcome = self._transitions.submit(job)
        if isinstance(outcome, NoSuchJob):
            raise TenantGone
        stored = outcome.job
        new = isinstance(outcome, Applied) or stored.job_id == job.job_id
        if not new and stored.request_hash != digest:
            raise Conflict(
                "Idempotency-Key: was used before with another body",
                {"field": "Idempotency-Key", "reason": "was used before with another body"},
            )
        if stored.status is JobStatus.PENDING and stored.attempt == 1:
            self._publish(JobMessage(stored.key, stored.attempt))
        return stored, new

    def get(self, tenant_id: str, job_id: str) -> tuple[Job, list[Attempt]]:
        """A job with its attempts.

        Raises:
            NotFound: the tenant has no such job.
        """
        job = self._own(tenant_id, job_id)
        return job, self._reads.attempts(job.key)

    def page(
        self, tenant_id: str, *, status: JobStatus | None, page_size: int, page_token: str | None
    ) -> tuple[list[Job], str | None]:
        """A page of the tenant's jobs, newest first, and the token of the next page.

        Raises:
            InvalidArgument: the token is none of ours, or from another query.
        """
        query = ("jobs", tenant_id, status)
        after = None
        if page_token:
            created_at, job_id = decode_token(page_token, query=query, size=2)
            after = Position(_time(created_at), job_id)
        jobs = self._reads.jobs(tenant_id, status=status, after=after, limit=page_size + 1)
        if len(jobs) <= page_size:
            return jobs, None
        last = Position.of(jobs[page_size - 1])
        return jobs[:page_size], encode_token([last.created_at or "", last.job_id], query=query)

    def transitions(
        self, tenant_id: str, job_id: str, *, page_size: int, page_token: str | None
    ) -> tuple[list[Transition], str | None]:
        """A page of a job's audit trail, oldest first, and the token of the next page.

        Raises:
            NotFound: the tenant has no such job.
            InvalidArgument: the token is none of ours, or from another query.
        """
        key = self._own(tenant_id, job_id).key
        query = ("transitions", *key)
        after = decode_token(page_token, query=query, size=1)[0] if page_token else None
        rows = self._reads.transitions(key, after=after, limit=page_size + 1)
        if len(rows) <= page_size:
            return rows, None
        return rows[:page_size], encode_token([rows[page_size - 1].transition_id], query=query)

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """Cancel a job. Whatever it left in Batch is stopped by the scheduling function, and checked later.

        Raises:
            NotFound: the tenant has no such job.
            FailedPrecondition: it is COMPLETED or FAILED already.
        """
        if not _may_exist(job_id):
            raise _no_such_job()
        event = Cancelled(reason="cancelled by the tenant")
        decision = self._transitions.apply(JobKey(tenant_id, job_id), event, Actor.TENANT)
        match decision:
            case NoSuchJob():
                raise _no_such_job()
            case Stale(job=job):
                raise FailedPrecondition(
                    f"The job is {job.status} already: only a live job can be cancelled."
                )
            case Applied(job=job) | Duplicate(job=job):
                if job.next_check_at is not None:
                    self._publish(JobMessage(job.key, job.attempt))
                return job

    def _own(self, tenant_id: str, job_id: str) -> Job:
        job = self._reads.job(JobKey(tenant_id, job_id)) if _may_exist(job_id) else None
        if job is None:
            raise _no_such_job()
        return job


def _may_exist(job_id: str) -> bool:
    """Our ids are UUIDs; ended jobs of an adopted database may have any that fits the column."""
    return len(job_id) <= 36 and job_id.isprintable()


def _no_such_job() -> NotFound:
    # One text for missing, foreign and malformed ids: an answer must not tell which of them it was.
    return NotFound("There is no such job.")


def _time(text: str) -> str | None:
    """The time of a page token, checked: as text, because a datetime drops nanoseconds."""
    if not text:  # an adopted row may have no time
        return None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        if _RFC3339.fullmatch(text):
            return text
    raise InvalidArgument.of_field("page_token", "is not a token of this API")
