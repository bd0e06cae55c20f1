"""An earlier commit and this checkout, measured in turns: `make bench-compare BASE=main~20`.

Each round is one run of the figures in either, in the other order every second time, each with its own code,
its own packages and its own benchmarks. What is compared are the ratios to the floors of the same run where
times are meant, and the values where counts are.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from jennah.local.processes import LocalCloudError
from jennah.local.services import CHECKOUT
from jennah.render import show, table
from tests.benchmarks.__main__ import FigureName
from tests.benchmarks.report import number, require_emulators
from tests.chaos.scene import Progress, RunFailed, run_in_folder

_BASES: Final = CHECKOUT / ".local" / "bench-base"
_SECONDS_PER_RUN: Final = 1200
_COUNTED: Final = "per job"

_Key = tuple[str, str, int]  # figure, what of it, and beside which of its floors: the first, the second …


@dataclass(frozen=True, slots=True)
class Side:
    """What one commit measured, in medians.

    Attributes:
        value: in the measure's unit.
        floor: of the same runs.
        ratio: of the value to the floor, run by run.
        beside: what the floor is.
    """

    value: float
    floor: float
    ratio: float
    beside: str


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one measure: in the earlier commit, and in this checkout."""

    figure: str
    name: str
    unit: str
    base: Side
    here: Side

    @property
    def factor(self) -> float | None:
        """How many times as much it is here: the count, or the ratio of a time to its floor.

        None where that says nothing: the floor is another one now, or there was nothing.
        """
        counted = self.unit == _COUNTED
        if not counted and self.base.beside != self.here.beside:
            return None
        base, here = (self.base.value, self.here.value) if counted else (self.base.ratio, self.here.ratio)
        return here / base if base else None


def changes(base: Iterable[Mapping[str, Any]], here: Iterable[Mapping[str, Any]]) -> list[Change]:
    """Compare what both measured, by the JSON documents of their runs, and leave out what only one did."""
    before, now = _by_measure(base), _by_measure(here)
    return [
        Change(key[0], key[1], unit, before[key][1], side)
        for key, (unit, side) in now.items()
        if key in before
    ]


def _by_measure(documents: Iterable[Mapping[str, Any]]) -> dict[_Key, tuple[str, Side]]:
    runs: dict[_Key, list[Mapping[str, Any]]] = defaultdict(list)
    rows: dict[_Key, Mapping[str, Any]] = {}
    for document in documents:
        floors = Counter[tuple[str, str]]()
        for row in document["measured"]:
            named = row["figure"], row["name"]
            floors[named] += 1
            if row["runs"]:
                key = (*named, floors[named])
                runs[key] += row["runs"]
                rows[key] = row

    def median(key: _Key, what: str) -> float:
        return float(statistics.median(run[what] for run in runs[key]))

    return {
        key: (
            row["unit"],
            Side(median(key, "value"), median(key, "floor"), median(key, "ratio"), row["floor"]["name"]),
        )
        for key, row in rows.items()
    }


def unpack(base: str) -> tuple[Path, str]:
    """The files of a commit in a folder that is kept, since its environment takes a while, and the commit.

    Raises:
        RunFailed: there is no such commit, or it has no benchmarks.
    """
    named = _git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    if named.returncode:
        raise RunFailed(f"{base} is no commit here: name one that git knows, such as BASE=HEAD~10.")
    commit = named.stdout.decode().strip()
    folder = _BASES / commit
    if not folder.exists():
        _BASES.mkdir(parents=True, exist_ok=True)
        # Elsewhere first: what was interrupted must not pass for the whole.
        with tempfile.TemporaryDirectory(dir=_BASES) as place:
            with tarfile.open(fileobj=io.BytesIO(_git("archive", commit).stdout)) as tar:
                tar.extractall(Path(place) / "files", filter="data")
            (Path(place) / "files").rename(folder)
    if not (folder / "tests" / "benchmarks" / "__main__.py").exists():
        raise RunFailed(f"{base} is from before there was `make bench`: name a later commit.")
    return folder, commit


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=False)


def _measure(checkout: Path, figures: list[str], jobs: int | None, place: Path) -> dict[str, Any]:
    """One run in a checkout, as its own `make bench` does it."""
    kept, log = place.with_suffix(".json"), place.with_suffix(".log")
    options = ["--runs", "1", "--json", str(kept), *(["--jobs", str(jobs)] if jobs else [])]
    with log.open("wb") as output:
        _run(["make", ".venv/.ready"], checkout, output)
        _run([".venv/bin/python", "-m", "tests.benchmarks", *figures, *options], checkout, output)
    document: dict[str, Any] = json.loads(kept.read_text())
    return document


def _run(command: list[str], folder: Path, output: Any) -> None:
    with subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # it ends what it started
            process.wait()
            raise
    if code:
        raise RunFailed(f"`{' '.join(command)}` in {folder} ended with {code}: {output.name} says why.")


def summary(compared: list[Change]) -> Table:
    """A line for each measure."""
    shown = table("FIGURE", "MEASURED", "UNIT", "BASE", "ITS FLOOR", "HERE", "ITS FLOOR", "HERE / BASE")
    for one in compared:
        sides = [number(of) for side in (one.base, one.here) for of in (side.value, side.floor)]
        factor = "another floor" if one.base.beside != one.here.beside else "-"
        shown.add_row(
            one.figure, one.name, one.unit, *sides, factor if one.factor is None else f"{one.factor:.2f}"
        )
    return shown


def _compare(base: str, figures: list[str], rounds: int, jobs: int | None) -> Callable[[Path, Console], str]:
    def body(folder: Path, console: Console) -> str:
        unpacked, commit = unpack(base)
        documents: dict[Path, list[dict[str, Any]]] = {unpacked: [], CHECKOUT: []}
        names = {unpacked: commit[:12], CHECKOUT: "this checkout"}
        with Progress(console) as progress:
            for number_ in range(rounds):
                for checkout in reversed(documents) if number_ % 2 else documents:
                    progress.phase(f"round {number_ + 1} of {rounds}: {names[checkout]}")
                    place = folder / f"{number_}-{checkout.name}"
                    documents[checkout].append(_measure(checkout, figures, jobs, place))
        compared = changes(documents[unpacked], documents[CHECKOUT])
        show(console, summary(compared))
        return f"{len(compared)} figures compared with {commit[:12]} in {rounds} rounds"

    return body


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    base: Annotated[str, typer.Argument(help="The earlier commit.")],
    figures: Annotated[
        list[FigureName] | None, typer.Argument(help="Which figures; all without one.")
    ] = None,
    *,
    runs: Annotated[int, typer.Option(min=1, help="How often each is measured in either.")] = 5,
    jobs: Annotated[int | None, typer.Option(min=2, help="How many jobs in a run.")] = None,
) -> None:
    """Measure this checkout and an earlier commit in turns."""
    if not base:
        sys.stderr.write("bench-compare: name the commit to compare with: make bench-compare BASE=HEAD~10.\n")
        raise typer.Exit(2)
    try:
        require_emulators()
    except LocalCloudError as error:
        sys.stderr.write(f"bench-compare: {error}\n")
        raise typer.Exit(1) from None
    body = _compare(base, list(figures or ()), runs, jobs)
    seconds = 2 * runs * _SECONDS_PER_RUN
    raise typer.Exit(run_in_folder("bench-compare", body, keep=False, seconds=seconds))


if __name__ == "__main__":
    app()
