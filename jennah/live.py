"""Following jobs to their end: a live view on a terminal, elsewhere a line for each change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text

from jennah import job_columns, render, timeline
from jennah.client import Client, Job, Transition

_COLUMNS = ("job", "status", "attempt", "elapsed", "name", "detail")
_SPARE = ("attempt", "elapsed", "name")


def follow(client: Client, job_ids: Sequence[str], console: Console) -> list[Job]:
    """Show every change until all jobs are final; give them back as they ended, in the order asked for."""
    if not console.is_terminal:
        return _in_lines(client, job_ids, console)
    return [_one(client, job_ids[0], console)] if len(job_ids) == 1 else _many(client, job_ids, console)


def _one(client: Client, job_id: str, console: Console) -> Job:
    job = client.get_job(job_id)
    trail: list[Transition] = []

    def view() -> RenderableType:
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
        for seen in client.watch_job(job_id):
            job, trail = seen, list(client.list_transitions(job_id))
    return job


def _many(client: Client, job_ids: Sequence[str], console: Console) -> list[Job]:
    jobs: dict[str, Job] = {}

    def view() -> RenderableType:
        width = console.width - 2
        table = render.fitted(
            width, lambda names: job_columns.table(list(jobs.values()), names), _COLUMNS, _SPARE
        )
        return Constrain(table, width)

    with Live(console=console, get_renderable=view, refresh_per_second=8, vertical_overflow="visible"):
        for job in client.watch_jobs(job_ids):
            jobs[job.job_id] = job
    return list(jobs.values())  # the first look at them goes in order


def _in_lines(client: Client, job_ids: Sequence[str], console: Console) -> list[Job]:
    jobs: dict[str, Job] = {}
    shown: set[tuple[str, str]] = set()
    for job in client.watch_jobs(job_ids):
        jobs[job.job_id] = job
        for transition in client.list_transitions(job.job_id):
            if (job.job_id, transition.transition_id) not in shown:
                shown.add((job.job_id, transition.transition_id))
                line = timeline.line(transition)
                named = Text(f"{render.printable(job.job_id)}  ") + line if len(job_ids) > 1 else line
                render.show(console, named)
    return list(jobs.values())  # the first look at them goes in order
