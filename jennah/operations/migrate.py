"""Bringing a database to the current schema, whatever state it was left in.

Each DDL statement is recognised by what it leaves behind and is asked for only while that is missing; DML
finds nothing left to do. So migrating can stop between any two statements, run twice, or run beside itself,
and ends in the same schema. `SchemaMigrations` records which files are done.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from google.api_core.exceptions import AlreadyExists, FailedPrecondition, GoogleAPICallError
from google.cloud import spanner
from google.cloud.spanner_v1.database import Database

from jennah.operations import preflight
from jennah.operations.adoption import Adopted, adopt
from jennah.operations.description import Description, compare, describe, read_expected
from jennah.operations.sql import (
    Effect,
    Migration,
    SchemaError,
    Statement,
    parse,
    read_migrations,
    schema_directory,
    split,
)

_RECORDS = "SchemaMigrations"
_CONTENTION_SECONDS = 120.0
_PROGRESS_SECONDS = 10.0

Progress = Callable[[str], None]


class PreflightFailed(SchemaError):
    """The database can't be migrated as it is; nothing was changed. `report` lists every problem."""

    def __init__(self, report: preflight.Report) -> None:
        count = len(report.problems)
        super().__init__(
            f"{count} {'problem stands' if count == 1 else 'problems stand'} in the way and nothing was "
            "changed: put right what is listed, and migrate again."
        )
        self.report = report


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did: files that it applied, DDL that mended what was there, jobs that it took over."""

    applied: tuple[str, ...] = ()
    mends: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    adopted: Adopted = field(default_factory=Adopted)


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found, and what is to be done. `recorded` is what exists and only lacks its record."""

    found: Description
    recorded: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    report: preflight.Report


def survey(database: Database, directory: Path) -> Plan:
    """Find out which migrations there are to do, without a look at the rows. Changes nothing.

    Raises:
        SchemaError: an applied file was changed since, or the database is newer than this release.
    """
    migrations = read_migrations(directory)
    found = describe(database)
    records = _records(database, found)
    _verify(records, migrations)
    there = [] if records else _already_there(found, migrations)
    pending = tuple(m for m in migrations if m.version not in records and m not in there)
    return Plan(found, tuple(there), pending, preflight.Report((), (), ()))


def plan(database: Database, directory: Path, *, resume_pending: bool = False) -> Plan:
    """Find out what there is to do, and what stands in the way. Changes nothing.

    Raises:
        SchemaError: as `survey`.
    """
    todo = survey(database, directory)
    if not todo.pending:
        # The old system may have written rows since: they are taken over too, so they are judged too.
        report = preflight.inspect_rows(database, todo.found, resume_pending=resume_pending)
        return replace(todo, report=report)
    report = preflight.inspect(
        database,
        read_expected(directory),
        todo.found,
        _effects(todo.pending),
        resume_pending=resume_pending,
    )
    return replace(todo, report=report)


def migrate(
    database: Database,
    *,
    batch_parent: str | None = None,
    resume_pending: bool = False,
    directory: Path | None = None,
    progress: Progress = lambda _: None,
) -> Migrated:
    """Bring the database to the current schema, and take over jobs from before it.

    `batch_parent` ("projects/P/locations/R") is where jobs from before run when their rows don't say so.
    `resume_pending` lets jobs that still wait from before run; else they fail, as those that run and name no
    Batch job always do. `progress` gets a line a step.

    Raises:
        PreflightFailed: rows or columns stand in the way; nothing was changed.
        SchemaError: the files or the records don't allow it, Spanner refused a statement, or there are jobs
            to take over and no `batch_parent`.
    """
    directory = directory or schema_directory()
    expected = read_expected(directory)
    todo = plan(database, directory, resume_pending=resume_pending)
    if todo.report.problems:
        raise PreflightFailed(todo.report)
    runner = _Runner(database, todo.found, progress)
    runner.run([_records_table(directory)])
    for migration in todo.recorded:
        _record(database, migration)
    if todo.pending:
        coming = _effects(todo.pending)
        runner.mend(lambda found: list(preflight.mends(expected, found, coming)))
    for migration in todo.pending:
        progress(f"applying {migration.version:04} {migration.name}")
        runner.run(migration.statements)
        _record(database, migration)
    adopted = Adopted()
    if "Jobs" in todo.found.tables:
        adopted = adopt(database, batch_parent=batch_parent, resume_pending=resume_pending, progress=progress)
    _verify_result(database, expected)
    return Migrated(
        applied=tuple(f"{migration.version:04}_{migration.name}" for migration in todo.pending),
        mends=todo.report.mends,
        notes=todo.report.notes,
        adopted=adopted,
    )


def _records_table(directory: Path) -> Statement:
    """The statement of schema.sql that makes the table of records, which is there before any migration."""
    script = (directory / "schema.sql").read_text(encoding="utf-8")
    [statement] = [s for s in map(parse, split(script)) if s.effect == Effect("table", _RECORDS, _RECORDS)]
    return statement


def _effects(migrations: Iterable[Migration]) -> list[Effect]:
    return [s.effect for migration in migrations for s in migration.statements if s.effect]


def _records(database: Database, found: Description) -> dict[int, tuple[str, str]]:
    """Name and checksum of each recorded version."""
    if _RECORDS not in found.tables:
        return {}
    with database.snapshot() as snapshot:
        rows = snapshot.read(_RECORDS, ("Version", "Name", "Checksum"), spanner.KeySet(all_=True))
        return {version: (name, checksum) for version, name, checksum in rows}


def _verify(records: dict[int, tuple[str, str]], migrations: Sequence[Migration]) -> None:
    files = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in records.items():
        migration = files.get(version)
        if migration is None:
            raise SchemaError(
                f"The database is at version {version} ({name}), newer than this release, which ends at "
                f"{len(migrations)}: use a newer release."
            )
        if migration.checksum != checksum:
            raise SchemaError(
                f"Migration {version:04} was changed after it was applied: restore the file, and put the "
                "change into a new one."
            )


def _already_there(found: Description, migrations: Sequence[Migration]) -> list[Migration]:
    """The first migrations whose every effect is there, in a database that has no records.

    That is version 1 or 2 of a database that was made by hand, or all of one made from schema.sql.
    """
    there = []
    for migration in migrations:
        effects = [statement.effect for statement in migration.statements if statement.effect]
        if not effects or not all(found.has(effect) for effect in effects):
            break
        there.append(migration)
    return there


class _Runner:
    """Runs statements against one database, and remembers what it last saw there.

    What it saw may be old: then Spanner refuses what somebody else made meanwhile, and it looks again.
    """

    def __init__(self, database: Database, found: Description, progress: Progress) -> None:
        self._database = database
        self._found = found
        self._progress = progress

    def run(self, statements: Iterable[Statement]) -> None:
        """Run statements in order; neighbouring DDL goes to Spanner as one schema change."""
        for is_ddl, neighbours in groupby(statements, key=lambda statement: statement.effect is not None):
            if is_ddl:
                self.converge(partial(_missing, list(neighbours)))
                continue
            for statement in neighbours:
                self._progress(f"changed at least {self._change(statement.sql)} rows")

    def _change(self, sql: str) -> int:
        """Run DML, which every migration may run again, and return how many rows it changed at least."""
        deadline = time.monotonic() + _CONTENTION_SECONDS
        while True:
            try:
                return int(self._database.execute_partitioned_dml(sql))
            except FailedPrecondition as error:
                # So the emulator (1.5.28) answers where another transaction came in between, and not ABORTED.
                if "transaction" not in error.message or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0, 0.2))  # noqa: S311 - jitter, no secret

    def converge(self, remaining: Callable[[Description], list[str]]) -> None:
        """Ask for the DDL that remains until none does, whoever else works at the same schema.

        Raises:
            SchemaError: Spanner refuses a statement, and nobody else's change explains it.
        """
        deadline = time.monotonic() + _CONTENTION_SECONDS
        todo = remaining(self._found)
        while todo:
            try:
                self._update_ddl(todo)
            except GoogleAPICallError as error:
                refused, reason = todo, error.message
            else:
                return
            self._found = describe(self._database)
            todo = remaining(self._found)
            if todo == refused:
                # The emulator refuses a schema change while another one, or a transaction, is under way.
                if "concurrent" not in reason or time.monotonic() > deadline:
                    raise SchemaError(f"Spanner refused a schema change ({reason}): {todo[0]}")
                time.sleep(random.uniform(0, 0.2))  # noqa: S311 - jitter, no secret

    def mend(self, mends: Callable[[Description], list[str]]) -> None:
        """Alter what exists. Its presence says nothing of its shape, so look at the result again."""
        if mends(self._found):
            self.converge(mends)
            self._found = describe(self._database)

    def _update_ddl(self, statements: list[str]) -> None:
        operation = self._database.update_ddl(statements)
        while True:
            try:
                operation.result(timeout=_PROGRESS_SECONDS)
            except TimeoutError:
                done = sum(part.progress_percent for part in operation.metadata.progress) // len(statements)
                self._progress(f"schema change of {len(statements)} statements: {done} % done")
            else:
                return


def _missing(statements: Sequence[Statement], found: Description) -> list[str]:
    return [s.sql for s in statements if s.effect is not None and not found.has(s.effect)]


def _record(database: Database, migration: Migration) -> None:
    try:
        with database.batch() as batch:
            batch.insert(
                _RECORDS,
                ("Version", "Name", "Checksum", "AppliedAt"),
                [(migration.version, migration.name, migration.checksum, spanner.COMMIT_TIMESTAMP)],
            )
    except AlreadyExists:
        return  # recorded by another migration beside this one, or by a commit of ours whose answer was lost


def _verify_result(database: Database, expected: Description) -> None:
    different = [d for d in compare(expected, describe(database)) if not d.harmless]
    if different:
        raise SchemaError(
            f"Every migration is applied, yet {different[0].where} is {different[0].found}, not "
            f"{different[0].expected} ({len(different)} differences): see "
            "`jennah check-schema`, and put them right as schema.sql says."
        )
