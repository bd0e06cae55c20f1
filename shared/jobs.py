"""The tenant's use cases. Every one is given the tenant and sees no row of another."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from shared.api.spec import SubmitRequest
from shared.cancellation import Cancellation
from shared.errors import Conflict, FailedPrecondition, InvalidArgument, JennahError, NotFound
from shared.images import ImagePolicy
from shared.job_reads import JobReads, may_exist
from shared.lifecycle import NotFound as NoSuchJob
from shared.limits import UNLIMITED, Allowance
from shared.messages import JobMessage
from shared.model import Job, JobKey, JobStatus
from shared.rows import Reads
from shared.spec import JobSpec
from shared.transitions import Deletion, Transitions

_ALL_IMAGES = ImagePolicy()

_RETRIABLE = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})


class TenantGone(Exception):
    """The tenant's row is not there (any more): whoever remembered it should look again."""


class Jobs(JobReads):
    """What a tenant may do with jobs.

    Args:
        transitions: the one writer of jobs.
        reads: committed rows.
        publish: sends messages, its arguments, to topic `jobs`. It may fail: the jobs are durable,
            reconciliation repeats it.
        batch_parent: where new jobs will run, `projects/{project}/locations/{region}`.
        images: which images new jobs may run.
        new_id: makes the id of a job, a random UUID in canonical form.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        reads: Reads,
        publish: Callable[..., object],
        batch_parent: str,
        images: ImagePolicy = _ALL_IMAGES,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        super().__init__(reads)
        self._transitions = transitions
        self._publish = publish
        self._cancellation = Cancellation(transitions, publish)
        self._batch_parent = batch_parent
        self._images = images
        self._new_id = new_id

    def submit(
        self,
        tenant_id: str,
        request: SubmitRequest,
        idempotency_key: str | None,
        *,
        service_account: str | None = None,
        allowance: Allowance = UNLIMITED,
        prepare: Callable[[], None] = lambda: None,
    ) -> tuple[Job, bool]:
        """Accept a job: one commit, then a message.

        Args:
            tenant_id: whose job it is.
            request: what is asked for.
            idempotency_key: what names the request, if its caller named it.
            service_account: the tenant's own job account.
            allowance: what the tenant may still submit.
            prepare: called before a job is stored, when all else is allowed. What it raises is raised.

        Returns:
            The job, and whether it is new: False where the key brought it before with the same body.

        Raises:
            Conflict: the key brought another body before.
            InvalidArgument: this deployment, or this tenant's account, does not allow what is asked for.
            ResourceExhausted: a limit of the tenant is reached, and the key brought nothing before.
            TenantGone: there is no such tenant.
            Unavailable: nobody knows whether it was accepted; the same key settles it.
        """
        digest = request.digest()
        try:
            job = self._asked(tenant_id, request, service_account)
        except InvalidArgument as refusal:
            return self._again(tenant_id, idempotency_key, digest, refusal)[0], False
        job = replace(job, idempotency_key=idempotency_key, request_hash=digest)
        (stored,), new = self._accept([job], allowance, prepare)
        return stored, new

    def submit_batch(
        self,
        tenant_id: str,
        requests: Sequence[SubmitRequest],
        idempotency_key: str | None,
        *,
        service_account: str | None = None,
        allowance: Allowance = UNLIMITED,
        prepare: Callable[[], None] = lambda: None,
    ) -> tuple[list[Job], bool]:
        """Accept several jobs, all or none: one commit, then a message for each.

        Returns:
            The jobs in the order of their requests, and whether they are new. Where the key brought them
            before, those that were not deleted since.

        Raises:
            As `submit`. The field of an InvalidArgument begins with `requests[n]`.
        """
        digest = _digest("batch", *(request.digest() for request in requests))
        jobs = []
        for number, request in enumerate(requests):
            try:
                jobs.append(self._asked(tenant_id, request, service_account))
            except InvalidArgument as error:
                refusal = error.inside(f"requests[{number}]")
                return self._again(tenant_id, idempotency_key, digest, refusal), False
        first, *others = jobs
        # The first stands for all: it is looked up by the key, and knows the rest.
        spec = replace(first.spec, siblings=tuple(job.job_id for job in others))
        first = replace(first, spec=spec, idempotency_key=idempotency_key, request_hash=digest)
        return self._accept([first, *others], allowance, prepare)

    def retry(
        self,
        tenant_id: str,
        job_id: str,
        idempotency_key: str | None,
        *,
        service_account: str | None = None,
        allowance: Allowance = UNLIMITED,
        prepare: Callable[[], None] = lambda: None,
    ) -> tuple[Job, bool]:
        """Do a job that failed or was cancelled again, as a new job that asks for the same.

        Returns:
            The new job, and whether it is new: False where the key brought it before, from the same job.

        Raises:
            NotFound: the tenant has no such job.
            FailedPrecondition: it neither failed nor was cancelled, or may not be submitted any more.
            Conflict: the key brought something else before.
            ResourceExhausted, TenantGone, Unavailable: as `submit`.
        """
        digest = _digest("retry", job_id)
        try:
            job = self._retried(tenant_id, job_id, service_account)
        except (NotFound, FailedPrecondition) as refusal:
            return self._again(tenant_id, idempotency_key, digest, refusal)[0], False
        job = replace(job, idempotency_key=idempotency_key, request_hash=digest)
        (stored,), new = self._accept([job], allowance, prepare)
        return stored, new

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """Cancel a job, as `Cancellation` does.

        Raises:
            NotFound: the tenant has no such job.
            FailedPrecondition: it is COMPLETED or FAILED already.
        """
        if not may_exist(job_id):
            raise NotFound.of_job()
        return self._cancellation.cancel(JobKey(tenant_id, job_id), reason="cancelled by the tenant")

    def delete(self, tenant_id: str, job_id: str) -> None:
        """Delete a job that has ended and is owed nothing, with its history. This frees its idempotency key.

        Raises:
            NotFound: the tenant has no such job.
            FailedPrecondition: it may not be deleted yet, or it holds the key of a batch of which others are.
        """
        key = JobKey(tenant_id, job_id)
        if may_exist(job_id) and self._holds_a_key(key):
            raise FailedPrecondition(
                "The job can't be deleted yet: it holds the Idempotency-Key of its batch, "
                "so delete the batch's other jobs first."
            )
        deletion = self._transitions.delete([key]).get(key) if may_exist(job_id) else None
        if deletion is None:
            raise NotFound.of_job()
        if deletion is not Deletion.DONE:
            raise FailedPrecondition(f"The job can't be deleted yet: {deletion.value}.")

    def _holds_a_key(self, key: JobKey) -> bool:
        """Whether a replay would find others of its batch through this job only. They never become more."""
        job = self._reads.many([key]).get(key)
        if job is None or job.idempotency_key is None or not job.spec.siblings:
            return False
        return self._reads.is_any_there([JobKey(key.tenant_id, other) for other in job.spec.siblings])

    def _retried(self, tenant_id: str, job_id: str, service_account: str | None) -> Job:
        """The job to be, of one that may be done again."""
        origin = self._own(tenant_id, job_id)
        if origin.status not in _RETRIABLE:
            raise FailedPrecondition(
                f"The job is {origin.status}: only a FAILED or CANCELLED one is retried."
            )
        if problem := self._images.problem(origin.image_uri):
            raise FailedPrecondition(f"The job can't be retried, its image {problem}.")
        spec = replace(origin.spec, service_account=service_account, origin_job_id=job_id, siblings=())
        if (spec.secret_env or spec.mounts) and service_account is None:
            raise FailedPrecondition(
                "The job needs a service account of your own: ask the operator of this platform for one."
            )
        return Job(
            tenant_id=tenant_id,
            job_id=self._new_id(),
            image_uri=origin.image_uri,
            commands=origin.commands,
            spec=spec,
            max_retries=origin.max_retries,
            batch_parent=self._batch_parent,
            trace_context=origin.trace_context,  # its trace links to that one
        )

    def _again(
        self, tenant_id: str, idempotency_key: str | None, digest: str, refusal: JennahError
    ) -> list[Job]:
        """What the key brought before: what was allowed then stays accepted. Else the refusal is raised."""
        known = idempotency_key and self._reads.job_by_idempotency_key(tenant_id, idempotency_key)
        if not known or known.request_hash != digest:
            raise refusal
        return self._with_siblings(known)

    def _asked(self, tenant_id: str, request: SubmitRequest, service_account: str | None) -> Job:
        """The job to be, of a request that this deployment allows."""
        return Job(
            tenant_id=tenant_id,
            job_id=self._new_id(),
            image_uri=request.image_uri,
            commands=tuple(request.commands),
            spec=self._allowed(request, service_account),
            max_retries=request.max_retries,
            batch_parent=self._batch_parent,
        )

    def _allowed(self, request: SubmitRequest, service_account: str | None) -> JobSpec:
        """What is stored of a request that this deployment allows."""
        if problem := self._images.problem(request.image_uri):
            raise InvalidArgument.of_field("image_uri", problem)
        return request.spec(service_account)

    def _accept(
        self, jobs: list[Job], allowance: Allowance, prepare: Callable[[], None]
    ) -> tuple[list[Job], bool]:
        """Store jobs, all or none, and send a message for each."""
        first = jobs[0]
        with allowance.take(
            [job.spec for job in jobs],
            known=lambda: self._reads.is_key_taken(first.tenant_id, first.idempotency_key),
        ) as taken:
            prepare()
            outcome = self._transitions.submit_all(jobs)
            if isinstance(outcome, NoSuchJob):
                taken.release()
                raise TenantGone
            if isinstance(outcome, list):
                stored, new = [applied.job for applied in outcome], True
            else:
                # Its own job, if an earlier try of this very call was applied.
                stored, new = self._with_siblings(outcome.job), outcome.job.job_id == first.job_id
            if not new:
                taken.release()
        if not new and stored[0].request_hash != first.request_hash:
            raise Conflict(
                "Idempotency-Key: was used before with another body",
                {"field": "Idempotency-Key", "reason": "was used before with another body"},
            )
        waiting = [job for job in stored if job.status is JobStatus.PENDING and job.attempt == 1]
        if waiting:
            self._publish(*map(JobMessage.of, waiting))
        return stored, new

    def _with_siblings(self, first: Job) -> list[Job]:
        keys = [JobKey(first.tenant_id, job_id) for job_id in first.spec.siblings]
        found = self._reads.many(keys) if keys else {}
        return [first, *(job for key in keys if (job := found.get(key)))]


def _digest(kind: str, *parts: str) -> str:
    """Of a request that is no single submission, whose digest it never equals."""
    return hashlib.sha256(json.dumps([kind, *parts]).encode()).hexdigest()
