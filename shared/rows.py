"""The rows of the database as values: columns, and every read that the functions do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeyRange, KeySet, param_types
from google.cloud.spanner_v1.database import Database

from shared.model import Attempt, Job, JobKey, JobSpec, JobStatus, Transition

_logger = logging.getLogger(__name__)

CHECK_SHARDS = 16
TRANSITION_ID_DIGITS = 20

# Seconds. The client would wait for an hour, the caller of a function for a minute.
READ_TIMEOUT = 10.0


def _column(field: str) -> str:
    return "".join(word.capitalize() for word in field.split("_"))


# Field name → column name, in the order in which rows are read.
JOB_COLUMNS: Mapping[str, str] = {field.name: _column(field.name) for field in fields(Job)}
TRANSITION_COLUMNS: Mapping[str, str] = {field.name: _column(field.name) for field in fields(Transition)}
ATTEMPT_COLUMNS: Mapping[str, str] = {field.name: _column(field.name) for field in fields(Attempt)}

# These record what we did: the database sets them to the time of the commit.
COMMIT_TIMES = frozenset({"created_at", "updated_at", "scheduled_at", "started_at", "completed_at"})


@dataclass(frozen=True, slots=True)
class Position:
    """Where a listing stands: after this job, in the order newest first.

    `created_at` is RFC 3339 text with all the digits that are stored; None where an adopted row has no time.
    """

    created_at: str | None
    job_id: str

    @classmethod
    def of(cls, job: Job) -> Position:
        """The position of a job that was read."""
        at = job.created_at
        if isinstance(at, DatetimeWithNanoseconds):
            return cls(at.rfc3339(), job.job_id)
        return cls(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else None, job.job_id)


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
        columns = list(JOB_COLUMNS.values())
        with self._database.snapshot() as snapshot:
            rows = list(snapshot.read("Jobs", columns, KeySet(keys=keys), timeout=READ_TIMEOUT))
        found: dict[JobKey, Job | None] = {}
        for row in rows:
            key = JobKey(row[0], row[1])
            try:
                found[key] = job_from_row(row)
            except (AttributeError, KeyError, TypeError, ValueError):
                _logger.exception("a row can't be read", extra={"job": key.job_id})
                found[key] = None
        return found

    def job_by_idempotency_key(self, tenant_id: str, idempotency_key: str) -> Job | None:
        """The job that the tenant submitted under this key; 2 RPCs."""
        keys = KeySet(keys=[[tenant_id, idempotency_key]])
        with self._database.snapshot() as snapshot:
            found = list(
                snapshot.read("Jobs", ["JobId"], keys, index="JobsByIdempotencyKey", timeout=READ_TIMEOUT)
            )
        return self.job(JobKey(tenant_id, found[0][0])) if found else None

    def jobs(
        self, tenant_id: str, *, status: JobStatus | None, after: Position | None, limit: int
    ) -> list[Job]:
        """A page of the tenant's jobs, newest first; 1 RPC."""
        index = "JobsByStatus" if status else "JobsByCreatedAt"
        where = ["TenantId = @tenant"]
        params: dict[str, Any] = {"tenant": tenant_id, "limit": limit}
        types = {"tenant": param_types.STRING, "limit": param_types.INT64}
        if status:
            where.append("Status = @status")
            params["status"], types["status"] = status.value, param_types.STRING
        if after:
            params["job"], types["job"] = after.job_id, param_types.STRING
            if after.created_at is None:
                where.append("CreatedAt IS NULL AND JobId > @job")
            else:
                earlier = "CreatedAt < @created OR CreatedAt IS NULL"
                where.append(f"({earlier} OR (CreatedAt = @created AND JobId > @job))")
                params["created"], types["created"] = after.created_at, param_types.TIMESTAMP
        # Column and index names are constants of this module; every value is a parameter.
        sql = (
            f"SELECT {', '.join(JOB_COLUMNS.values())} FROM Jobs@{{FORCE_INDEX={index}}} "  # noqa: S608
            f"WHERE {' AND '.join(where)} ORDER BY CreatedAt DESC, JobId LIMIT @limit"
        )
        with self._database.snapshot() as snapshot:
            return [
                job_from_row(row)
                for row in snapshot.execute_sql(sql, params=params, param_types=types, timeout=READ_TIMEOUT)
            ]

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
        with self._database.snapshot() as snapshot:
            rows = snapshot.read(
                "JobAttempts",
                list(ATTEMPT_COLUMNS.values()),
                KeySet(ranges=[_children(key)]),
                timeout=READ_TIMEOUT,
            )
            return [Attempt(**dict(zip(ATTEMPT_COLUMNS, row, strict=True))) for row in rows]

    def attempt(self, key: JobKey, attempt: int) -> Attempt | None:
        """One attempt of a job, None where nothing was recorded of it; 1 RPC."""
        keys = KeySet(keys=[[*key, attempt]])
        with self._database.snapshot() as snapshot:
            rows = list(
                snapshot.read("JobAttempts", list(ATTEMPT_COLUMNS.values()), keys, timeout=READ_TIMEOUT)
            )
            return Attempt(**dict(zip(ATTEMPT_COLUMNS, rows[0], strict=True))) if rows else None

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


def _children(key: JobKey) -> KeyRange:
    return KeyRange(start_closed=list(key), end_closed=list(key))


def _order(row: Transition) -> tuple[bool, datetime, str]:
    """Rows of an adopted database have random ids, and perhaps no time: they come first, by their time."""
    ours = len(row.transition_id) == TRANSITION_ID_DIGITS and row.transition_id.isdigit()
    at = None if ours else row.transitioned_at
    return ours, at or datetime.min.replace(tzinfo=UTC), row.transition_id
