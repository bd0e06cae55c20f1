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
from collections import defaultdict
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

_Key = tuple[str, str]  # figure, and what of it


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one measure.

    Attributes:
        base: the median in the earlier commit: of ratios to the floor, or of counts.
        here: the same in this checkout.
        unit: "x floor", or that of the counts.
    """

    figure: str
    name: str
    base: float
    here: float
    unit: str


def changes(base: Iterable[Mapping[str, Any]], here: Iterable[Mapping[str, Any]]) -> list[Change]:
    """Compare what both measured, by the JSON documents of their runs, and leave out what only one did."""
    before, now = _by_measure(base), _by_measure(here)
    return [
        Change(*key, statistics.median(before[key][0]), statistics.median(values), unit)
        for key, (values, unit) in now.items()
        if key in before
    ]


def _by_measure(documents: Iterable[Mapping[str, Any]]) -> dict[_Key, tuple[list[float], str]]:
    found: dict[_Key, tuple[list[float], str]] = defaultdict(lambda: ([], ""))
    for one in (measured for document in documents for measured in document["measured"]):
        counted = one["unit"] == _COUNTED
        key = (one["figure"], one["name"])
        values = [run["value" if counted else "ratio"] for run in one["runs"]]
        found[key] = (found[key][0] + values, _COUNTED if counted else "x floor")
    return found


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
    if not (folder / "Makefile").exists():
        archive = _git("archive", commit).stdout
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
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
    shown = table("FIGURE", "MEASURED", "UNIT", "BASE", "HERE", "HERE / BASE")
    for one in compared:
        ratio = f"{one.here / one.base:.2f}" if one.base else "-"
        shown.add_row(one.figure, one.name, one.unit, number(one.base), number(one.here), ratio)
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
