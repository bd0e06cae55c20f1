"""The operator's command `jennah check`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import typer
from google.api_core import exceptions
from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jennah import render
from jennah.operations.check import OVERDUE, Check, Figures, Violation, clock_of
from jennah.operations.database import one_sentence, opened
from jennah.operations.pause import Switch
from jennah.output import REFUSED, CommandFailed, show_table
from shared.config import Settings, Timing


def check(*, tenant_id: str | None, limit: int, strict: bool, as_json: bool) -> None:
    """Judge every job of the settings' database, or of one tenant; print at most `limit` violations.

    With `as_json` there is a line for each violation as soon as it is found, and one with the figures.

    Raises:
        CommandFailed: there are violations, or with `strict` jobs that are overdue; or the database can't
            be read.
    """
    try:
        with one_sentence():
            settings = Settings.from_env(os.environ)
            with opened(settings, role="roles/spanner.databaseReader") as database:
                figures = _checked(
                    database, settings.timing, tenant_id=tenant_id, limit=limit, as_json=as_json
                )
                switch = Switch.read(database)
    except exceptions.NotFound as error:
        raise CommandFailed(
            f"{settings.spanner_database} does not have the schema of this release ({error.message}): "
            "`jennah check-schema` says what it lacks.",
            REFUSED,
        ) from error
    if figures.overdue:
        typer.echo(
            f"{figures.overdue:,} jobs should have been looked at more than {OVERDUE.seconds // 60} minutes "
            "ago: does reconciliation run?",
            err=True,
        )
    if switch.paused:
        typer.echo(switch, err=True)
    read = f"{figures.jobs:,} jobs, {figures.transitions:,} transitions checked"
    if figures.violations:
        shown = "" if figures.violations <= limit else f"; the first {limit:,} are shown"
        raise CommandFailed(
            f"{read}: {figures.violations:,} violations in {figures.damaged_jobs:,} jobs{shown}.", REFUSED
        )
    if strict and figures.overdue:
        # Their rows are right, so this is no violation; but nobody looks after them.
        raise CommandFailed(f"{read}: no violation, and {figures.overdue:,} jobs overdue.", REFUSED)
    if not as_json:
        typer.echo(f"{read}: no violation.")


def _checked(
    database: Database, timing: Timing, *, tenant_id: str | None, limit: int, as_json: bool
) -> Figures:
    if tenant_id is not None:
        _find_tenant(database, tenant_id)
    check = Check(database, now=clock_of(database), timing=timing, tenant_id=tenant_id)
    shown: list[Violation] = []
    with _progress(visible=not (as_json and sys.stdout.isatty())) as progress:
        for violation in check.violations(progress):
            if len(shown) == limit:  # the rest is counted, and not kept
                continue
            shown.append(violation)
            if as_json:
                typer.echo(json.dumps(violation._asdict()))
    if as_json:
        typer.echo(json.dumps(asdict(check.figures)))
    elif shown:
        show_table(lambda columns: _table(columns, shown), ("TENANT", "JOB", "VIOLATION"))
    return check.figures


def _find_tenant(database: Database, tenant_id: str) -> None:
    with database.snapshot() as snapshot:
        if not list(snapshot.read("Tenants", ["TenantId"], KeySet(keys=[[tenant_id]]))):
            raise CommandFailed(f"There is no tenant {tenant_id!r}.", REFUSED)


def _table(columns: Sequence[str], violations: Iterable[Violation]) -> Table:
    table = render.table(*columns)
    for violation in violations:
        table.add_row(*map(render.printable, violation))
    return table


@contextmanager
def _progress(*, visible: bool) -> Iterator[Callable[[Figures], object]]:
    """Shows the figures on stderr while they grow, where somebody looks at it."""
    console = render.console_on(sys.stderr)
    if not (visible and console.is_terminal):
        yield lambda _: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,} jobs checked, {task.fields[violations]:,} violations"),
        TimeElapsedColumn(),
    )
    # Output that is redirected would end on stderr.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=None, violations=0)
        yield lambda figures: progress.update(task, completed=figures.jobs, violations=figures.violations)
