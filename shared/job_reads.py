"""What tenants, and operators for them, may see of jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from shared.errors import InvalidArgument, NotFound
from shared.model import Attempt, Job, JobKey, JobStatus, Transition
from shared.pages import decode_token, encode_token
from shared.rows import Entry, Reads

# Entries of the index that one page of all tenants' jobs looks through: few of them may be asked for.
_LOOKED_THROUGH = 1000

# Bytes after which a page ends: a job may have 256 KiB. So many jobs are read at once where they are large.
_MOST_BYTES = 4 * 1024 * 1024
_FEW = 8

_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")


class JobReads:
    """Looks at jobs, with their attempts and histories.

    Args:
        reads: committed rows.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def get(self, tenant_id: str, job_id: str) -> tuple[Job, list[Attempt]]:
        """A job with its attempts.

        Raises:
            NotFound: the tenant has no such job.
        """
        job = self._own(tenant_id, job_id)
        return job, self._reads.attempts(job.key)

    def page(
        self,
        tenant_id: str | None,
        *,
        caller: str | None = None,
        status: JobStatus | None = None,
        created_after: str | None = None,
        page_size: int,
        page_token: str | None,
    ) -> tuple[list[Job], str | None]:
        """A page of the tenant's jobs, newest first, and the token of the next page; 2 RPCs.

        A page of large jobs ends where it holds about 4 MiB, and may take more RPCs.

        Of all tenants' jobs, tenant after tenant, a page before the last may be short, or empty: it looks
        through a bounded part of the index for what is asked for.

        Args:
            tenant_id: whose jobs; None is everybody's.
            caller: who asks, if not the tenant: the token holds for them only.
            status: only jobs in it.
            created_after: only jobs that are younger; RFC 3339, UTC.
            page_size: how many jobs at most.
            page_token: where to go on.

        Raises:
            InvalidArgument: the token is none of ours, or from another query or caller.
        """
        query = ("jobs", caller or tenant_id, tenant_id, status, created_after)
        prefix = [tenant_id, *([status.value] if status else [])] if tenant_id is not None else []
        after = _position(page_token, prefix, query, by_status=status is not None) if page_token else None
        # Of all tenants an old job says nothing of the next tenant's.
        if prefix and after and not _younger(after, created_after):
            return [], None
        entries, more = self._reads.job_entries(
            prefix,
            by_status=status is not None,
            after=after,
            newer_than=created_after if prefix else None,
            limit=page_size + 1 if prefix else _LOOKED_THROUGH,
        )
        taken: list[Entry] = []
        for entry in entries:
            if len(taken) == page_size:
                more = True
                break
            after = entry
            if entry.status == status and _younger(entry, created_after):
                taken.append(entry)
        jobs = self._filling([entry.key for entry in taken]) if taken else []
        if len(jobs) < len(taken):
            after, more = taken[len(jobs) - 1], True
        found = [job for job in jobs if job and status in {None, job.status}]
        if not more or after is None:
            return found, None
        return found, encode_token([part or "" for part in after.parts[len(prefix) :]], query=query)

    def _filling(self, keys: Sequence[JobKey]) -> list[Job | None]:
        """The jobs of these keys, in this order, up to the one that fills a page; None for what is gone."""
        read: dict[JobKey, tuple[Job | None, int]] = {}
        size = 0
        for key, job, its_size in self._reads.sized(keys):
            read[key] = job, its_size
            size += its_size
            if size >= _MOST_BYTES:
                # They come in another order: those that are missing are read a few at a time.
                break
        else:
            return [read[key][0] if key in read else None for key in keys]
        jobs: list[Job | None] = []
        size = 0
        for place, key in enumerate(keys):
            if key not in read:
                ahead = [other for other in keys[place:] if other not in read][:_FEW]
                found = {other: (job, its_size) for other, job, its_size in self._reads.sized(ahead)}
                read |= dict.fromkeys(ahead, (None, 0)) | found
            job, its_size = read[key]
            jobs.append(job)
            size += its_size
            if size >= _MOST_BYTES:
                break
        return jobs

    def transitions(
        self,
        tenant_id: str,
        job_id: str,
        *,
        page_size: int,
        page_token: str | None,
        caller: str | None = None,
    ) -> tuple[list[Transition], str | None]:
        """A page of a job's audit trail, oldest first, and the token of the next page.

        Raises:
            NotFound: the tenant has no such job.
            InvalidArgument: the token is none of ours, or from another query or caller.
        """
        key = self._own(tenant_id, job_id).key
        query = ("transitions", *key, caller)
        after = decode_token(page_token, query=query, size=1)[0] if page_token else None
        rows = self._reads.transitions(key, after=after, limit=page_size + 1)
        if len(rows) <= page_size:
            return rows, None
        return rows[:page_size], encode_token([rows[page_size - 1].transition_id], query=query)

    def _own(self, tenant_id: str, job_id: str) -> Job:
        job = self._reads.job(JobKey(tenant_id, job_id)) if may_exist(job_id) else None
        if job is None:
            raise NotFound.of_job()
        return job


def may_exist(job_id: str) -> bool:
    """Our ids are UUIDs; ended jobs of an adopted database may have any that fits the column."""
    return len(job_id) <= 36 and job_id.isprintable()


def _position(token: str, prefix: list[str], query: tuple[str | None, ...], *, by_status: bool) -> Entry:
    """The entry that a token names; what the query itself says of it, the token can't say otherwise."""
    parts = decode_token(token, query=query, size=3 + by_status - len(prefix))
    tenant_id, *status, created_at, job_id = [*prefix, *parts]
    if created_at:  # an adopted row may have no time
        require_time(created_at)
    return Entry(tenant_id, status[0] if status else None, created_at or None, job_id)


def require_time(text: str) -> None:
    """The time of a page token stays text, because a datetime drops nanoseconds."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        if _RFC3339.fullmatch(text):
            return
    raise InvalidArgument.of_field("page_token", "is not a token of this API")


def _younger(entry: Entry, time: str | None) -> bool:
    """Whether it was made after `time`, if there is one."""
    if time is None:
        return True
    return entry.created_at is not None and _sortable(entry.created_at) > _sortable(time)


def _sortable(time: str) -> tuple[str, str]:
    seconds, _, fraction = time.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")
