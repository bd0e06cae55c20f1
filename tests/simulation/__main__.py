"""Live through many worlds, and show what was found: `python -m tests.simulation FIRST..LAST`.

One seed alone is shown with its whole trace; the same seed always gives the same trace.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.faults import FAULTS, Fault, Site
from tests.simulation.seeds import Outcome, run_seed

_CHUNK = 100
_MOST_SHOWN = 5
_FRESH = 10**15


@dataclass
class Figures:
    """What many seeds came to."""

    seeds: int = 0
    steps: int = 0
    jobs: int = 0
    hits: Counter[tuple[Site, Fault]] = field(default_factory=Counter)
    violations: list[Outcome] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Count those of others too."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.jobs += other.jobs
        self.hits.update(other.hits)
        self.violations += other.violations

    def by_fault(self) -> Counter[Fault]:
        """How often each kind of fault took place, wherever it did."""
        found: Counter[Fault] = Counter()
        for (_, fault), hits in self.hits.items():
            found[fault] += hits
        return found


def run_seeds(seeds: Sequence[int]) -> Figures:
    """Live through these worlds, one after the other, in this process."""
    figures = Figures()
    for seed in seeds:
        outcome = run_seed(seed)
        figures.seeds += 1
        figures.steps += outcome.steps
        figures.jobs += outcome.jobs
        figures.hits.update(outcome.hits)
        if outcome.violation is not None:
            figures.violations.append(outcome)
    return figures


def run_in_parallel(seeds: range, workers: int) -> Iterator[Figures]:
    """Live through these worlds in several processes; what is found comes in chunks."""
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    with multiprocessing.get_context("fork").Pool(workers, _begin_worker) as pool:
        yield from pool.imap_unordered(run_seeds, chunks)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    gc.freeze()


def main(
    seeds: Annotated[
        str, typer.Argument(metavar="FIRST..LAST", help="Which seeds, or a single one, shown with its trace.")
    ] = "1..1000",
    *,
    fresh: Annotated[int, typer.Option(min=0, help="So many seeds that chance chooses, instead.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="How many processes.")] = os.cpu_count() or 1,
    by_site: Annotated[bool, typer.Option("--by-site", help="Count each fault at each boundary.")] = False,
) -> None:
    """Live through many simulated worlds; exit 1 if anything was violated in one."""
    if fresh:
        first = secrets.randbelow(_FRESH)
        seeds = f"{first}..{first + fresh - 1}"
        typer.echo(f"seeds {seeds}")
    chosen = _range(seeds)
    if len(chosen) == 1:
        raise typer.Exit(replay(chosen[0]))
    began = time.monotonic()
    figures, interrupted = Figures(), False
    try:
        _live(chosen, workers, figures)
    except KeyboardInterrupt:
        interrupted = True  # what was found so far is shown all the same
    elapsed = time.monotonic() - began
    _show(figures, by_site=by_site)
    typer.echo(_line(figures, elapsed, workers))
    raise typer.Exit(130 if interrupted else 1 if figures.violations else 0)


def _live(seeds: range, workers: int, figures: Figures) -> None:
    """Live through these worlds, show how far it is, and count into `figures`."""
    console = Console(stderr=True)
    tenths = 0
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("seeds", total=len(seeds))
        for found in run_in_parallel(seeds, workers):
            for outcome in found.violations:
                progress.console.print(f"seed {outcome.seed}: {outcome.violation}", markup=False)
            figures.add(found)
            done = figures.seeds * 10 // len(seeds)
            if done > tenths and not console.is_terminal:
                console.print(f"{figures.seeds:,} seeds, {len(figures.violations)} violations")
            tenths = done
            progress.update(
                task, completed=figures.seeds, description=f"{len(figures.violations)} violations"
            )


def replay(seed: int) -> int:
    """Show the trace of one seed, and return the exit code."""
    outcome = run_seed(seed, trace=True)
    for line in outcome.trace or ():
        typer.echo(line)
    typer.echo(f"seed {seed}: {outcome.violation or 'everything held'}")
    return 1 if outcome.violation else 0


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        chosen = range(int(first), int(last if dots else first) + 1)
    except ValueError:
        chosen = range(0)
    if not chosen:
        raise typer.BadParameter(f"{text!r} is no range of seeds: write 1..20000, or one number.")
    return chosen


def _show(figures: Figures, *, by_site: bool) -> None:
    table = Table(*(["SITE"] if by_site else []), "FAULT", "HITS", box=None)
    if by_site:
        for site, faults in FAULTS.items():
            for fault in faults:
                table.add_row(site, fault, f"{figures.hits[site, fault]:,}")
    else:
        hits = figures.by_fault()
        for fault in Fault:
            table.add_row(fault, f"{hits[fault]:,}")
    Console().print(table)
    for outcome in sorted(figures.violations, key=lambda found: found.seed)[:_MOST_SHOWN]:
        typer.echo(f"seed {outcome.seed}: {outcome.violation}")
        typer.echo(f"  its trace: make simulate SEEDS={outcome.seed}")
    if len(figures.violations) > _MOST_SHOWN:
        typer.echo(f"… and {len(figures.violations) - _MOST_SHOWN} seeds more")


def _line(figures: Figures, elapsed: float, workers: int) -> str:
    rate, hits = figures.seeds / elapsed, figures.by_fault()
    return (
        f"simulate: {figures.seeds:,} seeds, {figures.jobs:,} jobs, {elapsed:.0f} s, "
        f"{rate:.0f} seeds/s ({rate / workers:.0f} a core), {figures.steps / elapsed:,.0f} steps/s, "
        f"{sum(figures.hits.values()):,} faults, each kind at least "
        f"{min(hits[fault] for fault in Fault):,} times, {len(figures.violations)} violations"
    )


if __name__ == "__main__":
    typer.run(main)
