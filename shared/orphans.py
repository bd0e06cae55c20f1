"""Orphans: Batch jobs of this deployment that run for nobody."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from shared.batch import BatchRecord, BatchState, our_labels
from shared.batch_ids import parse_batch_id
from shared.config import Settings
from shared.follow import Batch
from shared.model import JobKey
from shared.rows import Reads
from shared.semantics import LogEvent
from shared.telemetry import emit

# More orphans than this in one sweep are likelier a wrong database or a wrong deployment than orphans.
_MOST_CANCELLED = 20

# 200 Batch jobs each: with a few seconds for them, time mostly ends first.
MOST_PAGES = 30

_MOST_FAILURES = 3

# In the order in which a Batch job goes through them: one that moves on during the sweep is met again.
_RUNNING = (BatchState.QUEUED, BatchState.SCHEDULED, BatchState.RUNNING)


@dataclass(slots=True)
class _Sweep:
    """A sweep under way.

    Attributes:
        states: those of Batch jobs that are still to be listed.
        page_token: where the listing of the first of them goes on.
        found: names of orphans, to be cancelled at the end.
        failures: calls that failed in a row.
    """

    states: deque[BatchState] = field(default_factory=lambda: deque(_RUNNING))
    page_token: str = ""
    found: dict[str, BatchRecord] = field(default_factory=dict)
    failures: int = 0


class Orphans:
    """Cancels Batch jobs with this deployment's label whose row is missing, or not live at that attempt.

    Args:
        reads: committed rows.
        batch: GCP Batch.
        settings: the deployment's.
        now: the clock.
        most_pages: how many pages of Batch's listing one tick reads.
    """

    def __init__(
        self,
        *,
        reads: Reads,
        batch: Batch,
        settings: Settings,
        now: Callable[[], datetime],
        most_pages: int = MOST_PAGES,
    ) -> None:
        self._reads = reads
        self._batch = batch
        self._settings = settings
        self._now = now
        self._most_pages = most_pages
        self._sweep: _Sweep | None = None
        self._turn = Lock()

    @property
    def under_way(self) -> bool:
        """Whether a sweep has begun that is not at its end."""
        return self._sweep is not None

    def sweep(self, *, until: datetime) -> int:
        """Look through the project's Batch jobs that run or may yet, in every region, from where it stopped.

        A listing that is too long for one tick goes on with the next one, page after page, or what stands
        at its end would never be reached. Where it stopped is known to this process alone: if that ends,
        the next hour begins anew. A call that fails is made again with the next tick, three times in all.

        Args:
            until: when no further call is begun.

        Returns:
            How many were cancelled now. Where more than 20 are orphans, none is: an alert is logged instead.

        Raises:
            Unavailable: Batch did not answer.
        """
        if not self._turn.acquire(blocking=False):
            return 0  # the tick before is still at it
        try:
            return self._go_on(until)
        finally:
            self._turn.release()

    def _go_on(self, until: datetime) -> int:
        sweep = self._sweep = self._sweep or _Sweep()
        try:
            # First all, then any: what is not wanted now won't be wanted a moment later either.
            self._look(sweep, until)
            if len(sweep.found) > _MOST_CANCELLED:
                emit(
                    LogEvent.ORPHANS_LEFT_ALONE,
                    "more than %d orphans in Batch: all are left alone, an operator must look",
                    _MOST_CANCELLED,
                    batch_job=next(iter(sweep.found)),
                )
                self._sweep = None
                return 0
            cancelled = self._cancel(sweep.found, until) if not sweep.states else 0
        except Exception:
            sweep.failures += 1
            if sweep.failures >= _MOST_FAILURES:
                self._sweep = None
            raise
        sweep.failures = 0
        if sweep.states or sweep.found:
            emit(LogEvent.SWEEP_CUT_SHORT, "the sweep for orphans is long: the next tick goes on with it")
        else:
            self._sweep = None
        return cancelled

    def _look(self, sweep: _Sweep, until: datetime) -> None:
        """Read pages until there are no more, or it is enough for this tick."""
        everywhere = f"projects/{self._settings.project}/locations/-"
        for _ in range(self._most_pages):
            if not sweep.states or len(sweep.found) > _MOST_CANCELLED or self._now() > until:
                return
            page = self._batch.list_jobs(
                everywhere,
                deployment=self._settings.deployment,
                state=sweep.states[0],
                page_token=sweep.page_token,
            )
            sweep.found |= {record.ref.name: record for record in self._orphans(page.records)}
            sweep.page_token = page.next_page_token
            if not page.next_page_token:
                sweep.states.popleft()

    def _cancel(self, found: dict[str, BatchRecord], until: datetime) -> int:
        """Cancel and forget what was found, while there is time."""
        cancelled = 0
        while found and self._now() <= until:
            name = next(iter(found))
            # One that can't be cancelled must not stand before the others: the next hour finds it again.
            del found[name]
            key, attempt = parse_batch_id(name)
            emit(
                LogEvent.ORPHAN_CANCELLED,
                "an orphan in Batch is cancelled",
                key=key,
                attempt=attempt,
                batch_job=name,
            )
            self._batch.cancel(name)
            cancelled += 1
        return cancelled

    def _orphans(self, records: Sequence[BatchRecord]) -> Iterator[BatchRecord]:
        young = self._now() - self._settings.timing.orphan_age
        found: dict[tuple[JobKey, int], BatchRecord] = {}
        for record in records:
            old = record.created_at is not None and record.created_at < young
            if old and record.state in _RUNNING and (owner := self._owner(record)):
                found[owner] = record
        if not found:
            return
        # Read after the listing: so a job that is listed and not wanted now will not be wanted later.
        jobs = self._reads.many(sorted({key for key, _ in found}))
        for (key, attempt), record in found.items():
            if key not in jobs or ((job := jobs[key]) and (job.status.final or job.attempt != attempt)):
                yield record

    def _owner(self, record: BatchRecord) -> tuple[JobKey, int] | None:
        """The job and attempt that the Batch job is of, by its id and by its labels."""
        try:
            key, attempt = parse_batch_id(record.ref.name)
        except ValueError:
            why = "a Batch job has our label and a foreign name"
            emit(LogEvent.BATCH_JOB_FOREIGN, why, batch_job=record.ref.name)
            return None
        if not our_labels(key, attempt, self._settings).items() <= record.labels.items():
            why = "a Batch job's labels are not its name's"
            emit(LogEvent.BATCH_JOB_FOREIGN, why, batch_job=record.ref.name)
            return None
        return key, attempt
