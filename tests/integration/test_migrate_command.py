"""`jennah migrate` and `jennah check-schema` as people run them: real processes, output and exit codes."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.operations.description import describe
from jennah.operations.migrate import migrate
from jennah.operations.sql import read_migrations, schema_directory, split
from tests.command import run_command

JENNAH = Path(sys.executable).with_name("jennah")
FIRST_VERSION = [statement.sql for statement in read_migrations(schema_directory())[0].statements]

A, B = "4f9f7fe6-7e2c-4c39-8f0b-6a2f3b0a9a01", "4f9f7fe6-7e2c-4c39-8f0b-6a2f3b0a9a02"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(spanner_host: str, spanner_instance: Instance) -> Run:
    """Run the command line against the emulator; keywords change its environment."""

    def run_jennah(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        env = {
            "PATH": os.environ["PATH"],
            "GOOGLE_CLOUD_PROJECT": "jennah-test",
            "SPANNER_INSTANCE": "jennah-test",
            "SPANNER_EMULATOR_HOST": spanner_host,
        } | changes
        return run_command(*arguments, env=env)

    return run_jennah


def refused(done: "subprocess.CompletedProcess[str]", sentence: str, code: int = 1) -> None:
    assert done.returncode == code
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence, no traceback"


def test_makes_an_emulators_database_and_says_when_nothing_is_left(
    run: Run, spanner_instance: Instance
) -> None:
    name = f"made-{uuid.uuid4().hex[:8]}"
    try:
        refused(run("check-schema", SPANNER_DATABASE=name), f"There is no database {name!r}", 2)
        refused(run("migrate", "--dry-run", SPANNER_DATABASE=name), f"There is no database {name!r}", 2)
        first = run("migrate", SPANNER_DATABASE=name)
        assert (first.returncode, first.stdout) == (
            0,
            f"{name} is at the current schema: 10 migrations applied.\n",
        )
        assert "applying 0001 initial" in first.stderr
        again = run("migrate", "--json", SPANNER_DATABASE=name)
        assert json.loads(again.stdout)["applied"] == []
        checked = run("check-schema", SPANNER_DATABASE=name)
        assert (checked.returncode, checked.stdout) == (0, f"{name} has the schema of this release.\n")
    finally:
        spanner_instance.database(name).drop()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run: Run, empty_database: Database) -> None:
    plan = run("migrate", "--dry-run", "--json", SPANNER_DATABASE=empty_database.database_id)
    assert json.loads(plan.stdout)["pending"][0] == "0001_initial"
    assert describe(empty_database).tables == {}


def test_what_stands_in_the_way_is_listed(run: Run, empty_database: Database) -> None:
    empty_database.update_ddl(FIRST_VERSION).result(30)
    with empty_database.batch() as batch:
        columns = ("TenantId", "OAuthProvider", "OAuthUserId")
        batch.insert("Tenants", columns, [(A, "google", "1"), (B, "google", "1"), ("acme", "google", "2")])
        batch.insert("Jobs", ("TenantId", "JobId", "Status"), [(A, "1", "Done")])
    for arguments in (("migrate",), ("migrate", "--dry-run")):
        done = run(*arguments, SPANNER_DATABASE=empty_database.database_id)
        refused(done, "3 problems stand in the way and nothing was changed")
        assert len(done.stdout.splitlines()) == 4
        assert '"Done" is no status' in done.stdout
        assert "share the identity '1' at 'google'" in done.stdout
        listed = json.loads(run(*arguments, "--json", SPANNER_DATABASE=empty_database.database_id).stdout)
        assert [problem["key"] for problem in listed["problems"]] == ["acme", f"{A}/1", f"{A}, {B}"]
    assert set(describe(empty_database).tables) == {"Tenants", "Jobs", "JobStateTransitions"}


def test_differences_are_shown(run: Run, database: Database) -> None:
    migrate(database)
    database.update_ddl(["DROP INDEX JobsByStatus", "ALTER TABLE Tenants ADD COLUMN Note STRING(9)"]).result(
        30
    )
    done = run("check-schema", SPANNER_DATABASE=database.database_id)
    refused(done, "does not have the schema of this release")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "WHERE",
        "Tenants.Note",
        "index.JobsByStatus",
    ]
    listed = json.loads(run("check-schema", "--json", SPANNER_DATABASE=database.database_id).stdout)
    assert [(d["where"], d["harmless"]) for d in listed["differences"]] == [
        ("Tenants.Note", True),
        ("index.JobsByStatus", False),
    ]


@pytest.mark.parametrize("command", ["migrate", "check-schema", "check", "dispatch", "pause", "resume"])
@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"SPANNER_EMULATOR_HOST": "127.0.0.1:1"}, 3, "Nothing answers at SPANNER_EMULATOR_HOST=127.0.0.1:1"),
        ({"SPANNER_INSTANCE": "missing"}, 2, "There is no Spanner instance 'missing'"),
        ({"SPANNER_INSTANCE": ""}, 2, "SPANNER_INSTANCE is not set"),
        ({"SPANNER_DATABASE": "NOT A NAME"}, 2, "'NOT A NAME'"),
        (
            {"SPANNER_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent.json"},
            3,
            "Google credentials are missing",
        ),
    ],
)
def test_what_is_missing_is_one_sentence_and_an_exit_code(
    run: Run, command: str, changes: dict[str, str], code: int, sentence: str
) -> None:
    refused(run(command, **changes), sentence, code)


def test_what_spanner_refuses_is_one_sentence(run: Run) -> None:
    refused(run("migrate", SPANNER_DATABASE="ends-with-"), "Spanner refuses it (")


def test_a_schema_sql_database_passes_the_check(run: Run, database: Database) -> None:
    assert len(split((schema_directory() / "schema.sql").read_text())) == 12
    assert run("check-schema", SPANNER_DATABASE=database.database_id).returncode == 0
