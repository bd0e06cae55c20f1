"""What one tick of reconciliation has done so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from shared.listing import Listings
from shared.model import Job, JobKey

CHUNK = 100
"""How many rows are held in memory: one may have 256 KiB."""


@dataclass(slots=True)
class Round:
    """The counts of one tick, and its bounds.

    Attributes:
        end: when no further check is begun.
        before: when the tick before this one was about to come.
    """

    end: datetime
    before: datetime
    listings: Listings
    looked: int = 0
    checks: int = 0
    batch_failures: Counter[str] = field(default_factory=Counter)  # by parent: one may be down alone
    failed: int = 0
    published: int = 0
    publish_failures: int = 0
    over_cap: int = 0
    overdue: float = 0.0  # seconds, of the longest due
    seen: set[JobKey] = field(default_factory=set)

    def is_left_over(self, job: Job) -> bool:
        """Whether the tick before may have ended in the middle of this job's check.

        Such a job gets its next check before it is looked at, and so does each that stands near it, as
        nobody can tell which it was: if it kills this tick as well, the next delivery goes on with the
        others, and this one comes back no sooner than usual. What that tick had finished is written, chunk
        by chunk, so that only the first chunk of this one is under suspicion.
        """
        return self.looked <= CHUNK and job.next_check_at is not None and job.next_check_at <= self.before
