"""How jobs look: tables that pipe well.

On a terminal there are colours and the width is respected; elsewhere lines are plain and never wrapped.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from jennah.client import Attempt, Job, LogEntry, Tenant

_STYLES = {
    "PENDING": "yellow",
    "SCHEDULED": "cyan",
    "RUNNING": "blue",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}
_NO_LIMIT = 100_000
_LEAST = 12  # columns of the screen for a text that is folded; less can't be read


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


def fitted(
    width: int, make: Callable[[Sequence[str]], Table], columns: Sequence[str], spare: Sequence[str]
) -> Table:
    """A table that is no wider than a terminal, if that can be.

    Args:
        width: the terminal's.
        make: makes the table with these columns.
        columns: those that are wanted.
        spare: those that may go where there is no room, the first one first.
    """
    chosen = list(columns)
    made = make(chosen)
    for name in spare:
        if name in chosen and least_width(made) > width:
            chosen.remove(name)
            made = make(chosen)
    return made


def least_width(made: Table) -> int:
    """How many columns of the screen a table needs."""
    widths = []
    for column in made.columns:
        cells = [column.header, *column.cells]
        width = max(cell_len(cell.plain if isinstance(cell, Text) else str(cell)) for cell in cells)
        widths.append(width if column.no_wrap else min(width, _LEAST))
    return sum(widths) + 2 * len(widths)


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
    return duration(((job.completed_at or now) - job.created_at).total_seconds())


def duration(seconds: float) -> str:
    """A time span for people."""
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {int(seconds):02} s"


def attempts_table(attempts: Iterable[Attempt]) -> Table:
    """One line for each run."""
    shown = table("ATTEMPT", "STARTED", "FINISHED", "EXIT", "REASON", "MESSAGE")
    for attempt in attempts:
        shown.add_row(
            str(attempt.attempt),
            timestamp(attempt.started_at),
            timestamp(attempt.finished_at),
            "-" if attempt.exit_code is None else str(attempt.exit_code),
            text(attempt.reason),
            text(attempt.message),
        )
    return shown


def job_details(job: Job) -> Group:
    """Everything about one job: a line for each fact, then its attempts."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    lines: Sequence[tuple[str, str | Text]] = (
        ("job", text(job.job_id)),
        ("name", text(job.name)),
        ("status", status_text(job.status)),
        ("detail", text(str(job.status_detail) if job.status_detail else None)),
        ("error", text(job.error_message)),
        ("image", text(job.image_uri)),
        ("entrypoint", text(job.entrypoint)),
        ("commands", text(shlex.join(job.commands))),
        ("size", text(size(job))),
        ("tasks", text(_tasks(job))),
        ("priority", text(str(job.priority) if job.priority else None)),
        ("labels", text(", ".join(f"{name}={value}" for name, value in job.labels.items()))),
        ("secrets", text(", ".join(f"{name}={value}" for name, value in job.secret_env.items()))),
        *_mount_lines(job),
        ("retry of", text(job.origin_job_id)),
        ("retries", f"{job.retry_count} of {job.max_retries}"),
        *_policy_lines(job),
        ("created", timestamp(job.created_at)),
        ("scheduled", timestamp(job.scheduled_at)),
        ("started", timestamp(job.started_at)),
        ("completed", timestamp(job.completed_at)),
        ("batch job", text(job.gcp_batch_job_name)),
    )
    for name, value in lines:
        if str(value) != "-":
            facts.add_row(name, value)
    if not job.attempts:
        return Group(facts)
    return Group(facts, Text(), attempts_table(job.attempts))


def _tasks(job: Job) -> str | None:
    if job.task_count == 1:
        return None
    return f"{job.task_count}, {job.parallelism} at a time" if job.parallelism else str(job.task_count)


def _mount_lines(job: Job) -> Iterator[tuple[str, str]]:
    for mount in job.mounts:
        source = "/".join(part for part in (mount.get("bucket"), mount.get("path")) if part)
        writable = "" if mount.get("read_only", True) else ", writable"
        yield "mount", text(f"gs://{source} at {mount.get('mount_path')}{writable}")


def _policy_lines(job: Job) -> Iterator[tuple[str, str]]:
    """How the job is retried and on what, where the server says so."""
    if "max_infrastructure_retries" in job.retry:
        budget = job.retry["max_infrastructure_retries"]
        yield "infra retries", text(f"{job.infra_retry_count} of {budget}")
    if backoff := job.retry.get("backoff"):
        first, factor, most = (
            backoff.get(name) for name in ("first_delay_seconds", "factor", "max_delay_seconds")
        )
        yield "backoff", text(f"up to {first} s, {factor} times as long each time, at most {most} s")
    for number, rule in enumerate(job.retry.get("rules") or (), start=1):
        kinds = {"exit code": rule.get("exit_codes"), "": rule.get("reasons")}
        causes = [f"{kind} {cause}".strip() for kind, names in kinds.items() for cause in names or ()]
        yield f"rule {number}", text(f"{rule.get('action')} on {', '.join(causes)}")
    yield "machine", text(job.provisioning)


def tenant_details(tenant: Tenant) -> Table:
    """Who one is: a line for each fact."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in (
        ("tenant", tenant.tenant_id),
        ("email", tenant.email),
        ("provider", tenant.provider),
        ("subject", tenant.subject),
        ("created", timestamp(tenant.created_at)),
        *(("deleted", timestamp(at)) for at in [tenant.deleted_at] if at),
        *(
            (f"limit: {limit}", "none" if most is None else f"{_used(tenant.usage.get(limit))}{most}")
            for limit, most in tenant.limits.items()
        ),
    ):
        facts.add_row(printable(name), text(value))
    return facts


def _used(count: float | None) -> str:
    return "" if count is None else f"{count:g} of "


def log_line(entry: LogEntry, *, timestamps: bool, safe: bool) -> str:
    """A line of a log; `safe` for a terminal, where a stranger's text may not move the cursor."""
    text = "\t".join(map(printable, entry.message.split("\t"))) if safe else entry.message
    return f"{timestamp(entry.timestamp, 'milliseconds')} {entry.stream} {text}" if timestamps else text


def size(job: Job) -> str | None:
    """What one task of the job is given."""
    given = job.resources
    sized = f"{given.get('cpu_milli')} mCPU, {given.get('memory_mib')} MiB" if given else None
    parts = [sized or job.machine_type or job.profile]
    if job.gpus:
        parts.append(f"{job.gpus.get('count')} x {job.gpus.get('type')}")
    if job.boot_disk_gib:
        parts.append(f"{job.boot_disk_gib} GiB disk")
    return ", ".join(part for part in parts if part) or None


def table(*columns: str) -> Table:
    """Ids and times stand whole, also on a narrow terminal; texts are folded."""
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        whole = column not in {
            "NAME",
            "IMAGE",
            "REASON",
            "MESSAGE",
            "DETAIL",
            "ERROR",
            "LABELS",
            "SIZE",
            "VIOLATION",
        }
        made.add_column(column, no_wrap=whole, overflow="ignore" if whole else "fold")
    return made


def text(value: str | None, none: str = "-") -> str:
    """Text of a stranger, or what stands for none."""
    return printable(value) if value else none
