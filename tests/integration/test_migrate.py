import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance
from google.cloud.spanner_v1.transaction import Transaction

from jennah.operations.description import compare, describe, read_expected, to_json
from jennah.operations.migrate import migrate, plan
from jennah.operations.sql import SchemaError, read_migrations, schema_directory, split

DIRECTORY = schema_directory()
MIGRATIONS = read_migrations(DIRECTORY)
NAMES = [f"{migration.version:04}_{migration.name}" for migration in MIGRATIONS]


class Interrupted(Exception):
    """What stands for a crash."""


def records(database: Database) -> list[tuple[int, str, str]]:
    with database.snapshot() as snapshot:
        rows = snapshot.read("SchemaMigrations", ("Version", "Name", "Checksum"), KeySet(all_=True))
        return [tuple(row) for row in rows]


ALL_RECORDED = [(migration.version, migration.name, migration.checksum) for migration in MIGRATIONS]


def test_expected_json_describes_schema_sql(database: Database) -> None:
    """Where it fails, this writes the new content beside the old: look at it, and move it there."""
    described = to_json(describe(database))
    if (DIRECTORY / "expected.json").read_text() != described:
        new = DIRECTORY / "expected.json.new"
        new.write_text(described)
        pytest.fail(f"schema/expected.json is not what schema.sql makes; {new.name} is")


def test_migrations_and_schema_sql_make_the_same_schema(database: Database, empty_database: Database) -> None:
    migrate(empty_database)
    assert describe(empty_database) == describe(database)


def test_migrating_again_does_nothing(empty_database: Database) -> None:
    assert list(migrate(empty_database).applied) == NAMES
    assert records(empty_database) == ALL_RECORDED
    before = describe(empty_database)
    assert migrate(empty_database).applied == ()
    assert (describe(empty_database), records(empty_database)) == (before, ALL_RECORDED)


def test_a_database_made_from_schema_sql_only_gets_its_records(database: Database) -> None:
    assert migrate(database).applied == ()
    assert records(database) == ALL_RECORDED


def test_migrators_side_by_side_end_in_the_same_schema(empty_database: Database) -> None:
    start = threading.Barrier(3)

    def run(_: int) -> None:
        start.wait()
        migrate(empty_database)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    assert compare(read_expected(DIRECTORY), describe(empty_database)) == []
    assert records(empty_database) == ALL_RECORDED


def test_waits_for_a_transaction_that_is_under_way(empty_database: Database) -> None:
    """The emulator refuses a schema change meanwhile, unless it aborts the transaction (one time in five)."""
    empty_database.update_ddl([MIGRATIONS[0].statements[0].sql]).result(30)
    begun, may_end = threading.Event(), threading.Event()

    def hold(transaction: Transaction) -> None:
        list(transaction.read("Tenants", ["TenantId"], KeySet(all_=True)))
        begun.set()
        assert may_end.wait(30)

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(empty_database.run_in_transaction, hold)
        assert begun.wait(30)
        release = threading.Timer(0.5, may_end.set)
        release.start()
        migrate(empty_database)
        may_end.set()
        holder.exception()  # aborted or not, it is over
    assert records(empty_database) == ALL_RECORDED


def test_resumes_after_every_statement(spanner_instance: Instance) -> None:
    """Whatever prefix of the DDL a crash left, the end is the same; `migrate` compares it with schema.sql."""
    ddl = [s.sql for migration in MIGRATIONS for s in migration.statements if s.effect]
    for done in range(1, len(ddl)):
        database = spanner_instance.database(f"prefix-{done}", ddl_statements=ddl[:done])
        database.create().result(30)
        migrate(database)
        assert records(database) == ALL_RECORDED
        database.drop()


def test_resumes_where_it_was_interrupted(empty_database: Database) -> None:
    def interrupt(line: str) -> None:
        raise Interrupted(line)

    steps = [f"applying {name.replace('_', ' ', 1)}" for name in NAMES]
    seen: list[str] = []

    def interrupt_at_a_new_step(line: str) -> None:
        if line not in seen:
            seen.append(line)
            interrupt(line)

    while True:
        try:
            migrate(empty_database, progress=interrupt_at_a_new_step)
        except Interrupted:
            continue
        break
    assert [line for line in seen if line.startswith("applying")] == steps
    assert records(empty_database) == ALL_RECORDED
    assert compare(read_expected(DIRECTORY), describe(empty_database)) == []


def copy_of_schema(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIRECTORY, tmp_path / "schema"))


def test_an_applied_file_that_was_changed_stops_it(empty_database: Database, tmp_path: Path) -> None:
    directory = copy_of_schema(tmp_path)
    migrate(empty_database, directory=directory)
    changed = directory / "migrations" / "0002_batch_integration.sql"
    changed.write_text(changed.read_text().replace("1024", "512"))
    with pytest.raises(SchemaError, match="Migration 0002 was changed after it was applied"):
        migrate(empty_database, directory=directory)


def test_a_database_of_a_newer_release_stops_it(empty_database: Database, tmp_path: Path) -> None:
    migrate(empty_database)
    directory = copy_of_schema(tmp_path)
    (directory / "migrations" / f"{NAMES[-1]}.sql").unlink()
    with pytest.raises(SchemaError, match="newer than this release"):
        migrate(empty_database, directory=directory)


def test_a_statement_that_spanner_refuses_is_named(empty_database: Database, tmp_path: Path) -> None:
    directory = copy_of_schema(tmp_path)
    (directory / "migrations" / f"{len(NAMES) + 1:04}_odd.sql").write_text(
        "ALTER TABLE Jobs ADD COLUMN X NOTYPE;"
    )
    with pytest.raises(SchemaError, match=r"Spanner refused a schema change .*ADD COLUMN X NOTYPE"):
        migrate(empty_database, directory=directory)
    assert records(empty_database) == ALL_RECORDED


def test_a_plan_changes_nothing(empty_database: Database) -> None:
    assert [m.version for m in plan(empty_database, DIRECTORY).pending] == list(range(1, len(NAMES) + 1))
    assert describe(empty_database).tables == {}


@pytest.mark.parametrize(
    ("change", "where", "found"),
    [
        ("DROP INDEX JobsByStatus", "index.JobsByStatus", "missing"),
        ("ALTER TABLE Jobs DROP COLUMN BatchUid", "Jobs.BatchUid", "missing"),
        ("ALTER TABLE Jobs ALTER COLUMN BatchUid STRING(MAX)", "Jobs.BatchUid", "STRING(MAX)"),
        (
            "ALTER TABLE Jobs ALTER COLUMN MaxRetries SET DEFAULT (9)",
            "Jobs.MaxRetries",
            "INT64 NOT NULL DEFAULT (9)",
        ),
        (
            "ALTER TABLE Jobs ALTER COLUMN BatchUid STRING(255) NOT NULL",
            "Jobs.BatchUid",
            "STRING(255) NOT NULL",
        ),
        ("ALTER TABLE Jobs DROP CONSTRAINT JobsStatusIsKnown", "Jobs.JobsStatusIsKnown", "missing"),
        (
            "ALTER TABLE Jobs ALTER COLUMN CreatedAt SET OPTIONS (allow_commit_timestamp = null)",
            "Jobs.CreatedAt",
            "TIMESTAMP",
        ),
        (
            "ALTER TABLE JobAttempts SET ON DELETE NO ACTION",
            "JobAttempts",
            "PRIMARY KEY (TenantId, JobId, Attempt), in Jobs ON DELETE NO ACTION",
        ),
        ("DROP TABLE JobAttempts", "JobAttempts", "missing"),
        ("CREATE UNIQUE INDEX X ON Tenants (UserEmail)", "index.X", "UNIQUE Tenants (UserEmail ASC)"),
    ],
)
def test_every_difference_is_seen(database: Database, change: str, where: str, found: str) -> None:
    database.update_ddl([change]).result(30)
    [difference] = compare(read_expected(DIRECTORY), describe(database))
    assert (difference.where, difference.found, difference.harmless) == (where, found, False)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE Other (A INT64) PRIMARY KEY (A)",
        "ALTER TABLE Tenants ADD COLUMN Note STRING(9)",
        "CREATE INDEX X ON Jobs (TenantId, ImageUri)",
    ],
)
def test_additions_are_harmless(database: Database, change: str) -> None:
    database.update_ddl([change]).result(30)
    assert all(difference.harmless for difference in compare(read_expected(DIRECTORY), describe(database)))


def test_schema_sql_can_be_split_by_its_lines() -> None:
    """Tools that know no GoogleSQL (gcloud's --ddl-file among them) find comments on lines of their own."""
    text = (DIRECTORY / "schema.sql").read_text()
    assert not re.search(r"^[^-\n]+--", text, re.MULTILINE)
    assert len(split(text)) == len(re.findall(r"^CREATE ", text, re.MULTILINE))
