"""The public shapes of the Jobs API: what a request may hold, and how rows are shown."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import InvalidArgument
from shared.model import (
    Attempt,
    Backoff,
    FailureReason,
    Job,
    JobSpec,
    Provisioning,
    RetryAction,
    RetryPolicy,
    RetryRule,
    Transition,
)

MAX_BODY_BYTES = 256 * 1024
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50
MAX_IDEMPOTENCY_KEY = 255

_RESERVED_ENV = ("JENNAH_", "BATCH_")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL")
    return value


def _image(value: str) -> str:
    if not value.isprintable() or any(character.isspace() for character in value):
        raise ValueError("must be an image reference without spaces or control characters")
    return value


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is no name of an environment variable")
        if name.startswith(_RESERVED_ENV):
            raise ValueError(f"{name[:40]!r} is reserved: names of ours begin with JENNAH_ or BATCH_")
    return value


# What the validation library says, in the words of this API.
_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is no field of this request",
    "json_invalid": "is not JSON: {error}",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "literal_error": "must be {expected}",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}

# The fields of the first release, whose digests hold them all.
_ALWAYS_DIGESTED = {"image_uri", "commands", "name", "env", "max_retries", "timeout_seconds"}

# An answer must not grow with what is wrong in the request.
_MOST_PROBLEMS = 20
_LONGEST_NAME = 100


# The reasons that a rule may name: the others are never tried again, whatever a rule says.
RetryReason = Literal[
    "user_exit", "timeout", "spot_preemption", "vm_lost", "vanished", "queue_timeout", "unknown"
]
_Seconds = Annotated[int, Field(ge=0, le=86_400)]


class _Shape(BaseModel):
    """Types are strict: true is no number. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BackoffRequest(_Shape):
    """How long retries wait: each a random share of a delay that grows up to a limit."""

    first_delay_seconds: _Seconds = 10
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    max_delay_seconds: _Seconds = 600

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max_delay_seconds < self.first_delay_seconds:
            raise ValueError(
                f"max_delay_seconds ({self.max_delay_seconds}) must be at least "
                f"first_delay_seconds ({self.first_delay_seconds})"
            )
        return self


class RetryRuleRequest(_Shape):
    """What follows a failure of these kinds: either exit codes, or reasons."""

    exit_codes: (
        Annotated[list[Annotated[int, Field(ge=1, le=65_535)]], Field(min_length=1, max_length=100)] | None
    ) = None
    reasons: Annotated[list[RetryReason], Field(min_length=1, max_length=100)] | None = None
    action: Literal["retry", "fail"]

    @model_validator(mode="after")
    def _names_one_kind(self) -> Self:
        if (self.exit_codes is None) == (self.reasons is None):
            raise ValueError("must name exit_codes or reasons, one of the two")
        return self

    def rule(self) -> RetryRule:
        """The rule as it is stored."""
        return RetryRule(
            exit_codes=tuple(self.exit_codes or ()),
            reasons=tuple(FailureReason(reason) for reason in self.reasons or ()),
            action=RetryAction(self.action),
        )


class RetryRequest(_Shape):
    """When a failed attempt is tried again, apart from `max_retries`."""

    backoff: BackoffRequest | None = None
    rules: Annotated[list[RetryRuleRequest], Field(max_length=20)] = []
    max_infrastructure_retries: Annotated[int, Field(ge=0, le=20)] = 5

    def policy(self) -> RetryPolicy:
        """The policy as it is stored."""
        return RetryPolicy(
            backoff=Backoff(**self.backoff.model_dump()) if self.backoff else None,
            rules=tuple(rule.rule() for rule in self.rules),
            max_infrastructure_retries=self.max_infrastructure_retries,
        )


class SubmitRequest(_Shape):
    """The body of POST /v1/jobs."""

    image_uri: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_image)]
    commands: Annotated[
        list[Annotated[str, Field(max_length=16_384), AfterValidator(_text)]], Field(max_length=100)
    ] = []
    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_text)] | None = None
    env: Annotated[
        dict[str, Annotated[str, Field(max_length=32_768), AfterValidator(_text)]],
        Field(max_length=100),
        AfterValidator(_environment),
    ] = {}
    max_retries: Annotated[int, Field(ge=0, le=10)] = 3
    timeout_seconds: Annotated[int, Field(ge=1, le=1_209_600)] = 3600
    retry: RetryRequest = RetryRequest()
    provisioning: Literal["standard", "spot", "spot_then_standard"] = "standard"

    @classmethod
    def parse(cls, body: bytes) -> SubmitRequest:
        """Read a body.

        Raises:
            InvalidArgument: names the first field that is wrong; the first 20 stand in its details.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            details = [
                {"field": _path(problem["loc"]), "reason": _sentence(problem)}
                for problem in error.errors(include_url=False, include_input=False)[:_MOST_PROBLEMS]
            ]
            first = details[0]
            raise InvalidArgument(f"{first['field']}: {first['reason']}", *details) from None

    def spec(self) -> JobSpec:
        """What is stored beside image, command and retries."""
        return JobSpec(
            name=self.name,
            env=self.env,
            timeout_seconds=self.timeout_seconds,
            retry=self.retry.policy(),
            provisioning=Provisioning(self.provisioning),
        )

    def digest(self) -> str:
        """Equal for requests that ask for the same, however their JSON is written; SHA-256 in hex.

        Equal across releases too: digests are stored, and a field that came later counts only where it
        differs from its default. So no default may ever change.
        """
        asked = self.model_dump(include=_ALWAYS_DIGESTED) | self.model_dump(exclude_defaults=True)
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part[:_LONGEST_NAME]}" if path else part[:_LONGEST_NAME]
    return path or "body"


def _sentence(problem: Mapping[str, Any]) -> str:
    sentence = _SENTENCES.get(problem["type"])
    return sentence.format(**problem.get("ctx", {})) if sentence else str(problem["msg"])


def job_json(job: Job, attempts: list[Attempt] | None = None) -> dict[str, Any]:
    """A job as the API shows it; with `attempts`, in full."""
    shown: dict[str, Any] = {
        "job_id": job.job_id,
        "tenant_id": job.tenant_id,
        "name": job.spec.name,
        "status": job.status,
        "status_detail": job.status_detail,
        "image_uri": job.image_uri,
        "commands": list(job.commands),
        "env": dict(job.spec.env),
        "timeout_seconds": job.spec.timeout_seconds,
        "retry": job.spec.retry.to_json(),
        "provisioning": job.spec.provisioning,
        "created_at": _time(job.created_at),
        "updated_at": _time(job.updated_at),
        "scheduled_at": _time(job.scheduled_at),
        "started_at": _time(job.started_at),
        "completed_at": _time(job.completed_at),
        "retry_count": job.retry_count,
        "max_retries": job.max_retries,
        "infra_retry_count": job.infra_retry_count,
        "attempt": job.attempt,
        "error_message": job.error_message,
        "gcp_batch_job_name": job.gcp_batch_job_name,
        "version": job.version,
    }
    if attempts is not None:
        shown["attempts"] = [attempt_json(attempt) for attempt in attempts]
    return shown


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One attempt of a job."""
    return {
        "attempt": attempt.attempt,
        "gcp_batch_job_name": attempt.gcp_batch_job_name,
        "batch_uid": attempt.batch_uid,
        "exit_code": attempt.exit_code,
        "reason": attempt.reason,
        "message": attempt.message,
        "created_at": _time(attempt.created_at),
        "started_at": _time(attempt.started_at),
        "finished_at": _time(attempt.finished_at),
        "last_ignored": attempt.last_ignored,
    }


def transition_json(transition: Transition) -> dict[str, Any]:
    """One entry of the audit trail."""
    return {
        "transition_id": transition.transition_id,
        "from_status": transition.from_status,
        "to_status": transition.to_status,
        "transitioned_at": _time(transition.transitioned_at),
        "reason": transition.reason,
        "actor": transition.actor,
        "attempt": transition.attempt,
    }


def _time(value: datetime | None) -> str | None:
    """RFC 3339, UTC, microseconds: what Spanner stores."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
