"""The demonstration: real jobs on a local cloud of its own, shown live, and checked from outside.

It knows the platform as a tenant does, by HTTP alone. What really ran it reads where the platform has no
hand: in the local Batch service's log files and ledger.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jennah import timeline
from jennah.client import Client, ClientError, Job, Transition
from jennah.local.batch_runner import Run, read_ledger
from jennah.local.cloud import LocalCloud
from jennah.local.processes import LocalCloudError, free_port
from jennah.local.tokens import fetch_token
from jennah.render import console_on, elapsed, printable, show, status_text

_EMAIL: Final = "demo@example.com"
_PATIENCE_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.2

_PROJECT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("functions", "jennah", "shared")
_CHECKSUM: Final = """
import hashlib, os, pathlib
digest, lines = hashlib.sha256(), 0
for package in os.environ["PACKAGES"].split():
    for file in sorted(pathlib.Path(os.environ["PROJECT"], package).rglob("*.py")):
        text = file.read_bytes()
        digest.update(text)
        lines += text.count(b"\\n")
print(lines, "lines of Python, SHA-256", digest.hexdigest())
"""


@dataclass(slots=True)
class _Act:
    """One job of the demonstration, and what is known of it so far."""

    title: str
    job: Job
    trail: Sequence[Transition] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        return self.job.name or self.job.job_id


def run(stream: TextIO) -> int:
    """Run the demonstration, shown on `stream`, and return the exit code: 0 if everything held.

    Nothing is left running. When something did not hold, the cloud's folder is kept if it has logs.
    """
    console = console_on(stream)
    root = Path(tempfile.mkdtemp(prefix="jennah-demo-"))
    began = time.monotonic()
    try:
        with _interruptible():
            _say(
                console, "Starting a local cloud: the emulators, Batch, the token issuer, four functions ..."
            )
            with LocalCloud(root, free_port()) as cloud:
                _say(console, f"Ready after {time.monotonic() - began:.1f} s. Submitting five jobs.\n")
                held = _perform(cloud, console)
    except KeyboardInterrupt:
        shutil.rmtree(root, ignore_errors=True)
        sys.stderr.write("jennah: interrupted; everything that was started has ended.\n")
        return 130
    except (LocalCloudError, ClientError, OSError) as error:
        if any(root.rglob("*.log")):
            sys.stderr.write(f"jennah: {str(error).rstrip('.')} (logs are kept in {root}).\n")
        else:
            shutil.rmtree(root, ignore_errors=True)
            sys.stderr.write(f"jennah: {error}\n")
        return 1
    _say(console, "")
    for claim, true in held.items():
        verdict = ("held  ", "green") if true else ("BROKEN", "bold red")
        show(console, Text.assemble(verdict, f"  {claim}"))
    if not all(held.values()):
        broken = "; ".join(claim for claim, true in held.items() if not true)
        _say(console, f"\nDid not hold: {broken} (logs are kept in {root}).")
        return 1
    shutil.rmtree(root, ignore_errors=True)
    took = time.monotonic() - began
    _say(console, f"\nAll {len(held)} claims held, in {took:.1f} s; nothing is left running.")
    return 0


def _perform(cloud: LocalCloud, console: Console) -> dict[str, bool]:
    """Submit, follow, show; return what was claimed, and whether it held."""
    token = fetch_token(cloud.env["JENNAH_ISSUER_URL"], _EMAIL, cloud.env["JENNAH_AUDIENCE"])
    batch = Path(cloud.env["JENNAH_BATCH_DIRECTORY"])
    with Client(cloud.env["JENNAH_URL"], token) as client:
        key = str(uuid.uuid4())
        acts = _submit(client, key)
        submitted_again = client.submit_job("busybox", ["echo", "once"], name="twice", idempotency_key=key)
        _follow(client, list(acts.values()), console)
    for act in acts.values():
        _show_end(act, batch, console)
    runs = _runs(batch, acts["endless"].job)
    return _judge(acts, runs, batch) | {
        "twice: the second submission under its key gave the same job, and it ran once": (
            submitted_again.job_id == acts["twice"].job.job_id and len(_runs_of(acts["twice"].job, runs)) == 1
        )
    }


def _submit(client: Client, key: str) -> dict[str, _Act]:
    program = {"PROJECT": str(_PROJECT), "PACKAGES": " ".join(_PACKAGES)}
    fails_twice = 'echo "attempt $JENNAH_ATTEMPT"; test "$JENNAH_ATTEMPT" -ge 3'
    acts = (
        _Act(
            "computes a checksum of this project's files",
            client.submit_job(
                "python:3.13", [sys.executable, "-I", "-c", _CHECKSUM], name="checksum", env=program
            ),
        ),
        _Act(
            "fails twice, then succeeds",
            client.submit_job("busybox", ["sh", "-c", fails_twice], name="flaky", max_retries=3),
        ),
        _Act(
            "runs out of retries",
            client.submit_job("busybox", ["sh", "-c", "echo no; exit 7"], name="hopeless", max_retries=2),
        ),
        _Act(
            "is cancelled while it runs",
            client.submit_job("busybox", ["sh", "-c", "echo sleeping; sleep 3600"], name="endless"),
        ),
        _Act(
            "is submitted twice under one idempotency key",
            client.submit_job("busybox", ["echo", "once"], name="twice", idempotency_key=key),
        ),
    )
    return {act.name: act for act in acts}


def _follow(client: Client, acts: Sequence[_Act], console: Console) -> None:
    """Show every change until all jobs are final; cancel the endless one as soon as it runs."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    live = Live(console=console, get_renderable=lambda: _stage(acts), refresh_per_second=8)
    with live if console.is_terminal else nullcontext():
        while time.monotonic() < deadline and not all(act.job.is_final for act in acts):
            for act in acts:
                if act.job.is_final:
                    continue
                for change in _changes(client, act):
                    if not console.is_terminal:
                        _say(console, _line(act, change))
                if act.name == "endless" and act.job.status == "RUNNING":
                    client.cancel_job(act.job.job_id)
            time.sleep(_POLL_SECONDS)


def _changes(client: Client, act: _Act) -> Sequence[Transition]:
    """Look at a job again, and return what is new in its trail."""
    act.job = client.get_job(act.job.job_id)
    known = len(act.trail)
    if act.job.version == known:
        return ()
    act.trail = tuple(client.list_transitions(act.job.job_id))
    return act.trail[known:]


def _stage(acts: Sequence[_Act]) -> Table:
    table = Table("JOB", "", "STATUS", "ATTEMPT", "TIME", "LAST CHANGE", box=None, padding=(0, 2, 0, 0))
    now = datetime.now(UTC)
    for act in acts:
        reason = act.trail[-1].reason if act.trail else None
        status = status_text(act.job.status)
        of = f"{act.job.attempt} of {act.job.max_retries + 1}"
        table.add_row(act.name, act.title, status, of, elapsed(act.job, now), printable(reason or ""))
    return table


def _line(act: _Act, change: Transition) -> str:
    before = change.from_status or "-"
    return f"{change.transitioned_at:%H:%M:%S.%f}"[:-3] + (
        f"  {act.name:8}  {before:9} -> {change.to_status:9}  {printable(change.reason or '')}"
    )


def _show_end(act: _Act, batch: Path, console: Console) -> None:
    """A job's audit trail and what its attempts wrote."""
    heading = Text.assemble("\n", (act.name, "bold"), f" {act.title}: ", status_text(act.job.status))
    heading.append(f"  {act.job.job_id}", style="dim")
    output = [
        Text(f"attempt {number} wrote: {printable(line)}")
        for number, lines in enumerate(_output(act.job, batch), 1)
        for line in lines
    ]
    show(console, Group(heading, timeline.table(act.trail), *output))


def _output(job: Job, batch: Path) -> list[list[str]]:
    """The lines that each attempt wrote."""
    logs = [batch / str(attempt.batch_uid) / "task-0-0.log" for attempt in job.attempts]
    return [log.read_text(errors="replace").splitlines() if log.exists() else [] for log in logs]


def _runs(batch: Path, cancelled: Job) -> list[Run]:
    """Every process that Batch ran, once the cancelled job's has ended too."""
    deadline = time.monotonic() + 10
    while True:
        runs = read_ledger(batch)
        if _runs_of(cancelled, runs) or time.monotonic() > deadline:
            return runs
        time.sleep(_POLL_SECONDS)


def _runs_of(job: Job, runs: Sequence[Run]) -> list[Run]:
    uids = {attempt.batch_uid for attempt in job.attempts}
    return [run for run in runs if run.uid in uids]


def _judge(acts: Mapping[str, _Act], runs: Sequence[Run], batch: Path) -> dict[str, bool]:
    jobs = {name: act.job for name, act in acts.items()}
    exit_codes = {name: [attempt.exit_code for attempt in job.attempts] for name, job in jobs.items()}
    attempts = sum(job.attempt for job in jobs.values())
    return {
        "checksum: COMPLETED, and wrote what is computed here": (
            jobs["checksum"].status == "COMPLETED"
            and _output(jobs["checksum"], batch) == [[_expected_checksum()]]
        ),
        "flaky: COMPLETED by its third attempt": (
            jobs["flaky"].status == "COMPLETED"
            and (jobs["flaky"].attempt, jobs["flaky"].retry_count) == (3, 2)
        ),
        "hopeless: FAILED after three attempts, each with exit code 7": (
            jobs["hopeless"].status == "FAILED" and exit_codes["hopeless"] == [7, 7, 7]
        ),
        "endless: CANCELLED, and its process has ended": (
            jobs["endless"].status == "CANCELLED" and len(_runs_of(jobs["endless"], runs)) == 1
        ),
        "every audit trail is unbroken and ends in its job's status": all(map(_is_whole, acts.values())),
        f"Batch ran {attempts} processes, one for each attempt": len({run.uid for run in runs})
        == len(runs)
        == attempts,
    }


def _is_whole(act: _Act) -> bool:
    ends = [None, *(change.to_status for change in act.trail)]
    starts = [*(change.from_status for change in act.trail), act.job.status]
    return len(act.trail) > 1 and ends == starts


def _expected_checksum() -> str:
    files = itertools.chain.from_iterable(sorted((_PROJECT / package).rglob("*.py")) for package in _PACKAGES)
    text = b"".join(file.read_bytes() for file in files)
    lines = text.count(b"\n")
    return f"{lines} lines of Python, SHA-256 {hashlib.sha256(text).hexdigest()}"


def _say(console: Console, text: str) -> None:
    show(console, Text(text))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this as Ctrl-C does; once is enough, the cleaning up is left alone."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
