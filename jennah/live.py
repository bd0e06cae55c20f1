"""Following jobs to their end: a live view on a terminal, elsewhere a line for each change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text

from jennah import job_columns, render, timeline
from jennah.client import ApiError, Client, Job, Transition

_COLUMNS = ("job", "status", "attempt", "elapsed", "name", "detail")
_SPARE = ("attempt", "elapsed", "name")


Missing = Callable[[str, ApiError], None]


def follow(client: Client, job_ids: Sequence[str], console: Console, on_missing: Missing) -> list[Job]:
    """Show every change until all jobs are final; give them back as they ended, in the order asked for.

    Args:
        client: asks for them.
        job_ids: the jobs.
        console: where they are shown, live where it is a terminal.
        on_missing: is told of those that there are not.
    """
    if not console.is_terminal:
        return _in_lines(client, job_ids, console, on_missing)
    if len(job_ids) == 1:
        return _one(client, job_ids[0], console, on_missing)
    return _many(client, job_ids, console, on_missing)


def _one(client: Client, job_id: str, console: Console, on_missing: Missing) -> list[Job]:
    job: Job | None = None
    trail: list[Transition] = []

    def view() -> RenderableType:
        if job is None:
            return Text()
        headline = Text.assemble(
            render.printable(job.name or job.job_id), "  ", render.status_text(job.status)
        )
        detail = render.text(str(job.status_detail) if job.status_detail else None, none="")
        headline.append(f"  {render.elapsed(job, datetime.now(UTC))}  {detail}", style="dim")
        # Room for the "^C" that a terminal echoes: on a line of its own it would shift the last drawing.
        width = console.width - 2
        table = render.fitted(width, lambda names: timeline.table(trail, names), timeline.ALL, timeline.SPARE)
        return Constrain(Group(headline, Text(), table), width)

    with Live(console=console, get_renderable=view, refresh_per_second=8):
        for seen in client.watch_jobs([job_id], on_missing=on_missing):
            job, trail = seen, _trail(client, job_id)
    return [job] if job else []


def _many(client: Client, job_ids: Sequence[str], console: Console, on_missing: Missing) -> list[Job]:
    jobs: dict[str, Job] = {}

    def view() -> RenderableType:
        width = console.width - 2
        table = render.fitted(
            width, lambda names: job_columns.table(list(jobs.values()), names), _COLUMNS, _SPARE
        )
        return Constrain(table, width)

    with Live(console=console, get_renderable=view, refresh_per_second=8, vertical_overflow="visible"):
        for job in client.watch_jobs(job_ids, on_missing=on_missing):
            jobs[job.job_id] = job
    return list(jobs.values())  # the first look at them goes in order


def _in_lines(client: Client, job_ids: Sequence[str], console: Console, on_missing: Missing) -> list[Job]:
    jobs: dict[str, Job] = {}
    shown: set[tuple[str, str]] = set()
    for job in client.watch_jobs(job_ids, on_missing=on_missing):
        jobs[job.job_id] = job
        for transition in _trail(client, job.job_id):
            if (job.job_id, transition.transition_id) not in shown:
                shown.add((job.job_id, transition.transition_id))
                line = timeline.line(transition)
                named = Text(f"{render.printable(job.job_id)}  ") + line if len(job_ids) > 1 else line
                render.show(console, named)
    return list(jobs.values())  # the first look at them goes in order


def _trail(client: Client, job_id: str) -> list[Transition]:
    """The audit trail; empty where the job was deleted since it was seen, which the next look at it tells."""
    try:
        return list(client.list_transitions(job_id))
    except ApiError as error:
        if error.code != "NOT_FOUND":
            raise
        return []
