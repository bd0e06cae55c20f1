"""Plant each bug in a copy of the tree, and see after how many seeds the simulator finds it.

python -m tests.mutants ends with one figure line; exit 1 if fewer than 95 % of the bugs were found.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from threading import Event, Lock
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.mutants.patches import Patch, PatchError, apply, copy_tree, patches

_WANTED = 0.95
# Columns of the table where it is not shown on a terminal.
_WIDTH = 150
_JOB = re.compile(r"^job [0-9a-f-]{36}: ")


@dataclass(frozen=True, slots=True)
class Hunted:
    """What became of a planted bug. `violation` is None where `seeds` seeds did not find it."""

    number: int
    name: str
    seeds: int
    seconds: float
    violation: str | None


class Hunt:
    """Looks for planted bugs, each in a process and a folder of its own.

    Args:
        limit: how many seeds at most.
        folder: where the copies of the tree stand.
        progress: called for each seed, with the patch and the seed.
    """

    def __init__(self, limit: int, folder: Path, progress: Callable[[Patch, int], None]) -> None:
        self._limit = limit
        self._folder = folder
        self._progress = progress
        self._children: set[subprocess.Popen[str]] = set()
        self._lock = Lock()
        self._ended = Event()

    def hunt(self, patch: Patch) -> Hunted:
        """Look for one bug.

        Raises:
            PatchError: it does not apply, or the hunt itself fails.
        """
        tree = self._folder / patch.path.stem
        copy_tree(tree)
        apply(patch, tree)
        began = time.monotonic()
        seeds, violation = 0, None
        with self._child(tree) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            for line in child.stdout:
                number, _, found = line.rstrip("\n").partition("\t")
                seeds, violation = int(number), found or None
                self._progress(patch, seeds)
            said = child.stderr.read().strip()
            code = child.wait()
        if code and violation is None and not self._ended.is_set():
            last = said.splitlines()[-1] if said else f"exit code {code}"
            raise PatchError(f"{patch.path.name}: the hunt itself failed: {last}")
        return Hunted(patch.number, patch.name, seeds, time.monotonic() - began, violation)

    @contextmanager
    def _child(self, tree: Path) -> Iterator[subprocess.Popen[str]]:
        with self._lock:
            if self._ended.is_set():
                raise PatchError("The hunt is over.")
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.mutants.hunt", str(self._limit)],
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the parent alone
            )
            self._children.add(child)
        with child:
            try:
                yield child
            finally:
                with self._lock:
                    self._children.discard(child)
                    child.kill()

    def end(self) -> None:
        """End every process that still looks."""
        with self._lock:
            self._ended.set()
            for child in self._children:
                child.kill()


def hunt_all(
    chosen: Sequence[Patch], *, limit: int, workers: int, progress: Callable[[Patch, int], None]
) -> Iterator[Hunted]:
    """Look for these bugs side by side; each comes when it is found, or given up.

    Raises:
        PatchError: one of them does not apply.
    """
    with tempfile.TemporaryDirectory(prefix="jennah-mutants-") as folder:
        hunt = Hunt(limit, Path(folder), progress)
        with ThreadPoolExecutor(workers) as pool:
            pending = [pool.submit(hunt.hunt, patch) for patch in chosen]
            try:
                for done in as_completed(pending):
                    yield done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                hunt.end()


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each bug is looked for in.")] = 10_000,
    only: Annotated[list[int] | None, typer.Option(help="Number of a bug; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many processes.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line for each bug, and no table.")] = False,
) -> None:
    """Look for each planted bug; exit 1 if too many are not found."""
    try:
        chosen = [patch for patch in patches() if not only or patch.number in only]
        if not chosen:
            raise typer.BadParameter(f"There is no planted bug {only}.", param_hint="--only")
        hunted = _watch(chosen, limit=seeds, workers=workers, as_json=as_json)
    except PatchError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not as_json:
        _show(hunted)
    typer.echo(figure(hunted), err=as_json)
    raise typer.Exit(1 if sum(one.violation is not None for one in hunted) < _WANTED * len(hunted) else 0)


def _watch(chosen: Sequence[Patch], *, limit: int, workers: int, as_json: bool) -> list[Hunted]:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hunted = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(chosen))

        def looked(patch: Patch, seed: int) -> None:
            progress.update(task, description=f"{patch.number:02d} {patch.name}: seed {seed:,}")

        for one in hunt_all(chosen, limit=limit, workers=workers, progress=looked):
            hunted.append(one)
            progress.advance(task)
            if as_json:
                typer.echo(json.dumps(asdict(one)))
    return sorted(hunted, key=lambda one: one.number)


def _show(hunted: Sequence[Hunted]) -> None:
    table = Table(box=None)
    table.add_column("NO", justify="right")
    table.add_column("BUG", no_wrap=True)
    table.add_column("SEEDS", justify="right")
    table.add_column("SECONDS", justify="right")
    table.add_column("WHAT WAS FOUND", no_wrap=True)
    for one in hunted:
        found = _JOB.sub("", one.violation) if one.violation else "nothing: it survives"
        table.add_row(f"{one.number:02d}", one.name, f"{one.seeds:,}", f"{one.seconds:.1f}", found)
    console = Console()
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)


def figure(hunted: Sequence[Hunted]) -> str:
    """The last line: how many bugs were found, and how soon."""
    needed = [one.seeds for one in hunted if one.violation is not None]
    survivors = [f"{one.number:02d}-{one.name}" for one in hunted if one.violation is None]
    found = f"median {median(needed):,.0f} seeds, most {max(needed):,} seeds" if needed else "none found"
    return (
        f"mutants: {len(hunted)} planted, {len(needed)} killed ({len(needed) / len(hunted):.1%}), {found}; "
        f"survivors: {', '.join(survivors) or 'none'}"
    )


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    typer.run(main)
