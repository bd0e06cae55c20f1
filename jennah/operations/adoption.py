"""Taking over the rows of a database that was in use before Jennah's own migrations.

Such rows have Version 0: every row that the platform writes has Version 1 or more. A job that is not final
and has no NextCheckAt was not taken over yet: the work can stop anywhere, be repeated, and run beside itself.

This is the one place outside `shared/transitions.py` that writes a job's status. A job that still waits from
before is FAILED, unless it shall be resumed, because nobody knows whether its submitter still wants it. One
that runs and names no Batch job is FAILED always: it can't be followed, and to run it again is not safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.cloud import spanner
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.transaction import Transaction

from jennah.operations.sql import SchemaError

PREDATES = "predates this system"

BATCH_JOB_NAME = r"projects/[^/\s]+/locations/[^/\s]+/jobs/[^/\s]+"
"""A Batch job's full name, as a regular expression of Python and of GoogleSQL."""

_PAGE = 500
"""Jobs in one commit: about 30 mutations each with the index entries, of Spanner's 80,000."""

_NOT_TAKEN_OVER = """
FROM Jobs
WHERE Version = 0 AND NextCheckAt IS NULL AND Status IN ('PENDING', 'SCHEDULED', 'RUNNING')
"""

_COLUMNS = (
    "TenantId", "JobId", "Status", "RetryCount", "GcpBatchJobName", "ScheduledAt",
    "Version", "Attempt", "NextCheckAt",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adopted:
    """How many jobs were taken over: live ones go on, others were failed."""

    live: int = 0
    failed: int = 0


def adopt(
    database: Database, *, batch_parent: str | None, resume_pending: bool, progress: Callable[[str], None]
) -> Adopted:
    """Give every job from before what the platform needs to follow it, and change no other column.

    A SCHEDULED or RUNNING job gets Attempt = RetryCount + 1, BatchParent (of its own Batch job's name), a row
    in JobAttempts, and is checked at once; when it names no Batch job it is FAILED, with an audit row. So is
    a PENDING job, or with `resume_pending` it becomes due now, and reconciliation dispatches it, in
    `batch_parent` if it names no Batch job.

    Raises:
        SchemaError: there are such jobs and no `batch_parent`.
    """
    with database.snapshot() as snapshot:
        [(total,)] = snapshot.execute_sql(f"SELECT COUNT(*) {_NOT_TAKEN_OVER}")
    if total == 0:
        return Adopted()
    if batch_parent is None:
        raise SchemaError(
            f"{total} jobs are to be taken over: say in which Batch project and region they run."
        )
    live = failed = 0
    for keys in _pages(database):
        page = database.run_in_transaction(
            _adopt_page, keys, batch_parent, resume_pending=resume_pending, default_retry_delay=0.1
        )
        live, failed = live + page.live, failed + page.failed
        progress(f"took over {live + failed} of {total} jobs")
    return Adopted(live, failed)


def _pages(database: Database) -> Iterator[list[list[str]]]:
    """Keys of the jobs that are not taken over yet, in the order of their keys."""
    after: list[str] = ["", ""]
    while True:
        with database.snapshot() as snapshot:
            keys = list(
                snapshot.execute_sql(
                    f"SELECT TenantId, JobId {_NOT_TAKEN_OVER} "
                    "AND (TenantId > @tenant OR (TenantId = @tenant AND JobId > @job)) "
                    f"ORDER BY TenantId, JobId LIMIT {_PAGE}",
                    params={"tenant": after[0], "job": after[1]},
                    param_types={"tenant": spanner.param_types.STRING, "job": spanner.param_types.STRING},
                )
            )
        if not keys:
            return
        yield keys
        after = keys[-1]


def _adopt_page(
    transaction: Transaction, keys: list[list[str]], batch_parent: str, *, resume_pending: bool
) -> Adopted:
    now = datetime.now(UTC)
    live = failed = 0
    for values in transaction.read("Jobs", _COLUMNS, spanner.KeySet(keys=keys)):
        job = dict(zip(_COLUMNS, values, strict=True))
        if job["Version"] != 0 or job["NextCheckAt"] is not None:
            continue
        attempt = max(job["Attempt"], (job["RetryCount"] or 0) + 1)
        waits, runs = job["Status"] == "PENDING", job["Status"] in {"SCHEDULED", "RUNNING"}
        if (waits and resume_pending) or (runs and job["GcpBatchJobName"]):
            _follow(transaction, job, attempt, batch_parent, now)
            live += 1
        elif waits or runs:
            _fail(transaction, job, attempt)
            failed += 1
    return Adopted(live, failed)


def _follow(
    transaction: Transaction, job: dict[str, Any], attempt: int, batch_parent: str, now: datetime
) -> None:
    key = (job["TenantId"], job["JobId"])
    name = job["GcpBatchJobName"] or ""
    parent = name.rpartition("/jobs/")[0] if re.fullmatch(BATCH_JOB_NAME, name) else batch_parent
    values = {"Attempt": attempt, "BatchParent": parent, "NextCheckAt": now}
    if job["Status"] == "PENDING":
        # Its age counts from now: the time that it spent in the old system is no reason to give it up.
        values["NotBefore"] = now
    transaction.update("Jobs", ("TenantId", "JobId", *values), [(*key, *values.values())])
    if job["Status"] != "PENDING":
        created = job["ScheduledAt"] or spanner.COMMIT_TIMESTAMP
        transaction.insert_or_update(
            "JobAttempts",
            ("TenantId", "JobId", "Attempt", "GcpBatchJobName", "CreatedAt"),
            [(*key, attempt, job["GcpBatchJobName"], created)],
        )


def _fail(transaction: Transaction, job: dict[str, Any], attempt: int) -> None:
    key = (job["TenantId"], job["JobId"])
    transaction.update(
        "Jobs",
        ("TenantId", "JobId", "Status", "Version", "Attempt", "ErrorMessage", "CompletedAt", "UpdatedAt"),
        [(*key, "FAILED", 1, attempt, PREDATES, spanner.COMMIT_TIMESTAMP, spanner.COMMIT_TIMESTAMP)],
    )
    transaction.insert(
        "JobStateTransitions",
        (
            "TenantId",
            "JobId",
            "TransitionId",
            "FromStatus",
            "ToStatus",
            "TransitionedAt",
            "Reason",
            "Actor",
            "Attempt",
        ),
        [
            (
                *key,
                f"{1:020}",
                job["Status"],
                "FAILED",
                spanner.COMMIT_TIMESTAMP,
                PREDATES,
                "operator",
                attempt,
            )
        ],
    )
