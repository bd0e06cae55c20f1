"""What each method of the API does with a call that is proved, admitted and well formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared import errors
from shared.api import answers, job_answers
from shared.api.answer_base import Answer
from shared.api.queries import EVERY_TENANT
from shared.callers import Identity
from shared.jobs import Jobs, TenantGone
from shared.limits import Limiter
from shared.logs import Logs
from shared.model import JobKey, Tenant
from shared.places import Places
from shared.streams import Feed, Stream, Streams
from shared.tenants import Tenants

# Who has no tenant yet has no job: the id of no tenant leads to the answers that this deserves.
_NO_TENANT = "00000000-0000-0000-0000-000000000000"

Handled = tuple[int, Answer | Stream | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a method.

    Attributes:
        identity: who calls.
        tenant: theirs; None for somebody admitted who has none yet.
        query: the method's parameters, of the shape that its operation names.
        body: what was sent, of the shape that its operation names.
        idempotency_key: what names the request, if its caller named it.
        job_id: the id in the path, as it was sent.
        last_event_id: where a stream goes on.
    """

    identity: Identity
    tenant: Tenant | None
    query: Any
    body: Any = None
    idempotency_key: str | None = None
    job_id: str = ""
    last_event_id: str | None = None

    @property
    def tenant_id(self) -> str:
        """Whose rows the caller may see."""
        return self.tenant.tenant_id if self.tenant else _NO_TENANT

    @property
    def caller(self) -> tuple[str, str]:
        """Who calls, whether there is a tenant or not."""
        return self.identity.provider, self.identity.subject


class Handlers:
    """One handler for each operation, by its id.

    Args:
        jobs: the use cases.
        tenants: who is who.
        limiter: what each tenant may have at a time.
        streams: opens streams.
        trail: what a stream tells of a tenant's job, after a transition.
        logs: what tasks have written.
        log_reads: how many pages of logs may be read at once: each may hold a thread, and memory, for long.
        log_pause: the shortest time between two looks of a stream at a log, in seconds.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        tenants: Tenants,
        limiter: Limiter,
        streams: Streams,
        trail: Callable[[str, str, str | None], Feed],
        logs: Logs,
        log_reads: Places,
        log_pause: float,
    ) -> None:
        self._jobs = jobs
        self._tenants = tenants
        self._limiter = limiter
        self._streams = streams
        self._trail = trail
        self._logs = logs
        self._log_reads = log_reads
        self._log_pause = log_pause

    def submit_job(self, call: Call) -> Handled:  # noqa: D102 - `OPERATIONS` says what each does
        def submit(tenant: Tenant, prepare: Callable[[], None]) -> Handled:
            job, new = self._jobs.submit(
                tenant.tenant_id,
                call.body,
                call.idempotency_key,
                service_account=tenant.job_service_account,
                allowance=self._limiter.of(tenant.tenant_id, tenant.limits),
                prepare=prepare,
            )
            return (201 if new else 200), job_answers.JobAnswer.of(job)

        return self._as_tenant(call, submit)

    def batch_create_jobs(self, call: Call) -> Handled:  # noqa: D102
        def submit(tenant: Tenant, prepare: Callable[[], None]) -> Handled:
            jobs, new = self._jobs.submit_batch(
                tenant.tenant_id,
                call.body.requests,
                call.idempotency_key,
                service_account=tenant.job_service_account,
                allowance=self._limiter.of(tenant.tenant_id, tenant.limits),
                prepare=prepare,
            )
            return (201 if new else 200), job_answers.JobBatch(
                jobs=[job_answers.JobAnswer.of(job) for job in jobs]
            )

        return self._as_tenant(call, submit)

    def retry_job(self, call: Call) -> Handled:  # noqa: D102
        def submit(tenant: Tenant, prepare: Callable[[], None]) -> Handled:
            job, new = self._jobs.retry(
                tenant.tenant_id,
                call.job_id,
                call.idempotency_key,
                service_account=tenant.job_service_account,
                allowance=self._limiter.of(tenant.tenant_id, tenant.limits),
                prepare=prepare,
            )
            return (201 if new else 200), job_answers.JobAnswer.of(job)

        if call.tenant is None:  # and none is made for it
            raise errors.NotFound.of_job()
        return self._as_tenant(call, submit)

    def _as_tenant(self, call: Call, submit: Callable[[Tenant, Callable[[], None]], Handled]) -> Handled:
        """Submit for the caller's tenant, which is made, if there is none, when the rest is allowed."""
        for _ in range(2):
            tenant, stored = self._tenants.submitter(call.identity)

            def make(new: Tenant = tenant) -> None:
                if not self._tenants.make(call.identity, new):
                    raise TenantGone

            try:
                return submit(tenant, _nothing if stored else make)
            except TenantGone:
                # Deleted since it was remembered, or made by another: look once more, in the database.
                self._tenants.forget(call.identity)
        raise errors.Unavailable("The tenant is changing; please try again.")

    def list_jobs(self, call: Call) -> Handled:  # noqa: D102
        query = call.query
        tenant_id, caller = _whose(call)
        jobs, token = self._jobs.page(
            None if tenant_id == EVERY_TENANT else tenant_id,
            caller=caller,
            status=query.status,
            created_after=query.created_after,
            page_size=query.page_size,
            page_token=query.page_token,
        )
        return 200, job_answers.JobPage(
            jobs=[job_answers.JobAnswer.of(job) for job in jobs], next_page_token=token
        )

    def get_job(self, call: Call) -> Handled:  # noqa: D102
        job, attempts = self._jobs.get(_whose(call)[0], call.job_id)
        return 200, job_answers.JobDetails.with_attempts(job, attempts)

    def list_transitions(self, call: Call) -> Handled:  # noqa: D102
        query = call.query
        tenant_id, caller = _whose(call)
        transitions, token = self._jobs.transitions(
            tenant_id,
            call.job_id,
            caller=caller,
            page_size=query.page_size,
            page_token=query.page_token,
        )
        shown = [answers.TransitionAnswer.of(transition) for transition in transitions]
        return 200, answers.TransitionPage(transitions=shown, next_page_token=token)

    def stream_events(self, call: Call) -> Handled:  # noqa: D102
        return 200, self._streams.open(
            call.caller, self._trail(call.tenant_id, call.job_id, call.last_event_id)
        )

    def read_logs(self, call: Call) -> Handled:  # noqa: D102
        key, query = JobKey(call.tenant_id, call.job_id), call.query
        if query.follow:
            start = call.last_event_id or query.page_token
            feed = self._logs.feed(key, attempt=query.attempt, task=query.task, page_token=start)
            return 200, self._streams.open(call.caller, feed, pause=self._log_pause)
        release = self._log_reads.take(call.caller)
        try:
            lines, token = self._logs.page(
                key,
                attempt=query.attempt,
                task=query.task,
                page_size=query.page_size,
                page_token=query.page_token,
            )
        finally:
            release()
        entries = [answers.LogEntryAnswer.of(query.task, line) for line in lines]
        return 200, answers.LogPage(entries=entries, next_page_token=token)

    def cancel_job(self, call: Call) -> Handled:  # noqa: D102
        return 200, job_answers.JobAnswer.of(self._jobs.cancel(call.tenant_id, call.job_id))

    def delete_job(self, call: Call) -> Handled:  # noqa: D102
        self._jobs.delete(call.tenant_id, call.job_id)
        return 204, None

    def get_tenant(self, call: Call) -> Handled:  # noqa: D102
        return 200, self._shown(self._tenants.look(call.identity))

    def delete_tenant(self, call: Call) -> Handled:  # noqa: D102
        return 202, self._shown(self._tenants.delete(call.identity))

    def _shown(self, tenant: Tenant) -> answers.TenantAnswer:
        usage = self._limiter.of(tenant.tenant_id, tenant.limits).usage()
        return answers.TenantAnswer.of(tenant, self._limiter.limits(tenant.limits), usage)


def _nothing() -> None:
    """The tenant is there."""


def _whose(call: Call) -> tuple[str, str]:
    """The tenant whose rows are asked for, and who asks.

    Raises:
        PermissionDenied: a tenant is named, and the caller is no operator.
    """
    named = call.query.tenant_id
    if named is None:
        return call.tenant_id, call.tenant_id
    if not call.identity.operator:
        raise errors.PermissionDenied(
            "tenant_id: is for operators only; leave it out to see your own jobs",
            {"field": "tenant_id", "reason": "is for operators only"},
        )
    return named, f"operator {call.identity.provider}:{call.identity.subject}"
