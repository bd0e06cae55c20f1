"""The operators' commands. They speak to Google Cloud directly, and load what they need when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from jennah import dead_letters_cli
from jennah.arguments import App

_PANEL = "For operators"

app = App()
app.add_typer(dead_letters_cli.app, name="dead-letters", rich_help_panel=_PANEL)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command(rich_help_panel=_PANEL)
def migrate(
    *,
    create: Annotated[bool, typer.Option("--create", help="Make the database if there is none.")] = False,
    resume_pending: Annotated[
        bool,
        typer.Option("--resume-pending", help="Run the PENDING jobs of before, instead of failing them."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the schema of this release, and adopt one that was made by hand."""
    from jennah.operations import commands

    commands.migrate(create=create, resume_pending=resume_pending, dry_run=dry_run, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def check_schema(*, as_json: AsJson = False) -> None:
    """Compare the database with the schema of this release; exit 1 if they differ."""
    from jennah.operations import commands

    commands.check_schema(as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def check(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's jobs.", metavar="ID")] = None,
    limit_violations: Annotated[
        int, typer.Option(min=0, help="How many violations to print; all are counted.", metavar="N")
    ] = 100,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 as well where checks of jobs are long overdue.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge every job's row, history and attempts; exit 1 if they break an invariant."""
    from jennah.operations import check_command

    check_command.check(tenant_id=tenant, limit=limit_violations, strict=strict, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def doctor(
    ticks_topic: Annotated[
        str, typer.Option(help="The topic of the ticks, which is no function's setting.", metavar="NAME")
    ] = "ticks",
    *,
    as_json: AsJson = False,
) -> None:
    """Look at settings, database, topics and Batch, and print what to fix; exit 0 if all is well."""
    from jennah.operations import doctor_command

    doctor_command.doctor(ticks_topic=ticks_topic, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def dispatch(*, as_json: AsJson = False) -> None:
    """Say whether dispatch is paused, since when, and why."""
    from jennah.operations import pause as switch

    switch.show_dispatch(as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def pause(
    reason: Annotated[str | None, typer.Option(help="Why, for other operators.", metavar="TEXT")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Stop starting jobs: they are accepted and wait, and what runs goes on."""
    from jennah.operations import pause as switch

    switch.switch_dispatch(paused=True, reason=reason, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def resume(*, as_json: AsJson = False) -> None:
    """Start jobs again; those that waited are spread over 5 minutes, 200 a minute at most."""
    from jennah.operations import pause as switch

    switch.switch_dispatch(paused=False, reason=None, as_json=as_json)
