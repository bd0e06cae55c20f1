"""The operator's schema commands: `jennah migrate` and `jennah check-schema`.

They speak to Spanner directly, with the operator's own credentials and the settings of the environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict

import typer
from rich.table import Table

from jennah.operations.database import one_sentence, opened
from jennah.operations.description import compare, describe, read_expected
from jennah.operations.migrate import Migrated, Plan, PreflightFailed, plan, survey
from jennah.operations.migrate import migrate as bring_up_to_date
from jennah.operations.preflight_rows import Problem
from jennah.operations.sql import Migration, schema_directory
from jennah.output import CommandFailed
from jennah.render import console_on, printable, show
from shared.config import Settings


def migrate(*, create: bool, resume_pending: bool, dry_run: bool, as_json: bool) -> None:
    """Bring the database to the current schema, and take over the jobs of one that was made by hand.

    `create` makes the database where there is none; an emulator's is always made. `dry_run` says what would
    be done, and changes nothing. Progress and notes go to stderr, the outcome to stdout.

    Raises:
        CommandFailed: nothing could be done, or a problem stands in the way; the problems are printed.
    """
    with one_sentence():
        settings = Settings.from_env(os.environ)
        may_create = (create or settings.spanner_emulator_host is not None) and not dry_run
        with opened(settings, create=may_create) as database:
            try:
                if dry_run:
                    _show_plan(
                        plan(database, schema_directory(), resume_pending=resume_pending), as_json=as_json
                    )
                    return
                done = bring_up_to_date(
                    database,
                    batch_parent=settings.batch_parent,
                    resume_pending=resume_pending,
                    progress=_say,
                )
            except PreflightFailed as error:
                _show_problems(error.report.problems, as_json=as_json)
                raise
    for note in done.notes:
        _say(note)
    if as_json:
        _print_json(asdict(done))
    else:
        typer.echo(_summary(settings.spanner_database, done))


def check_schema(*, as_json: bool) -> None:
    """Compare the database with the schema of this release.

    Raises:
        CommandFailed: they differ, and the differences are printed; or the database can't be read.
    """
    with one_sentence():
        settings = Settings.from_env(os.environ)
        directory = schema_directory()
        with opened(settings) as database:
            pending = survey(database, directory).pending
            differences = compare(read_expected(directory), describe(database))
    if as_json:
        shown = [asdict(difference) for difference in differences]
        _print_json({"pending": _names(pending), "differences": shown})
    elif pending or differences:
        table = Table("WHERE", "EXPECTED", "FOUND", "", box=None)
        for name in _names(pending):
            table.add_row("migration", name, "not applied", "")
        for difference in differences:
            weight = "harmless" if difference.harmless else ""
            table.add_row(difference.where, difference.expected, difference.found, weight)
        show(console_on(sys.stdout), table)
    if pending or not all(difference.harmless for difference in differences):
        raise CommandFailed(f"{settings.spanner_database} does not have the schema of this release.", 1)
    if not as_json:
        typer.echo(f"{settings.spanner_database} has the schema of this release.")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _names(migrations: Iterable[Migration]) -> list[str]:
    return [f"{migration.version:04}_{migration.name}" for migration in migrations]


def _show_plan(todo: Plan, *, as_json: bool) -> None:
    if todo.report.problems:
        raise PreflightFailed(todo.report)
    pending = _names(todo.pending)
    if as_json:
        _print_json({"pending": pending, "mends": todo.report.mends, "notes": todo.report.notes})
        return
    for line in (*todo.report.mends, *(f"apply {name}" for name in pending), *todo.report.notes):
        typer.echo(line)


def _show_problems(problems: Iterable[Problem], *, as_json: bool) -> None:
    if as_json:
        _print_json({"problems": [asdict(problem) for problem in problems]})
        return
    table = Table("WHERE", "ROW", "PROBLEM", "WHAT TO DO", box=None)
    for problem in problems:
        table.add_row(problem.where, problem.key, printable(problem.problem), problem.remedy)
    show(console_on(sys.stdout), table)


def _summary(database: str, done: Migrated) -> str:
    parts = [f"{len(done.applied)} migrations applied"]
    if done.mends:
        parts.append(f"{len(done.mends)} columns or indexes mended")
    if done.adopted.live or done.adopted.failed:
        parts.append(f"{done.adopted.live} jobs taken over, {done.adopted.failed} failed as from before")
    return f"{database} is at the current schema: {', '.join(parts)}."
