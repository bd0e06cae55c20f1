"""Batch's records of many jobs, read page by page instead of one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shared.batch import BatchRecord, batch_name
from shared.config import Settings
from shared.errors import Unavailable
from shared.follow import Batch
from shared.model import Job
from shared.semantics import LogEvent
from shared.telemetry import emit

# With so few jobs of one parent, GetJob for each is cheaper than pages of jobs that nobody asked for.
FEW = 20
_MOST_PAGES = 10


@dataclass(slots=True)
class _Listing:
    """What was read of one parent so far, the youngest first."""

    records: dict[str, BatchRecord] = field(default_factory=dict)
    pages: int = 0
    page_token: str = ""
    oldest: datetime | None = None
    ended: bool = False


class Listings:
    """Listings of one tick. What they don't show must be asked for: absence from a page proves nothing.

    Args:
        batch: GCP Batch.
        settings: the deployment's.
        now: the clock.
        few: with no more jobs of one parent than this, none is listed.
    """

    def __init__(
        self, batch: Batch, settings: Settings, *, now: Callable[[], datetime], few: int = FEW
    ) -> None:
        self._batch = batch
        self._settings = settings
        self._now = now
        self._few = few
        self._of_parent: defaultdict[str, _Listing] = defaultdict(_Listing)

    def expect(self, jobs: Sequence[Job], *, until: datetime) -> None:
        """Read as many pages as these jobs need and are worth, none after `until`.

        A Batch that does not answer ends it.
        """
        parents: defaultdict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            parents[batch_name(job).rpartition("/jobs/")[0]].append(job)
        for parent, expected in parents.items():
            if len(expected) > self._few:
                self._read(parent, expected, until)

    def record(self, job: Job) -> BatchRecord | None:
        """What a listing showed of the Batch job that the row knows; None: ask for it."""
        name = batch_name(job)
        listing = self._of_parent.get(name.rpartition("/jobs/")[0])
        record = listing.records.get(_id(name)) if listing else None
        return record if record is not None and record.ref.uid == job.batch_uid else None

    def _read(self, parent: str, expected: Sequence[Job], until: datetime) -> None:
        listing = self._of_parent[parent]
        names = {_id(batch_name(job)) for job in expected}
        # A Batch job is made before its row says so, by less than the time in which one may still appear.
        since = min((job.scheduled_at for job in expected if job.scheduled_at), default=None)
        enough = since - self._settings.timing.settle if since else None
        while not listing.ended and not names <= listing.records.keys() and self._now() < until:
            if enough and listing.oldest and listing.oldest < enough:
                return
            try:
                page = self._batch.list_jobs(
                    parent, deployment=self._settings.deployment, page_token=listing.page_token
                )
            except Unavailable as error:
                emit(LogEvent.BATCH_NOT_LISTED, "jobs of %s are not listed: %s", parent, error)
                listing.ended = True
                return
            # Names may show the project by its number: within one parent, the id is enough.
            listing.records.update((_id(record.ref.name), record) for record in page.records)
            listing.pages += 1
            listing.page_token = page.next_page_token
            listing.oldest = page.records[-1].created_at if page.records else listing.oldest
            listing.ended = not page.next_page_token or listing.pages >= _MOST_PAGES


def _id(name: str) -> str:
    return name.rpartition("/")[2]
