"""What the judge knows: the rows as each commit left them, and the truth about what ran in Batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from math import inf
from typing import Any, NoReturn

from shared.batch_ids import batch_id, parse_batch_id
from shared.model import JobKey
from tests.simulation.batch import BatchJob, SimulatedBatch
from tests.simulation.world import Process, Violation, World

Key = tuple[Any, ...]
Row = dict[str, Any]

FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
_PARENT = "projects/simulated/locations/us-central1"


@dataclass
class Books:
    """What was seen so far.

    Attributes:
        checks: NextCheckAt of each job, in virtual seconds.
        accepted: the jobs that a client was told of, with the idempotency key.
        cancels: the jobs that a tenant asked to cancel.
        deleted: tenants that are gone.
        gone: jobs that were deleted.
        leaving: since when each tenant is being deleted.
        final_at: since when a job is final.
        left_at: since when an attempt is PENDING no more.
        ended: since when each attempt is over.
        moved_at: when each row last moved, or went.
        saw: when a process last asked Batch for a job, by its name.
        said: what notifications said, true or forged: the uid of a Batch job, and a state.
    """

    world: World
    batch: SimulatedBatch
    checks: dict[JobKey, float | None] = field(default_factory=dict)
    rows: dict[JobKey, Row] = field(default_factory=dict)
    steps: dict[Key, Row] = field(default_factory=dict)
    attempts: dict[Key, Row] = field(default_factory=dict)
    accepted: dict[JobKey, str | None] = field(default_factory=dict)
    cancels: set[JobKey] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    gone: set[JobKey] = field(default_factory=set)
    leaving: dict[str, float] = field(default_factory=dict)
    paused_from: float = inf
    resumed_at: float = -inf
    final_at: dict[JobKey, float] = field(default_factory=dict)
    left_at: dict[tuple[JobKey, int], float] = field(default_factory=dict)
    ended: dict[Key, float] = field(default_factory=dict)
    moved_at: dict[JobKey, float] = field(default_factory=dict)
    saw: dict[tuple[Process, str], float] = field(default_factory=dict)
    said: set[tuple[str, str]] = field(default_factory=set)
    retries_due: dict[tuple[JobKey, int], datetime | None] = field(default_factory=dict)

    def truths(self, key: JobKey, attempt: int) -> list[BatchJob]:
        """Every Batch job of ours that there ever was for this attempt."""
        name = self.name(key, attempt)
        job = self.batch.jobs.get(name)
        return [*self.batch.gone.get(name, ()), *([job] if job and not job.foreign else ())]

    def taken(self, key: JobKey, attempt: int) -> bool:
        """Whether a foreign Batch job holds the name of this attempt."""
        job = self.batch.jobs.get(self.name(key, attempt))
        return job is not None and job.foreign

    def name(self, key: JobKey, attempt: int) -> str:
        """The full name of the Batch job of an attempt."""
        return _name(key, attempt)

    def fail(self, key: JobKey, what: str) -> NoReturn:
        """Say what departs from the truth.

        Raises:
            Violation: always.
        """
        raise Violation(f"job {key.job_id}: {what}")


@lru_cache(maxsize=4096)
def _name(key: JobKey, attempt: int) -> str:
    return f"{_PARENT}/jobs/{batch_id(key, attempt)}"


parsed = lru_cache(maxsize=4096)(parse_batch_id)
