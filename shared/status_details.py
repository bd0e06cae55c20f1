"""Why a job waits, or has failed: a code that programs may rely on, and a sentence for people.

Stored as one text, `code: sentence`. Standard library only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self

from shared.spec import FailureReason


class Waiting(StrEnum):
    """Why a job that has not ended stands still."""

    BACKOFF = "backoff"
    PAUSED = "paused"
    PLATFORM_FAULT = "platform_fault"
    WAITING_FOR_QUOTA = "waiting_for_quota"
    WAITING_FOR_CAPACITY = "waiting_for_capacity"
    PREPARING = "preparing"


# What is stored of a row from before there were codes has none.
UNKNOWN = "unknown"
CODES: tuple[str, ...] = tuple(dict.fromkeys([*Waiting, *FailureReason]))

# By these words of a status event Batch is known to hold a queued job back. They choose what its owner is
# told, and nothing else.
_QUOTA = ("inadequate quotas", "CODE_GCE_QUOTA_EXCEEDED")
_CAPACITY = ("CODE_GCE_ZONE_RESOURCE_POOL_EXHAUSTED", "does not have enough resources available")

# Characters of Batch's own words that are passed on.
_LONGEST_WORDS = 300


class StatusDetail(NamedTuple):
    """A code, one of `CODES`, and a sentence."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @classmethod
    def read(cls, stored: str) -> Self:
        """What is stored, also by a release that knew no codes."""
        code, separator, message = stored.partition(": ")
        return cls(code, message) if separator and code in CODES else cls(UNKNOWN, stored)


PAUSED = StatusDetail(Waiting.PAUSED, "dispatch is paused by the operator; the job starts once it is resumed")
PLATFORM_FAULT = StatusDetail(
    Waiting.PLATFORM_FAULT, "the platform cannot create Batch jobs at the moment; its operator was told"
)
PREPARING = StatusDetail(
    Waiting.PREPARING, "Batch has found capacity, prepares the machine and pulls the image"
)
NO_CAPACITY = StatusDetail(Waiting.WAITING_FOR_CAPACITY, "waiting for capacity in Batch")


def backoff(failed: FailureReason) -> StatusDetail:
    """A retry that may not start yet."""
    return StatusDetail(Waiting.BACKOFF, f"its backoff is not over; the attempt before failed: {failed}")


def why_queued(words: str) -> StatusDetail | None:
    """Why Batch keeps a job queued, by the last of its own words; None where these don't tell."""
    known = {
        Waiting.WAITING_FOR_QUOTA: (_QUOTA, "a quota of the platform's project is used up; Batch says"),
        Waiting.WAITING_FOR_CAPACITY: (_CAPACITY, "Google has no such machine free; Batch says"),
    }
    for code, (marks, sentence) in known.items():
        if any(mark in words for mark in marks):
            return StatusDetail(code, f"{sentence}: {words[:_LONGEST_WORDS]}")
    return None
