"""Benchmarks: every figure beside its floor, measured in the same run.

    python -m tests.benchmarks [FIGURE ...] [--runs 5] [--full] [--json FILE] [--plot FILE]

docs/benchmarks.md says what each figure is, and how its floor is made. The exit code is 1 where something
failed, not where a goal is missed: the table says that, and machines are noisy.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from jennah.local.processes import LocalCloudError
from jennah.render import show
from tests.benchmarks import calls, cold_start, growth, lifecycles, notify, submit
from tests.benchmarks.figures import Row, Run, headline, rows
from tests.benchmarks.plot import write_plot
from tests.benchmarks.recording import Life, record
from tests.benchmarks.report import document, require_emulators, summary, write_json
from tests.chaos.scene import Progress, RunFailed, run_in_folder

_JOBS, _JOBS_FULL = 200, 1000
_STORED, _STORED_FULL = 10_000, 100_000
_SECONDS_PER_RUN: Final = 600


class FigureName(StrEnum):
    """What can be measured."""

    LIFECYCLES = lifecycles.FIGURE
    CALLS = calls.FIGURE
    SUBMIT = submit.FIGURE
    NOTIFY = notify.FIGURE
    COLD_START = cold_start.FIGURE
    GROWTH = growth.FIGURE


# What takes too long to be measured each time.
_LONG: Final = frozenset({FigureName.GROWTH})


@dataclass(frozen=True, slots=True)
class _Asked:
    figures: list[FigureName]
    runs: int
    jobs: int
    stored: int
    json: Path | None
    plot: Path | None

    @property
    def options(self) -> dict[str, Any]:
        return {"figures": list(self.figures), "runs": self.runs, "jobs": self.jobs, "stored": self.stored}


class _Bench:
    """All figures that are asked for, one after the other."""

    def __init__(self, asked: _Asked, folder: Path, console: Console) -> None:
        self._asked = asked
        self._folder = folder
        self._console = console
        self._progress = Progress(console)
        self._life: Life | None = None

    def run(self) -> str:
        """Measure, show and keep; return the headline."""
        runs: dict[FigureName, list[Run]] = {}
        with self._progress:
            for figure in self._asked.figures:
                runs[figure] = [self._run(figure, number) for number in range(self._asked.runs)]
        measured = rows(run for of_figure in runs.values() for run in of_figure)
        self._keep(measured, {name: [run.details for run in of_figure] for name, of_figure in runs.items()})
        return headline(measured)

    def _keep(self, measured: list[Row], details: Mapping[str, list[Mapping[str, Any]]]) -> None:
        show(self._console, summary(measured))
        asked = self._asked
        content = document(measured, details, asked.options)
        if asked.json:
            write_json(asked.json, content)
        if asked.plot:
            machine = content["machine"]
            commit = (content["commit"] or "no commit")[:12]
            title = f"{machine['processor']}, {machine['cores']} cores, {content['date'][:10]}, {commit}"
            write_plot(asked.plot, measured, title)

    def _run(self, figure: FigureName, number: int) -> Run:
        folder = self._folder / f"{figure}-{number + 1}"
        folder.mkdir()
        name = f"{figure}, run {number + 1} of {self._asked.runs}"

        def say(step: str) -> None:
            self._progress.phase(f"{name}: {step}")

        jobs = self._asked.jobs
        if figure is FigureName.LIFECYCLES:
            return lifecycles.measure(self._recorded(), jobs, folder, number, say)
        if figure is FigureName.CALLS:
            return calls.measure(self._recorded(), max(1, jobs // 2), folder, say)  # counts flicker little
        if figure is FigureName.SUBMIT:
            return submit.measure(self._recorded(), jobs, folder, say)
        if figure is FigureName.NOTIFY:
            return notify.measure(jobs, folder, say)
        if figure is FigureName.GROWTH:
            return growth.measure(self._recorded(), folder, many=self._asked.stored, number=number, say=say)
        return cold_start.measure(folder, number, say)

    def _recorded(self) -> Life:
        if self._life is None:
            self._progress.phase("recording one job's life")
            place = self._folder / "recording"
            place.mkdir()
            self._life = record(place)
        return self._life


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    figures: Annotated[
        list[FigureName] | None, typer.Argument(help="Which; without one all, but growth with --full only.")
    ] = None,
    *,
    runs: Annotated[
        int, typer.Option(min=1, help="How often each is measured, each time on fresh emulators.")
    ] = 5,
    full: Annotated[bool, typer.Option("--full", help=f"{_JOBS_FULL:,} jobs in a run, not {_JOBS}.")] = False,
    jobs: Annotated[int | None, typer.Option(min=2, help="How many jobs in a run, instead.")] = None,
    stored: Annotated[
        int | None, typer.Option(min=growth.FEW + 1, help="How many jobs `growth` stores, instead.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything that was measured.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot: .png or .svg (needs the extra `bench`).")
    ] = None,
) -> None:
    """Measure every figure beside its floor."""
    asked = _Asked(
        figures=list(
            dict.fromkeys(figures or (figure for figure in FigureName if full or figure not in _LONG))
        ),
        runs=runs,
        jobs=jobs or (_JOBS_FULL if full else _JOBS),
        stored=stored or (_STORED_FULL if full else _STORED),
        json=json,
        plot=plot,
    )
    try:
        for path in filter(None, (json, plot)):
            _require_place(path)
        if plot:
            _require_plotting(plot)
        require_emulators()
    except (LocalCloudError, RunFailed) as error:
        sys.stderr.write(f"bench: {error}\n")
        raise typer.Exit(1) from None
    seconds = _SECONDS_PER_RUN * runs * len(asked.figures)
    raise typer.Exit(
        run_in_folder(
            "bench",
            lambda folder, console: _Bench(asked, folder, console).run(),
            keep=False,
            seconds=seconds,
        )
    )


def _require_place(path: Path) -> None:
    """A run of minutes must not end with nowhere to write what it found."""
    if path.is_dir():
        raise RunFailed(f"{path} is a folder: name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RunFailed(f"{path} can't be written: {error.strerror}.") from None


def _require_plotting(path: Path) -> None:
    """Say what is missing before anything is measured."""
    if path.suffix not in {".png", ".svg"}:
        raise RunFailed(f"{path} is neither .png nor .svg: name the plot so.")
    if importlib.util.find_spec("matplotlib") is None:
        raise RunFailed(
            "A plot needs matplotlib: run `pip install -c constraints.txt -e '.[bench]'`, or `make bench`."
        )


if __name__ == "__main__":
    app()
