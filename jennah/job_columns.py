"""The columns that a listing of jobs may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import typer
from rich.table import Table
from rich.text import Text

from jennah import render
from jennah.client import Job

_Cell = str | Text

ALL: dict[str, Callable[[Job], object]] = {
    "job": lambda job: job.job_id,
    "status": lambda job: render.status_text(job.status),
    "detail": lambda job: job.status_detail,
    "attempt": lambda job: job.attempt,
    "created": lambda job: render.timestamp(job.created_at),
    "updated": lambda job: render.timestamp(job.updated_at),
    "scheduled": lambda job: render.timestamp(job.scheduled_at),
    "started": lambda job: render.timestamp(job.started_at),
    "completed": lambda job: render.timestamp(job.completed_at),
    "elapsed": lambda job: render.elapsed(job, datetime.now(UTC)),
    "name": lambda job: job.name,
    "image": lambda job: job.image_uri,
    "error": lambda job: job.error_message,
    "retries": lambda job: f"{job.retry_count} of {job.max_retries}",
    "tasks": lambda job: job.task_count,
    "priority": lambda job: job.priority,
    "size": render.size,
    "labels": lambda job: ",".join(f"{name}={value}" for name, value in job.labels.items()),
    "origin": lambda job: job.origin_job_id,
    "tenant": lambda job: job.tenant_id,
}
SPARE = ("image", "attempt", "created")
"""Of the usual ones: those that go, in this order, where a terminal is too narrow for all."""
DEFAULT = ("job", "status", "attempt", "created", "elapsed", "name", "image")


def parse(names: str | None) -> Sequence[str]:
    """The columns that a comma-separated list names; the usual ones for None.

    Raises:
        BadParameter: it names another.
    """
    if names is None:
        return DEFAULT
    chosen = [name.strip().lower() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in ALL]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(ALL)}", param_hint="--columns")
    return chosen


def table(jobs: Iterable[Job], columns: Sequence[str] = DEFAULT) -> Table:
    """One line for each job."""
    shown = render.table(*(name.upper() for name in columns))
    for job in jobs:
        shown.add_row(*(_cell(ALL[name](job)) for name in columns))
    return shown


def _cell(value: object) -> _Cell:
    if isinstance(value, Text):
        return value
    return render.text(None if value is None else str(value))
