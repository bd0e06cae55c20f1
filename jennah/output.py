"""How commands print, and how they end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

import typer

REFUSED, MISUSED, UNREACHABLE = 1, 2, 3
"""How a command exits that fails: docs/cli.md."""

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from jennah.client import Client, Job


class CommandFailed(typer.TyperException):
    """Ends the command with one sentence on stderr."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def print_json(value: object) -> None:
    """Print one JSON document, indented."""
    typer.echo(json.dumps(value, indent=2))


def print_json_line(value: object) -> None:
    """Print one of many JSON documents, on a line of its own."""
    typer.echo(json.dumps(value))


def show(part: RenderableType) -> None:
    """Print what does not depend on the width of the terminal, or is folded by it."""
    from jennah import render

    render.show(render.console_on(sys.stdout), part)


def show_table(
    make: Callable[[Sequence[str]], Table], columns: Sequence[str], spare: Sequence[str] = ()
) -> None:
    """Print a table, on a terminal as `render.fitted` makes it."""
    from jennah import render

    console = render.console_on(sys.stdout)
    shown = render.fitted(console.width, make, columns, spare)
    # A terminal that wraps what is still too wide spoils less than an id that was cut.
    console.width = max(console.width, render.least_width(shown))
    render.show(console, shown)


def discard() -> None:
    """Let what stdout still holds go nowhere: Python would try it again at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def follow(client: Client, job_ids: Sequence[str], stream: TextIO) -> list[Job]:
    """Show jobs until all are final; give them back as they ended."""
    from jennah import live, render

    try:
        return live.follow(client, job_ids, render.console_on(stream))
    except KeyboardInterrupt:
        goes_on = "The job goes on" if len(job_ids) == 1 else "The jobs go on"
        typer.echo(f"{goes_on} without you: jennah watch {' '.join(job_ids)}", err=True)
        raise


def exit_by_outcome(jobs: Sequence[Job]) -> None:
    """End the command with 1 unless all jobs COMPLETED.

    Raises:
        Exit: not all did.
    """
    bad = [job for job in jobs if job.status != "COMPLETED"]
    if not bad:
        return
    ended = (
        f"the job ended {bad[0].status}"
        if len(jobs) == 1
        else f"{len(bad)} of {len(jobs)} jobs did not complete, first {bad[0].job_id}"
    )
    typer.echo(f"jennah: {ended}: 'jennah get {bad[0].job_id}' says more.", err=True)
    raise typer.Exit(1)
