"""Rows that break a rule of the schema to come, or of taking over the jobs from before it.

Checks run on whatever columns there are: a missing or odd column is judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.cloud.spanner_v1.database import Database

from jennah.operations.adoption import BATCH_JOB_NAME
from jennah.operations.description import Description, query

LISTED = 20
"""How many rows are listed for one kind of problem; the rest is counted."""

STATUSES = ("PENDING", "SCHEDULED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person must put right; `key` names the row, and is empty for a table or column."""

    where: str
    key: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class RowCheck:
    """Rows that break a rule: `condition` over the column, `shows` what is said of a row, both SQL."""

    table: str
    column: str
    condition: str
    shows: str
    remedy: str


def rule_checks(found: Description, *, resume_pending: bool) -> Iterator[RowCheck]:
    """Rules for every tenant, for every status, and for the jobs that will be taken over and go on."""
    if _readable(found, "Tenants", "TenantId"):
        yield RowCheck(
            "Tenants",
            "TenantId",
            f"NOT REGEXP_CONTAINS(TenantId, r'{UUID}')",
            "'is no lower-case UUID: no Batch job can be named after it'",
            "move its rows to a tenant whose TenantId is a random lower-case UUID, and delete it",
        )
    if not _readable(found, "Jobs", "TenantId", "JobId", "Status"):
        return
    known = ", ".join(f"'{status}'" for status in STATUSES)
    yield RowCheck(
        "Jobs",
        "Status",
        f"Status NOT IN ({known})",
        "FORMAT('%T is no status', Status)",
        f"set it to one of {', '.join(STATUSES)}",
    )
    statuses = ("PENDING", "SCHEDULED", "RUNNING") if resume_pending else ("SCHEDULED", "RUNNING")
    live = _not_taken_over(found, *statuses)
    yield RowCheck(
        "Jobs",
        "JobId",
        f"{live} AND NOT REGEXP_CONTAINS(JobId, r'{UUID}')",
        "FORMAT('is %s, and its JobId is no lower-case UUID: no Batch job can be named after it', Status)",
        "let it finish, or set it to FAILED",
    )
    if _readable(found, "Jobs", "GcpBatchJobName"):
        yield RowCheck(
            "Jobs",
            "GcpBatchJobName",
            f"{live} AND GcpBatchJobName != '' "
            f"AND NOT REGEXP_CONTAINS(GcpBatchJobName, r'^{BATCH_JOB_NAME}$')",
            "FORMAT('is %s, and %T is no full name of a Batch job', Status, GcpBatchJobName)",
            "complete it: projects/PROJECT/locations/REGION/jobs/ID",
        )
    if _type(found, "Jobs", "Commands").startswith("ARRAY<STRING"):
        yield RowCheck(
            "Jobs",
            "Commands",
            f"{live} AND EXISTS (SELECT 1 FROM UNNEST(Commands) AS part WHERE part IS NULL)",  # noqa: S608
            "FORMAT('is %s, and one of its commands is NULL', Status)",
            "give that element a value, or remove it",
        )


def rows_against(database: Database, check: RowCheck, key: Sequence[str]) -> Iterator[Problem]:
    """List the rows that break the rule, in the order of their keys."""
    columns = ", ".join(key)
    where = f"{check.table}.{check.column}"
    breaking = f"FROM {check.table} WHERE {check.condition}"
    rows = query(
        database, f"SELECT {columns}, {check.shows} {breaking} ORDER BY {columns} LIMIT {LISTED + 1}"
    )
    for row in rows[:LISTED]:
        yield Problem(where, "/".join(map(str, row[:-1])), row[-1], check.remedy)
    if len(rows) > LISTED:
        [(total,)] = query(database, f"SELECT COUNT(*) {breaking}")
        yield Problem(where, "", f"and {total - LISTED} more rows of this kind", check.remedy)


def duplicate_identities(database: Database, found: Description) -> Iterator[Problem]:
    """List tenants that share an identity, which the unique index would refuse."""
    if not _readable(found, "Tenants", "TenantId", "OAuthProvider", "OAuthUserId"):
        return
    same = (
        "FROM Tenants WHERE OAuthProvider IS NOT NULL AND OAuthUserId IS NOT NULL "
        "GROUP BY OAuthProvider, OAuthUserId HAVING COUNT(*) > 1"
    )
    where, remedy = "Tenants.OAuthUserId", "keep one tenant, and move the others' jobs to it"
    rows = query(
        database,
        f"SELECT OAuthProvider, OAuthUserId, ARRAY_AGG(TenantId) {same} "
        f"ORDER BY OAuthProvider, OAuthUserId LIMIT {LISTED + 1}",
    )
    for provider, user, tenants in rows[:LISTED]:
        listed = ", ".join(sorted(tenants)[:LISTED])
        more = f" and {len(tenants) - LISTED} more" if len(tenants) > LISTED else ""
        yield Problem(where, listed + more, f"share the identity {user!r} at {provider!r}", remedy)
    if len(rows) > LISTED:
        [(total,)] = query(database, f"SELECT COUNT(*) FROM (SELECT 1 {same})")  # noqa: S608 - constants
        yield Problem(where, "", f"and {total - LISTED} more identities of this kind", remedy)


def unfollowable(database: Database, found: Description) -> Iterator[str]:
    """Say how many jobs run, perhaps, and will be FAILED because they name no Batch job."""
    if not _readable(found, "Jobs", "Status"):
        return
    nameless = _not_taken_over(found, "SCHEDULED", "RUNNING")
    if _readable(found, "Jobs", "GcpBatchJobName"):
        nameless += " AND (GcpBatchJobName IS NULL OR GcpBatchJobName = '')"
    [(count,)] = query(database, f"SELECT COUNT(*) FROM Jobs WHERE {nameless}")  # noqa: S608 - constants
    if count:
        yield (
            f"{count} SCHEDULED or RUNNING jobs name no Batch job, can't be followed, and become FAILED: "
            "look in Batch whether they still run."
        )


def notes(database: Database, found: Description) -> Iterator[str]:
    """Say what is left as it is."""
    if _readable(found, "Tenants", "OAuthProvider", "OAuthUserId"):
        nobody = "SELECT COUNT(*) FROM Tenants WHERE OAuthProvider IS NULL OR OAuthUserId IS NULL"
        [(count,)] = query(database, nobody)
        if count:
            yield f"{count} tenants have no identity: nobody can sign in as them until they get one."
    if _readable(found, "JobStateTransitions", "FromStatus", "ToStatus"):
        known = ", ".join(f"'{status}'" for status in STATUSES)
        unknown = f"ToStatus NOT IN ({known}) OR FromStatus NOT IN ({known})"
        [(count,)] = query(database, f"SELECT COUNT(*) FROM JobStateTransitions WHERE {unknown}")  # noqa: S608
        if count:
            yield f"{count} old history rows name a status that is not used now; they stay as they are."


def _not_taken_over(found: Description, *statuses: str) -> str:
    """SQL: the job has one of these statuses, and was neither made by this platform nor taken over yet."""
    conditions = [f"Status IN ({', '.join(repr(status) for status in statuses)})"]
    if _type(found, "Jobs", "Version") == "INT64":
        conditions.append("Version = 0")
    if _type(found, "Jobs", "NextCheckAt") == "TIMESTAMP":
        conditions.append("NextCheckAt IS NULL")
    return " AND ".join(conditions)


def _readable(found: Description, table: str, *columns: str) -> bool:
    """Whether a check over these text columns can run at all."""
    return all(_type(found, table, column).startswith("STRING") for column in columns)


def _type(found: Description, table: str, column: str) -> str:
    """The column's type; empty where there is none."""
    present = found.tables[table].columns if table in found.tables else {}
    return present[column].type if column in present else ""
