"""Whether a database keeps the invariants of DESIGN §3, as far as data can show them.

Jobs are read in the order of their keys, in pages. The rows of a page, its jobs with their audit trails and
attempts, are read at one time of the database's own, so that a job that changes meanwhile is seen either
before the change or after it: a database in use gives no false alarm. No page depends on another. So memory
does not grow with the database, and a check may take longer than Spanner keeps old versions (an hour).

What concerns two jobs is left to the database's own unique indexes, and to the names of Batch jobs: they are
derived from the key, so no two jobs have one. The same BatchUid is looked for within a job only: to find it
in any two would take a sort of the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from google.cloud.spanner_v1 import KeyRange, KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.snapshot import Snapshot

from jennah.operations.history import violations
from shared.config import Timing
from shared.model import Attempt, JobKey, Transition
from shared.rows import ATTEMPT_COLUMNS, JOB_COLUMNS, TRANSITION_COLUMNS, job_from_row

PAGE = 200
"""Jobs that are held in memory at once. One may have 256 KiB of environment."""

KEYS = 10_000
"""Keys that are read at once: a read with a limit costs the emulator as much as one without."""

OVERDUE = timedelta(minutes=15)
"""No check is so late while reconciliation runs and keeps up."""

_READ_TIMEOUT = 60.0

Row = Sequence[Any]


class Violation(NamedTuple):
    """One thing that is wrong with one job."""

    tenant_id: str
    job_id: str
    violation: str


@dataclass(slots=True)
class Figures:
    """How much was read, and what was found. `overdue`: jobs whose check should have been made long ago."""

    jobs: int = 0
    transitions: int = 0
    attempts: int = 0
    violations: int = 0
    damaged_jobs: int = 0
    overdue: int = 0


@dataclass
class Check:
    """One reading of a database, which judges every job in it.

    Attributes:
        database: with the current schema.
        now: the clock: see `clock_of`.
        timing: how far ahead the functions plan.
        tenant_id: only this tenant's jobs; None: everybody's.
        page: how many jobs are read at once.
        keys: how many jobs' keys are.
        figures: what was read and found so far.
    """

    database: Database
    now: Callable[[], datetime]
    timing: Timing
    tenant_id: str | None = None
    page: int = PAGE
    keys: int = KEYS
    figures: Figures = field(default_factory=Figures)

    def violations(self, progress: Callable[[Figures], object] = lambda _: None) -> Iterator[Violation]:
        """What is wrong, in the order of the jobs' keys; `progress` is told the figures after each page.

        Raises:
            google.api_core.exceptions.NotFound: a table or a column is not there.
        """
        for keys in self._keys():
            these = KeyRange(start_closed=list(keys[0]), end_closed=list(keys[-1]))
            with self.database.snapshot(multi_use=True) as snapshot:
                page = _Page.read(snapshot, these)
            for row in page.jobs:
                key = JobKey(row[0], row[1])
                found = self._judge(row, page.transitions.get(key, []), page.attempts.get(key, []))
                self.figures.violations += len(found)
                self.figures.damaged_jobs += bool(found)
                yield from (Violation(*key, what) for what in found)
            progress(self.figures)

    def _keys(self) -> Iterator[list[JobKey]]:
        """The keys of all jobs, in pages; a job that is submitted meanwhile may be left out."""
        # A key that is a prefix stands for all that it begins, and an empty one for the whole table.
        end = [self.tenant_id] if self.tenant_id else []
        rest = KeyRange(start_closed=[self.tenant_id or ""], end_closed=end)
        while True:
            with self.database.snapshot() as snapshot:
                rows = _read(snapshot, "Jobs", ("TenantId", "JobId"), rest, limit=self.keys)
                keys = [JobKey(*row) for row in rows]
            yield from (keys[start : start + self.page] for start in range(0, len(keys), self.page))
            if len(keys) < self.keys:
                return
            rest = KeyRange(start_open=list(keys[-1]), end_closed=end)

    def _judge(self, row: Row, history: list[Row], attempts: list[Row]) -> list[str]:
        self.figures.jobs += 1
        self.figures.transitions += len(history)
        self.figures.attempts += len(attempts)
        try:
            job = job_from_row(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return [f"its row can't be understood: {error!r}"]
        now = self.now()
        if job.next_check_at is not None and now - job.next_check_at > OVERDUE:
            self.figures.overdue += 1
        return violations(
            job,
            [Transition(**dict(zip(TRANSITION_COLUMNS, values, strict=True))) for values in history],
            [Attempt(**dict(zip(ATTEMPT_COLUMNS, values, strict=True))) for values in attempts],
            now=now,
            timing=self.timing,
        )


def clock_of(database: Database) -> Callable[[], datetime]:
    """The database's clock, by the one of this machine, which may be set as it likes; 1 RPC, now."""
    with database.snapshot() as snapshot:
        [[at]] = snapshot.execute_sql("SELECT CURRENT_TIMESTAMP()", timeout=_READ_TIMEOUT)
    ahead: timedelta = at - datetime.now(UTC)
    return lambda: datetime.now(UTC) + ahead


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows of some jobs that follow each other, all of one time; those of history and attempts by job."""

    jobs: list[Row]
    transitions: Mapping[JobKey, list[Row]]
    attempts: Mapping[JobKey, list[Row]]

    @classmethod
    def read(cls, snapshot: Snapshot, these: KeyRange) -> _Page:
        """The jobs of a range of keys; 3 RPCs."""
        return cls(
            list(_read(snapshot, "Jobs", JOB_COLUMNS.values(), these)),
            _by_job(_read(snapshot, "JobStateTransitions", _with_key(TRANSITION_COLUMNS), these)),
            _by_job(_read(snapshot, "JobAttempts", _with_key(ATTEMPT_COLUMNS), these)),
        )


def _with_key(columns: Mapping[str, str]) -> list[str]:
    return ["TenantId", "JobId", *columns.values()]


def _by_job(rows: Iterable[Row]) -> Mapping[JobKey, list[Row]]:
    return {
        key: [row[2:] for row in group] for key, group in groupby(rows, lambda row: JobKey(row[0], row[1]))
    }


def _read(
    snapshot: Snapshot, table: str, columns: Iterable[str], keys: KeyRange, *, limit: int = 0
) -> Iterable[Row]:
    """The rows in the order of their keys; `limit` 0: all of them."""
    rows: Iterable[Row] = snapshot.read(
        table, list(columns), KeySet(ranges=[keys]), limit=limit, timeout=_READ_TIMEOUT
    )
    return rows
