"""The SQL of the operators' documents runs on the schema, and does what is said of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database

DOCS = Path(__file__).parents[2] / "docs"
TENANT = "00000000-0000-4000-8000-000000000000"
OTHER = "11111111-1111-4111-8111-111111111111"
# Spanner proves by the WHERE clause that no NULL is asked for; the emulator can't, and wants to be told.
EMULATOR_HINT = "@{spanner_emulator.disable_query_null_filtered_index_check=true}"


def statement(page: str, beginning: str) -> str:
    """The one statement of a page that begins so."""
    blocks = re.findall(
        r"^ *```sql\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    (found,) = [block for block in blocks if block.startswith(beginning)]
    return str(found)


def test_every_statement_is_tried_here() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    for page in ("runbook.md", "retention.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        for block in re.findall(r"^ *```sql\n(.*?)```", text, re.DOTALL | re.MULTILINE):
            beginnings = [
                name for name in re.findall(r'statement\("\S+", "([^"]+)"\)', tried) if block.startswith(name)
            ]
            assert len(beginnings) == 1, block


@pytest.fixture(name="filled")
def _filled(database: Database) -> Database:
    """Two tenants; of the first, jobs that wait, are overdue, long over, over and still owed, over lately."""
    now = datetime.now(UTC)
    old, long_ago = now - timedelta(hours=1), now - timedelta(days=500)
    jobs: list[tuple[str, str, datetime | None, datetime | None, str | None]] = [
        ("waits", "PENDING", now + timedelta(minutes=1), None, "paused: dispatch is paused"),
        ("overdue", "RUNNING", old, None, None),
        ("long-over", "COMPLETED", None, long_ago, None),
        ("owed", "CANCELLED", now, long_ago, None),
        ("young", "COMPLETED", None, old, None),
    ]
    with database.batch() as batch:
        batch.insert(
            "Tenants", ["TenantId", "CreatedAt"], [[TENANT, COMMIT_TIMESTAMP], [OTHER, COMMIT_TIMESTAMP]]
        )
        columns = ["TenantId", "JobId", "Status", "NextCheckAt", "CompletedAt", "StatusDetail", "UpdatedAt"]
        batch.insert("Jobs", columns, [[TENANT, *job, COMMIT_TIMESTAMP] for job in jobs])
        children = ["TenantId", "JobId", "TransitionId", "ToStatus"]
        batch.insert("JobStateTransitions", children, [[TENANT, "long-over", "1", "PENDING"]])
    return database


def rows(database: Database, sql: str) -> list[list[Any]]:
    with database.snapshot() as snapshot:
        return [list(row) for row in snapshot.execute_sql(EMULATOR_HINT + sql)]


def test_what_is_open_and_what_it_waits_for(filled: Database) -> None:
    found = rows(filled, statement("runbook.md", "SELECT Status, SPLIT"))
    assert {(status, waits, count) for status, waits, count, _ in found} == {
        ("PENDING", "paused", 1),
        ("RUNNING", None, 1),
        ("CANCELLED", None, 1),
    }


def test_stuck_jobs(filled: Database) -> None:
    ((status, count, _),) = rows(filled, statement("runbook.md", "SELECT Status, COUNT"))
    assert (status, count) == ("RUNNING", 1)


def test_live_jobs_of_a_tenant(filled: Database) -> None:
    found = rows(filled, statement("runbook.md", "SELECT JobId"))
    assert {(job, status) for job, status, _ in found} == {("waits", "PENDING"), ("overdue", "RUNNING")}


def test_a_tenant_is_blocked_and_no_other(filled: Database) -> None:
    sql = statement("runbook.md", "UPDATE Tenants SET Limits")
    assert filled.run_in_transaction(lambda transaction: transaction.execute_update(sql)) == 1
    limits = dict(rows(filled, "SELECT TenantId, Limits FROM Tenants"))
    assert limits[TENANT] == {"submissions_per_minute": 0}
    assert limits[OTHER] is None


def test_a_tenants_deletion_begins(filled: Database) -> None:
    sql = statement("retention.md", "UPDATE Tenants SET DeletedAt")
    for changed in (1, 0):
        assert filled.run_in_transaction(lambda transaction: transaction.execute_update(sql)) == changed
    found = dict(rows(filled, "SELECT TenantId, DeletedAt IS NOT NULL FROM Tenants"))
    assert found == {TENANT: True, OTHER: False}


def test_old_jobs_go_with_their_trails_and_nothing_that_is_owed(filled: Database) -> None:
    filled.execute_partitioned_dml(statement("retention.md", "DELETE FROM Jobs"))
    assert {job for (job,) in rows(filled, "SELECT JobId FROM Jobs")} == {"waits", "overdue", "owed", "young"}
    assert rows(filled, "SELECT JobId FROM JobStateTransitions") == []
