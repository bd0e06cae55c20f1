"""How jobs look: tables that pipe well, and the live view that follows a job to its end.

On a terminal there are colours and the width is respected; elsewhere lines are plain and never wrapped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TextIO

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jennah.client import Attempt, Client, Job, Transition

_STYLES = {
    "PENDING": "yellow",
    "SCHEDULED": "cyan",
    "RUNNING": "blue",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}
_NO_LIMIT = 100_000


def console_on(stream: TextIO) -> Console:
    """A console that takes text as it is: no markup, no guessing what a number or a path is."""
    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.size = ConsoleDimensions(_NO_LIMIT, 25)
    return console


def show(console: Console, *parts: RenderableType) -> None:
    """Print; in a pipe without the blanks that fill a table's last column."""
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")
    console.file.flush()


def printable(text: str) -> str:
    """Text of a stranger that can't move the cursor, change colours or reverse the line it stands in."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def status_text(status: str) -> Text:
    """A status in its colour."""
    return Text(status, style=_STYLES.get(status, ""))


def timestamp(moment: datetime | None, timespec: str = "seconds") -> str:
    """A time in UTC, as RFC 3339; "-" for none."""
    if moment is None:
        return "-"
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def elapsed(job: Job, now: datetime) -> str:
    """How long the job has taken, from its submission to its end or to `now`; "-" where nobody knows."""
    if job.created_at is None:
        return "-"
    seconds = max(0.0, ((job.completed_at or now) - job.created_at).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def jobs_table(jobs: Iterable[Job]) -> Table:
    """One line for each job."""
    table = _table("JOB", "STATUS", "ATTEMPT", "CREATED", "ELAPSED", "NAME", "IMAGE")
    now = datetime.now(UTC)
    for job in jobs:
        table.add_row(
            printable(job.job_id),
            status_text(job.status),
            str(job.attempt),
            timestamp(job.created_at),
            elapsed(job, now),
            _text(job.name),
            _text(job.image_uri),
        )
    return table


def transitions_table(transitions: Iterable[Transition]) -> Table:
    """An audit trail, one line for each change."""
    table = _table("TIME", "FROM", "TO", "ATTEMPT", "ACTOR", "REASON")
    for transition in transitions:
        table.add_row(*_transition_cells(transition))
    return table


def attempts_table(attempts: Iterable[Attempt]) -> Table:
    """One line for each run."""
    table = _table("ATTEMPT", "STARTED", "FINISHED", "EXIT", "REASON", "MESSAGE")
    for attempt in attempts:
        table.add_row(
            str(attempt.attempt),
            timestamp(attempt.started_at),
            timestamp(attempt.finished_at),
            "-" if attempt.exit_code is None else str(attempt.exit_code),
            _text(attempt.reason),
            _text(attempt.message),
        )
    return table


def job_details(job: Job) -> Group:
    """Everything about one job: a line for each fact, then its attempts."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    lines: Sequence[tuple[str, str | Text]] = (
        ("job", _text(job.job_id)),
        ("name", _text(job.name)),
        ("status", status_text(job.status)),
        ("detail", _text(job.status_detail)),
        ("error", _text(job.error_message)),
        ("image", _text(job.image_uri)),
        ("commands", _text(shlex.join(job.commands))),
        ("retries", f"{job.retry_count} of {job.max_retries}"),
        *_policy_lines(job),
        ("created", timestamp(job.created_at)),
        ("scheduled", timestamp(job.scheduled_at)),
        ("started", timestamp(job.started_at)),
        ("completed", timestamp(job.completed_at)),
        ("batch job", _text(job.gcp_batch_job_name)),
    )
    for name, value in lines:
        if str(value) != "-":
            facts.add_row(name, value)
    if not job.attempts:
        return Group(facts)
    return Group(facts, Text(), attempts_table(job.attempts))


def _policy_lines(job: Job) -> Iterator[tuple[str, str]]:
    """How the job is retried and on what, where the server says so."""
    if "max_infrastructure_retries" in job.retry:
        budget = job.retry["max_infrastructure_retries"]
        yield "infra retries", _text(f"{job.infra_retry_count} of {budget}")
    if backoff := job.retry.get("backoff"):
        first, factor, most = (
            backoff.get(name) for name in ("first_delay_seconds", "factor", "max_delay_seconds")
        )
        yield "backoff", _text(f"up to {first} s, {factor} times as long each time, at most {most} s")
    for number, rule in enumerate(job.retry.get("rules") or (), start=1):
        kinds = {"exit code": rule.get("exit_codes"), "": rule.get("reasons")}
        causes = [f"{kind} {cause}".strip() for kind, names in kinds.items() for cause in names or ()]
        yield f"rule {number}", _text(f"{rule.get('action')} on {', '.join(causes)}")
    yield "machine", _text(job.provisioning)


def follow(client: Client, job_id: str, console: Console) -> Job:
    """Show every change of a job until its last; give it back as it ended."""
    return (_follow_live if console.is_terminal else _follow_in_lines)(client, job_id, console)


def _follow_live(client: Client, job_id: str, console: Console) -> Job:
    job = client.get_job(job_id)
    trail: list[Transition] = []

    def view() -> RenderableType:
        headline = Text.assemble(printable(job.name or job.job_id), "  ", status_text(job.status))
        headline.append(
            f"  {elapsed(job, datetime.now(UTC))}  {printable(job.status_detail or '')}", style="dim"
        )
        # Room for the "^C" that a terminal echoes: on a line of its own it would shift the last drawing.
        return Constrain(Group(headline, Text(), transitions_table(trail)), console.width - 2)

    with Live(console=console, get_renderable=view, refresh_per_second=8):
        for seen in client.watch_job(job_id):
            job, trail = seen, list(client.list_transitions(job_id))
    return job


def _follow_in_lines(client: Client, job_id: str, console: Console) -> Job:
    job = client.get_job(job_id)
    shown: set[str] = set()
    for seen in client.watch_job(job_id):
        job = seen
        for transition in client.list_transitions(job_id):
            if transition.transition_id not in shown:
                shown.add(transition.transition_id)
                show(console, Text("  ".join(map(str, _transition_cells(transition)))))
    return job


def _transition_cells(transition: Transition) -> tuple[str | Text, ...]:
    return (
        timestamp(transition.transitioned_at, "milliseconds"),
        "-" if transition.from_status is None else status_text(transition.from_status),
        status_text(transition.to_status),
        "-" if transition.attempt is None else str(transition.attempt),
        _text(transition.actor),
        _text(transition.reason),
    )


def _table(*columns: str) -> Table:
    """Ids and times stand whole, also on a narrow terminal; texts are folded."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        whole = column not in {"NAME", "IMAGE", "REASON", "MESSAGE"}
        table.add_column(column, no_wrap=whole, overflow="ignore" if whole else "fold")
    return table


def _text(value: str | None) -> str:
    return printable(value) if value else "-"
