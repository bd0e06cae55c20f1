"""Errors that a caller can act on, each with its HTTP status and its name in Google's error model (AIP-193).

Whatever is raised that does not stand here is internal: it is logged and answered as 500 without its text.
Standard library only.
"""

from __future__ import annotations

from typing import Any, ClassVar


class JennahError(Exception):
    """An error whose message may be shown to whoever caused it.

    Attributes:
        http_status: the HTTP status that answers it.
        code: its canonical name, as in `google.rpc.Code`.
        retry_after: in how many seconds the same may succeed; None where waiting helps nothing.
        details: machine-readable particulars, e.g. `{"field": "commands", "reason": "too long"}`.
    """

    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"
    retry_after: int | None = None

    def __init__(self, message: str, *details: dict[str, Any]) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidArgument(JennahError):
    """The request itself is wrong, whatever the state of the system."""

    http_status, code = 400, "INVALID_ARGUMENT"

    @classmethod
    def of_field(cls, field: str, problem: str) -> InvalidArgument:
        """Name the one field that is wrong, and what is wrong with it."""
        return cls(f"{field}: {problem}", {"field": field, "reason": problem})

    def inside(self, field: str) -> InvalidArgument:
        """The same, where its field is part of another."""
        details = ({**detail, "field": f"{field}.{detail['field']}"} for detail in self.details)
        return InvalidArgument(f"{field}.{self.message}", *details)


class MalformedEvent(InvalidArgument):
    """An event that no redelivery can repair: bad envelope, base64, JSON, ids or attributes."""


class Unauthenticated(JennahError):
    """No token, or one that does not verify."""

    http_status, code = 401, "UNAUTHENTICATED"


class PermissionDenied(JennahError):
    """A verified identity that nothing admits, or whose limit is 0."""

    http_status, code = 403, "PERMISSION_DENIED"


class NotFound(JennahError):
    """Nothing by that name that this caller may see. The message never says which of the two it is."""

    http_status, code = 404, "NOT_FOUND"

    @classmethod
    def of_job(cls) -> NotFound:
        """One text for missing, foreign and malformed ids: an answer must not tell which of them it was."""
        return cls("There is no such job.")


class MethodNotAllowed(JennahError):
    """The path exists, the method on it does not."""

    http_status, code = 405, "UNIMPLEMENTED"


class Conflict(JennahError):
    """The idempotency key was used with another body."""

    http_status, code = 409, "ALREADY_EXISTS"


class FailedPrecondition(JennahError):
    """The job's state does not allow what was asked, or a limit of the tenant never does."""

    http_status, code = 409, "FAILED_PRECONDITION"


class PayloadTooLarge(JennahError):
    """The body is over the documented limit."""

    http_status, code = 413, "INVALID_ARGUMENT"


class ResourceExhausted(JennahError):
    """A limit of the tenant is reached; the details name it."""

    http_status, code = 429, "RESOURCE_EXHAUSTED"

    def __init__(self, limit: str, retry_after: int, message: str) -> None:
        super().__init__(message, {"limit": limit})
        self.retry_after = retry_after


class Unavailable(JennahError):
    """Could not be done now; the same request may succeed later.

    Pub/Sub redelivers, with backoff.
    """

    http_status, code = 503, "UNAVAILABLE"
    retry_after = 1


class SettingsError(Exception):
    """A setting is missing or wrong. The message is one sentence with the remedy."""
