"""What may happen to a job. Names are past tense; each event says which attempt it is about.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.spec import FailureReason


@dataclass(frozen=True, slots=True)
class BatchRef:
    """A Batch job: its full resource name and the uid that Batch gave it."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `exit_code` is the container's or Batch's own (50000 and up)."""

    reason: FailureReason
    message: str
    exit_code: int | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The tenant's request was accepted."""

    attempt: int = 1
    reason: str = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """The Batch job of this attempt exists."""

    attempt: int
    batch: BatchRef
    reason: str = "Batch job created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """No Batch job can be made for this job: asking again would change nothing."""

    attempt: int
    failure: Failure

    @property
    def reason(self) -> str:
        """For the audit trail."""
        return str(self.failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Batch runs the attempt. `confirmed`: read from Batch itself, not only from a notification."""

    attempt: int
    batch: BatchRef
    confirmed: bool
    reason: str = "running in Batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """Batch's own record says that the attempt succeeded. Times are Batch's."""

    attempt: int
    batch: BatchRef
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = "succeeded in Batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed:
    """Batch's own record, or its absence, says that the attempt failed. `ran`: it was RUNNING before."""

    attempt: int
    batch: BatchRef
    failure: Failure
    ran: bool
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def reason(self) -> str:
        """For the audit trail."""
        return str(self.failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Somebody wants the job stopped, or stopped it in Batch.

    `attempt` None: whichever attempt is current. `batch` is set where Batch's record shows the end, so that
    nothing is left to stop; the times are Batch's.
    """

    reason: str
    attempt: int | None = None
    batch: BatchRef | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


Event = Submitted | Scheduled | Rejected | Started | Succeeded | AttemptFailed | Cancelled
