"""How the API shows what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from shared.api.answer_base import Answer, Number, Time, shown_time
from shared.config import Limits
from shared.model import JobStatus, Tenant, Transition
from shared.task_logs import LogLine


class Health(Answer):
    """The function runs."""

    status: str


class Document(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class LimitsAnswer(Answer):
    """What a tenant may have or do at a time; null is without a limit."""

    open_jobs: int | None
    submissions_per_minute: int | None
    vcpu_in_flight: int | None


class UsageAnswer(Answer):
    """What a tenant has open, where a limit has it counted; else null. It is not counted beyond a limit."""

    open_jobs: Number | None
    vcpu_in_flight: Annotated[float, Field(ge=0)] | None


class TenantAnswer(Answer):
    """Who you are here. A tenant that an operator made may lack what its identity did not bring."""

    tenant_id: str
    email: Annotated[str | None, Field(description="The verified address at the first submission.")]
    provider: str
    subject: str
    created_at: Time | None
    deleted_at: Annotated[Time | None, Field(description="Since when it is being deleted.")]
    limits: LimitsAnswer
    usage: UsageAnswer

    @classmethod
    def of(cls, tenant: Tenant, limits: Limits, usage: tuple[int | None, float | None]) -> Self:
        """Show a tenant, the limits that hold for it, and how much of them is used."""
        return cls(
            tenant_id=tenant.tenant_id,
            email=tenant.email,
            provider=tenant.provider,
            subject=tenant.subject,
            created_at=shown_time(tenant.created_at),
            deleted_at=shown_time(tenant.deleted_at),
            limits=LimitsAnswer(**asdict(limits)),
            usage=UsageAnswer(open_jobs=usage[0], vcpu_in_flight=usage[1]),
        )


class TransitionAnswer(Answer):
    """One line of the audit trail. Those of adopted rows may lack anything but the status."""

    transition_id: str
    from_status: str | None
    to_status: str
    transitioned_at: Time | None
    reason: str | None
    actor: str | None
    attempt: int | None

    @classmethod
    def of(cls, transition: Transition) -> Self:
        """Show a transition."""
        return cls(
            transition_id=transition.transition_id,
            from_status=transition.from_status,
            to_status=transition.to_status,
            transitioned_at=shown_time(transition.transitioned_at),
            reason=transition.reason,
            actor=transition.actor,
            attempt=transition.attempt,
        )


class TransitionPage(Answer):
    """A page of the audit trail, oldest first. `next_page_token` is null on the last."""

    transitions: Sequence[TransitionAnswer]
    next_page_token: str | None


class LogEntryAnswer(Answer):
    """A line that a task wrote. The text is as it was written, without its line break."""

    timestamp: Time
    task: Number
    stream: Literal["stdout", "stderr"]
    message: str

    @classmethod
    def of(cls, task: int, line: LogLine) -> Self:
        """Show a line."""
        return cls(timestamp=line.place.at, task=task, stream=line.stream, message=line.message)


class LogPage(Answer):
    """A page of a log, oldest first. `next_page_token` is null once the attempt is over and all was read."""

    entries: Sequence[LogEntryAnswer]
    next_page_token: str | None


class StreamEnd(Answer):
    """The last event of a stream: how the job stands. `status` is null if it was deleted meanwhile."""

    status: JobStatus | None


class ErrorBody(Answer):
    """What went wrong (AIP-193)."""

    code: Annotated[int, Field(description="The HTTP status.")]
    status: Annotated[str, Field(description="Its canonical name, as in google.rpc.Code.")]
    message: Annotated[str, Field(description="For people; names the field that is wrong.")]
    details: Annotated[Sequence[Mapping[str, Any]], Field(description="For programs.")]


class ErrorAnswer(Answer):
    """The one shape of errors."""

    error: ErrorBody
