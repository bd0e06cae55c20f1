"""Lifecycles/s: jobs of `true` from HTTP to COMPLETED, beside two floors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample
from tests.benchmarks.floors import bare_clients
from tests.benchmarks.recording import Life
from tests.benchmarks.whole_cloud import WholeCloud

FIGURE: Final = "lifecycles"

_WHOLE: Final = "jobs from HTTP to COMPLETED"
BESIDE_CLIENTS: Final = Measure(
    FIGURE, _WHOLE, "jobs/s", "bare Spanner clients", Goal(Bound.RATIO_AT_LEAST, 0.30)
)
BESIDE_PUSHES: Final = Measure(
    FIGURE, _WHOLE, "jobs/s", "those, no-op pushes and bare forks", Goal(Bound.RATIO_AT_LEAST, 0.60)
)
_WARM: Final = 20


def measure(life: Life, jobs: int, folder: Path, number: int, say: Callable[[str], None]) -> Run:
    """One run: the product and both floors, one after the other; every second run begins at the other end.

    Args:
        life: what the floors do.
        jobs: how many.
        folder: for files.
        number: of the run.
        say: told what happens.
    """
    details: dict[str, Any] = {"jobs": jobs}

    def floor(name: str, place: Path) -> float:
        measured = bare_clients(life, jobs, place, pushes_and_forks=name == "pushes")
        details[f"{name}_worked_seconds"] = {one: round(took, 3) for one, took in measured.worked.items()}
        return measured.speed

    steps: dict[str, Callable[[Path], float]] = {
        "whole": lambda place: _whole(jobs, place, details),
        "clients": lambda place: floor("clients", place),
        "pushes": lambda place: floor("pushes", place),
    }
    speeds = {}
    for name in reversed(steps) if number % 2 else steps:
        say({"whole": "the whole cloud", "clients": "bare clients", "pushes": "with pushes and forks"}[name])
        place = folder / name
        place.mkdir()
        speeds[name] = steps[name](place)
    return Run(
        [
            Sample(BESIDE_CLIENTS, speeds["whole"], speeds["clients"]),
            Sample(BESIDE_PUSHES, speeds["whole"], speeds["pushes"]),
        ],
        details,
    )


def _whole(jobs: int, folder: Path, details: dict[str, Any]) -> float:
    with WholeCloud(folder, {}, warm=_WARM) as whole:
        before = whole.processor_seconds()
        speed = jobs / whole.run(jobs)
        after = whole.processor_seconds()
        details["processor_ms_per_job"] = {
            name: round(1000 * (used - before[name]) / jobs, 2) for name, used in after.items()
        }
        whole.require_all_final()
        return speed
