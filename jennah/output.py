"""How commands print, and how they end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

REFUSED, MISUSED, UNREACHABLE = 1, 2, 3
"""How a command exits that fails: docs/cli.md."""

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from jennah.client import ApiError, Client, Job


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


def tell_refused(refused: Mapping[str, ApiError]) -> None:
    """Tell on stderr which jobs something was refused of, and why."""
    from jennah.access import sentence
    from jennah.render import printable

    for job_id, error in refused.items():
        typer.echo(f"jennah: {printable(f'{job_id}: {sentence(error)}')}.", err=True)


def jobs_json(
    job_ids: Sequence[str], jobs: Sequence[Job], refused: Mapping[str, ApiError]
) -> list[dict[str, Any]]:
    """The jobs in the order asked for; in the place of one that was refused, why."""
    shown = {job.job_id: job.as_json for job in jobs}
    shown |= {job_id: {"job_id": job_id, "refused": refusal_json(error)} for job_id, error in refused.items()}
    asked = [shown.pop(job_id) for job_id in dict.fromkeys(job_ids) if job_id in shown]
    return asked + list(shown.values())  # the latter where a server calls a job otherwise


def refusal_json(error: ApiError) -> dict[str, str]:
    """Why something was refused."""
    return {"code": error.code, "message": error.message}


def follow(client: Client, job_ids: Sequence[str], stream: TextIO, refused: dict[str, ApiError]) -> list[Job]:
    """Show jobs until all are final; give them back as they ended.

    Args:
        client: asks for them.
        job_ids: the jobs.
        stream: where they are shown.
        refused: takes those of several that there are not; that is told at once, and the others go on.
    """
    from jennah import live, render

    def missing(job_id: str, error: ApiError) -> None:
        refused[job_id] = error
        tell_refused({job_id: error})

    try:
        return live.follow(client, job_ids, render.console_on(stream), missing)
    except KeyboardInterrupt:
        goes_on = "The job goes on" if len(job_ids) == 1 else "The jobs go on"
        typer.echo(f"{goes_on} without you: jennah watch {' '.join(job_ids)}", err=True)
        raise


def exit_by_outcome(jobs: Sequence[Job], refused: Mapping[str, ApiError]) -> None:
    """End the command with 1 unless all jobs COMPLETED.

    Raises:
        Exit: not all did, or there were some that there are not: they were told.
    """
    bad = [job for job in jobs if job.status != "COMPLETED"]
    if not bad:
        if refused:
            raise typer.Exit(REFUSED)
        return
    ended = (
        f"the job ended {bad[0].status}"
        if len(jobs) == 1
        else f"{len(bad)} of {len(jobs)} jobs did not complete, first {bad[0].job_id}"
    )
    typer.echo(f"jennah: {ended}: 'jennah get {bad[0].job_id}' says more.", err=True)
    raise typer.Exit(1)
