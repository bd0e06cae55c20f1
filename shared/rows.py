"""The rows of the database as values: columns, and every read that the functions do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeyRange, KeySet
from google.cloud.spanner_v1.database import Database

from shared.model import Attempt, Job, JobKey, JobStatus, Transition
from shared.semantics import LogEvent
from shared.spec import JobSpec
from shared.telemetry import emit

CHECK_SHARDS = 16
TRANSITION_ID_DIGITS = 20

# Seconds. The client would wait for an hour, the caller of a function for a minute.
READ_TIMEOUT = 10.0

# So many jobs of one moment, which one batch has, cost a page of a listing no second read.
_TIES = 100


def _column(field: str) -> str:
    return "".join(word.capitalize() for word in field.split("_"))


# Field name → column name, in the order in which rows are read.
JOB_COLUMNS: Mapping[str, str] = {field.name: _column(field.name) for field in fields(Job)}
TRANSITION_COLUMNS: Mapping[str, str] = {field.name: _column(field.name) for field in fields(Transition)}
ATTEMPT_COLUMNS: Mapping[str, str] = {field.name: _column(field.name) for field in fields(Attempt)}

# These record what we did: the database sets them to the time of the commit.
COMMIT_TIMES = frozenset({"created_at", "updated_at", "scheduled_at", "started_at", "completed_at"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A job's place in a listing.

    `created_at` is RFC 3339 text with all the digits that are stored; None where an adopted row has no time.
    `status` is None in a listing without a status.
    """

    tenant_id: str
    status: str | None
    created_at: str | None
    job_id: str

    @classmethod
    def of(cls, row: Sequence[Any]) -> Entry:
        """The entry that was read: tenant, status if it is of the index, time, job."""
        tenant_id, *status, created_at, job_id = row
        return cls(tenant_id, status[0] if status else None, _text(created_at), job_id)

    @property
    def key(self) -> JobKey:
        """The job's primary key."""
        return JobKey(self.tenant_id, self.job_id)

    @property
    def moment(self) -> list[str | None]:
        """Its key in the index."""
        return self.parts[:-1]

    @property
    def parts(self) -> list[str | None]:
        """What it is sorted by."""
        return [self.tenant_id, *([self.status] if self.status else []), self.created_at, self.job_id]

    def seen_by(self, position: Entry) -> bool:
        """Whether whoever is at `position` has passed it; it does not lie in an earlier moment."""
        return self.moment == position.moment and self.job_id <= position.job_id


def _text(at: datetime | None) -> str | None:
    if isinstance(at, DatetimeWithNanoseconds):
        return str(at.rfc3339())
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def job_from_row(row: Sequence[Any]) -> Job:
    """The job that a row of `JOB_COLUMNS` holds. What an adopted row lacks takes the field's default."""
    values = {name: value for name, value in zip(JOB_COLUMNS, row, strict=True) if value is not None}
    values["status"] = JobStatus(values["status"])
    values["commands"] = tuple(values.get("commands", ()))
    values["spec"] = JobSpec.from_json(values.get("spec"))
    values.setdefault("image_uri", "")
    return Job(**values)


def column_value(name: str, value: Any) -> Any:
    """A field of Job as Spanner takes it: a time that the database sets becomes the placeholder for it."""
    if value is None:
        return None
    if name in COMMIT_TIMES:
        return COMMIT_TIMESTAMP
    if name == "spec":
        return JsonObject(value.to_json())
    return list(value) if name == "commands" else value


def _size(value: object) -> int:
    """About how many bytes a value takes as JSON."""
    match value:
        case str():
            return len(value.encode())
        case dict():
            return sum(_size(name) + _size(part) for name, part in value.items())
        case list():
            return sum(map(_size, value))
        case _:
            return 8


class Reads:
    """Reads of committed data, each a strong single-use snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job(self, key: JobKey) -> Job | None:
        """One job; 1 RPC."""
        with self._database.snapshot() as snapshot:
            columns = list(JOB_COLUMNS.values())
            rows = list(snapshot.read("Jobs", columns, KeySet(keys=[key]), timeout=READ_TIMEOUT))
            return job_from_row(rows[0]) if rows else None

    def many(self, keys: Sequence[JobKey]) -> dict[JobKey, Job | None]:
        """Several jobs; 1 RPC. None where a row can't be understood, no entry where there is none."""
        return {key: job for key, job, _ in self.sized(keys)}

    def sized(self, keys: Sequence[JobKey]) -> Iterator[tuple[JobKey, Job | None, int]]:
        """The same as they come, in no order, each with its size in bytes: whoever has enough stops there."""
        columns = list(JOB_COLUMNS.values())
        with self._database.snapshot() as snapshot:
            for row in snapshot.read("Jobs", columns, KeySet(keys=keys), timeout=READ_TIMEOUT):
                key, job = JobKey(row[0], row[1]), None
                try:
                    job = job_from_row(row)
                except (AttributeError, KeyError, TypeError, ValueError):
                    emit(LogEvent.ROW_UNREADABLE, "a row can't be read", key=key, error=True)
                yield key, job, _size(row)

    def is_key_taken(self, tenant_id: str, idempotency_key: str | None) -> bool:
        """Whether the tenant has a job that was submitted under this key; 1 RPC."""
        return idempotency_key is not None and bool(self._under_key(tenant_id, idempotency_key))

    def job_by_idempotency_key(self, tenant_id: str, idempotency_key: str) -> Job | None:
        """The job that the tenant submitted under this key; 2 RPCs."""
        found = self._under_key(tenant_id, idempotency_key)
        return self.job(found[0]) if found else None

    def _under_key(self, tenant_id: str, idempotency_key: str) -> list[JobKey]:
        keys = KeySet(keys=[[tenant_id, idempotency_key]])
        return self._keys(keys, index="JobsByIdempotencyKey", limit=1)

    def is_any_there(self, keys: Sequence[JobKey]) -> bool:
        """Whether any of these jobs exists; 1 RPC."""
        return bool(self._keys(KeySet(keys=keys), limit=1))

    def job_entries(
        self,
        prefix: Sequence[str],
        *,
        by_status: bool = False,
        after: Entry | None = None,
        newer_than: str | None = None,
        limit: int,
    ) -> tuple[list[Entry], bool]:
        """A stretch of a listing index: each tenant's jobs (or those of each status of it), newest first.

        1 RPC, which reads `limit` entries and 100 more for the moment of `after`, however many jobs there
        are. Only where more are of that moment, it may take another.

        Args:
            prefix: what the entries begin with: nothing, a tenant, or with `by_status` a tenant and a status.
            by_status: which index.
            after: the entry after which to begin.
            newer_than: end before jobs of this time (RFC 3339, UTC); only with a prefix.
            limit: how many entries at most.

        Returns:
            The entries, at least one if there is any, and whether there may be more.
        """
        columns = ["TenantId", *(["Status"] if by_status else []), "CreatedAt", "JobId"]
        span = limit + (_TIES if after else 0)
        while True:
            with self._database.snapshot() as snapshot:
                rows = list(
                    snapshot.read(
                        "Jobs",
                        columns,
                        _stretch(prefix, after, newer_than),
                        index="JobsByStatus" if by_status else "JobsByCreatedAt",
                        limit=span,
                        timeout=READ_TIMEOUT,
                    )
                )
            read = [Entry.of(row) for row in rows]
            # A key of the index has no job id: of one moment all are read, and those that were seen dropped.
            entries = [entry for entry in read if after is None or not entry.seen_by(after)]
            if entries or len(rows) < span:
                return entries[:limit], len(rows) == span or len(entries) > limit
            span *= 8

    def job_keys(self, tenant_id: str, *, after: str | None = None, limit: int) -> list[JobKey]:
        """The tenant's jobs in the order of their ids, after the id `after`; 1 RPC."""
        start = {"start_closed": [tenant_id]} if after is None else {"start_open": [tenant_id, after]}
        return self._keys(KeySet(ranges=[KeyRange(**start, end_closed=[tenant_id])]), limit=limit)

    def live_keys(self, tenant_id: str, *, limit: int) -> list[JobKey]:
        """Jobs of the tenant that have not ended; 1 RPC, whose cost follows their number."""
        live = [status.value for status in JobStatus if not status.final]
        ranges = [KeyRange(start_closed=[tenant_id, name], end_closed=[tenant_id, name]) for name in live]
        return self._keys(KeySet(ranges=ranges), index="JobsByStatus", limit=limit)

    def _keys(self, keys: KeySet, *, index: str = "", limit: int) -> list[JobKey]:
        with self._database.snapshot() as snapshot:
            rows = snapshot.read(
                "Jobs", ["TenantId", "JobId"], keys, index=index, limit=limit, timeout=READ_TIMEOUT
            )
            return [JobKey(*row) for row in rows]

    def transitions(self, key: JobKey, *, after: str | None, limit: int) -> list[Transition]:
        """A page of a job's history, oldest first, after the transition id `after`; 1 RPC."""
        with self._database.snapshot() as snapshot:
            rows = snapshot.read(
                "JobStateTransitions",
                list(TRANSITION_COLUMNS.values()),
                KeySet(ranges=[_children(key)]),
                timeout=READ_TIMEOUT,
            )
            history = [Transition(**dict(zip(TRANSITION_COLUMNS, row, strict=True))) for row in rows]
        history.sort(key=_order)
        start = next((i + 1 for i, row in enumerate(history) if row.transition_id == after), 0)
        return history[start : start + limit]

    def attempts(self, key: JobKey) -> list[Attempt]:
        """Every attempt of a job that got as far as Batch, or ended before; 1 RPC."""
        return self._attempts(KeySet(ranges=[_children(key)]))

    def attempt(self, key: JobKey, attempt: int) -> Attempt | None:
        """One attempt of a job, None where nothing was recorded of it; 1 RPC."""
        return next(iter(self._attempts(KeySet(keys=[[*key, attempt]]))), None)

    def _attempts(self, keys: KeySet) -> list[Attempt]:
        columns = list(ATTEMPT_COLUMNS.values())
        with self._database.snapshot() as snapshot:
            rows = snapshot.read("JobAttempts", columns, keys, timeout=READ_TIMEOUT)
            return [Attempt(**dict(zip(ATTEMPT_COLUMNS, row, strict=True))) for row in rows]

    def due(self, now: datetime, limit: int) -> list[JobKey]:
        """Jobs whose check time has come, about `limit` at most, the longest due first.

        1 RPC, whose cost follows what is due, not what is stored. Only where more is due than the limit,
        one for each shard as well: a read gives the rows in the order of the index, shard by shard, and the
        last shard must get its turn too.
        """
        shards = range(CHECK_SHARDS)
        due = self._due(now, shards, limit)
        if len(due) >= limit:
            due = [row for shard in shards for row in self._due(now, [shard], -(-limit // CHECK_SHARDS))]
        return [key for _, key in sorted(due)]

    def _due(self, now: datetime, shards: Iterable[int], limit: int) -> list[tuple[datetime, JobKey]]:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        ranges = [KeyRange(start_closed=[shard, epoch], end_closed=[shard, now]) for shard in shards]
        with self._database.snapshot() as snapshot:
            rows: Iterable[tuple[datetime, str, str]] = snapshot.read(
                "Jobs",
                ["NextCheckAt", "TenantId", "JobId"],
                KeySet(ranges=ranges),
                index="JobsByNextCheck",
                limit=limit,
                timeout=READ_TIMEOUT,
            )
            return [(at, JobKey(tenant_id, job_id)) for at, tenant_id, job_id in rows]


def _stretch(prefix: Sequence[str], after: Entry | None, newer_than: str | None) -> KeySet:
    if not prefix and after is None:
        return KeySet(all_=True)
    start = after.moment if after else list(prefix)
    if newer_than is not None:
        return KeySet(ranges=[KeyRange(start_closed=start, end_open=[*prefix, newer_than])])
    return KeySet(ranges=[KeyRange(start_closed=start, end_closed=list(prefix))])


def _children(key: JobKey) -> KeyRange:
    return KeyRange(start_closed=list(key), end_closed=list(key))


def is_ours(row: Transition) -> bool:
    """Whether this system wrote it: rows of an adopted database have random ids."""
    return len(row.transition_id) == TRANSITION_ID_DIGITS and row.transition_id.isdigit()


def _order(row: Transition) -> tuple[bool, datetime, str]:
    """Rows of an adopted database have random ids, and perhaps no time: they come first, by their time."""
    ours = is_ours(row)
    at = None if ours else row.transitioned_at
    return ours, at or datetime.min.replace(tzinfo=UTC), row.transition_id
