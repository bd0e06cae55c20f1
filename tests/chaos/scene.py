"""What every run on real processes needs: a folder of its own, an end in time, and progress shown."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, Self

from google.cloud.spanner_v1.database import Database
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jennah.client import ClientError
from jennah.local.cloud import LocalCloud
from jennah.local.processes import LocalCloudError
from jennah.render import console_on, show
from shared.database import connect

_SECONDS_BETWEEN_LINES: Final = 5.0


class RunFailed(Exception):
    """The run can't be judged, or its verdict is bad. The message is for whoever started it."""


def run_in_folder(name: str, body: Callable[[Path, Console], str], *, keep: bool, seconds: float) -> int:
    """Let `body` run in a new folder; show its figure last, and return the exit code.

    The folder goes at the end, unless `keep` says otherwise or something was wrong. A run of more than
    `seconds` is ended. Ctrl-C and SIGTERM leave nothing behind.
    """
    console = console_on(sys.stdout)
    folder = Path(tempfile.mkdtemp(prefix=f"jennah-{name.replace(' ', '-')}-"))
    try:
        with _ending(seconds):
            figure = body(folder, console)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.write(f"{name}: interrupted; everything that was started has ended.\n")
        return 130
    except (RunFailed, LocalCloudError, ClientError, OSError) as error:
        if any(folder.iterdir()):
            show(console, Text(f"Logs, the ledger and the journal are kept in {folder}."))
        else:
            folder.rmdir()
        show(console, Text(f"{name}: {error}", style="bold red"))
        return 1
    if keep:
        show(console, Text(f"Everything is kept in {folder}."))
    else:
        shutil.rmtree(folder, ignore_errors=True)
    show(console, Text(f"{name}: {figure}", style="bold"))
    return 0


@contextmanager
def _ending(seconds: float) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this as Ctrl-C does, once, and the clock as a failure."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in (*signals, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)  # what follows must not be interrupted
        raise KeyboardInterrupt

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise RunFailed(f"it took longer than {seconds:.0f} s and was ended: something hangs.")

    before = {number: signal.signal(number, interrupt) for number in signals}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def open_database(cloud: LocalCloud) -> Database:
    """The cloud's database, read past whatever stands between it and the functions."""
    os.environ["SPANNER_EMULATOR_HOST"] = cloud.address_of("spanner")
    os.environ["GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW"] = "false"
    env = cloud.env
    return connect(env["GOOGLE_CLOUD_PROJECT"], env["SPANNER_INSTANCE"], env["SPANNER_DATABASE"])


def count_jobs(database: Database) -> tuple[int, int]:
    """How many jobs are final, and how many are not."""
    with database.snapshot() as snapshot:
        sql = "SELECT COUNTIF(Status IN ('COMPLETED', 'FAILED', 'CANCELLED')), COUNT(*) FROM Jobs"
        final, total = next(iter(snapshot.execute_sql(sql)))
    return int(final), int(total) - int(final)


class Progress:
    """What happens, shown as it does: a table that is redrawn on a terminal, elsewhere a line now and then.

    A context manager: the table stands while it is entered.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._next_line = 0.0
        self._phase = ""
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def phase(self, name: str) -> None:
        """Something new begins."""
        self._phase = name
        self._next_line = 0
        if self._console.is_terminal:
            self._live.update(self._table({}))
        else:
            show(self._console, Text(f"{self._elapsed:6.1f} s  {name}"))

    def update(self, figures: Mapping[str, object]) -> None:
        """Show where it stands."""
        if self._console.is_terminal:
            self._live.update(self._table(figures))
        elif time.monotonic() >= self._next_line:
            if self._next_line:
                shown = ", ".join(f"{name} {value}" for name, value in figures.items())
                show(self._console, Text(f"{self._elapsed:6.1f} s    {shown}"))
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _table(self, figures: Mapping[str, object]) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_row(Text(f"{self._elapsed:.0f} s", style="dim"), Text(self._phase, style="bold"))
        for name, value in figures.items():
            table.add_row(Text(name), Text(str(value), style="cyan"))
        return table
