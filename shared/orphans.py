"""Orphans: Batch jobs of this deployment that run for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

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

# In the order in which a Batch job goes through them: one that moves on during the sweep is met again.
_RUNNING = (BatchState.QUEUED, BatchState.SCHEDULED, BatchState.RUNNING)


class Orphans:
    """Cancels Batch jobs with this deployment's label whose row is missing, or not live at that attempt.

    Args:
        reads: committed rows.
        batch: GCP Batch.
        settings: the deployment's.
        now: the clock.
    """

    def __init__(
        self, *, reads: Reads, batch: Batch, settings: Settings, now: Callable[[], datetime]
    ) -> None:
        self._reads = reads
        self._batch = batch
        self._settings = settings
        self._now = now

    def sweep(self, *, until: datetime) -> int:
        """Look through the project's Batch jobs that run or may yet, in every region. Ends by `until`.

        Returns:
            How many were cancelled. Where more than 20 are orphans, none is: an alert is logged instead.
            Where time runs out, those that were seen.

        Raises:
            Unavailable: Batch did not answer.
        """
        # First all, then any: what is not wanted now won't be wanted a moment later either.
        found: dict[str, BatchRecord] = {}
        for records in self._pages():
            found |= {record.ref.name: record for record in self._orphans(records)}
            if len(found) > _MOST_CANCELLED:
                emit(
                    LogEvent.ORPHANS_LEFT_ALONE,
                    "more than %d orphans in Batch: all are left alone, an operator must look",
                    _MOST_CANCELLED,
                    batch_job=next(iter(found)),
                )
                return 0
            if self._now() > until:
                emit(
                    LogEvent.SWEEP_CUT_SHORT,
                    "the sweep for orphans ran out of time; the next one is in an hour",
                )
                break
        for name in found:
            key, attempt = parse_batch_id(name)
            emit(
                LogEvent.ORPHAN_CANCELLED,
                "an orphan in Batch is cancelled",
                key=key,
                attempt=attempt,
                batch_job=name,
            )
            self._batch.cancel(name)
        return len(found)

    def _pages(self) -> Iterator[Sequence[BatchRecord]]:
        everywhere = f"projects/{self._settings.project}/locations/-"
        for state in _RUNNING:
            token: str | None = ""
            while token is not None:
                page = self._batch.list_jobs(
                    everywhere, deployment=self._settings.deployment, state=state, page_token=token
                )
                yield page.records
                token = page.next_page_token or None

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
