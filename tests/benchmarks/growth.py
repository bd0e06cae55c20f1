"""Growth: times beside many stored jobs of many tenants, and beside few of one tenant.

Each is measured in a cloud of its own, on emulators that are as fresh. What grows with the emulator itself is
shown apart: a bare client's commits. That calls don't grow is a test: tests/verify/test_growth.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample, percentile
from tests.benchmarks.notify import notified
from tests.benchmarks.recording import Life
from tests.benchmarks.steady_load import Load
from tests.benchmarks.stored import fill
from tests.benchmarks.submit import RATE, answered, bare, commits
from tests.benchmarks.whole_cloud import WholeCloud
from tests.chaos.scene import open_database

FIGURE: Final = "growth"

FEW: Final = 1000
_TENANTS: Final = 1000
_WARM: Final = 20
_THREADS: Final = 16
_SLOWER: Final = 1.2

_COMMIT = "one bare commit, p50"
_GOALS: Final[Mapping[str, tuple[str, Goal | None]]] = {
    "jobs from HTTP to COMPLETED": ("1/s", Goal(Bound.RATIO_AT_LEAST, round(1 / _SLOWER, 2))),
    f"submit, p50 at {RATE:.0f}/s": ("ms", Goal(Bound.RATIO_AT_MOST, _SLOWER)),
    "notification to COMPLETED, p50": ("ms", Goal(Bound.RATIO_AT_MOST, _SLOWER)),
    _COMMIT: ("ms", None),
}


def measure(
    life: Life, jobs: int, folder: Path, *, many: int, number: int, say: Callable[[str], None]
) -> Run:
    """One run: beside `FEW` stored jobs of one tenant, and beside `many` of a thousand.

    Args:
        life: what a bare client commits.
        jobs: how many are measured.
        folder: for files.
        many: how many are stored.
        number: of the run: every second one begins with the many.
        say: told what happens.
    """
    sizes = {FEW: 1, many: _TENANTS}
    found: dict[int, dict[str, float]] = {}
    for stored in reversed(sizes) if number % 2 else sizes:
        place = folder / str(stored)
        place.mkdir()
        found[stored] = _beside(stored, sizes[stored], place, life=life, jobs=jobs, say=say)
    samples = [
        Sample(
            Measure(FIGURE, f"{name}, {many:,} stored", unit, f"{FEW:,} stored", goal),
            found[many][name],
            found[FEW][name],
        )
        for name, (unit, goal) in _GOALS.items()
    ]
    return Run(samples, {"jobs": jobs, "stored": many, "tenants": _TENANTS})


def _beside(
    stored: int, tenants: int, folder: Path, *, life: Life, jobs: int, say: Callable[[str], None]
) -> dict[str, float]:
    with ExitStack() as stack:
        say(f"starting, for {stored:,} jobs")
        whole = stack.enter_context(WholeCloud(folder, {"JENNAH_TICK_SECONDS": "86400"}, warm=_WARM))
        say(f"storing {stored:,} jobs")
        fill(open_database(whole.cloud), stored, tenants=tenants)
        whole.run(_WARM)
        say(f"a bare client, beside {stored:,}")
        commit = statistics.median(commits(bare(whole.cloud), life, jobs))
        say(f"{RATE:.0f} submissions a second, beside {stored:,}")
        load = Load(whole.host, RATE, _THREADS, whole.token)
        submitted = whole.finished_after(jobs, lambda: answered(load, jobs, 201))
        say(f"notifications, beside {stored:,}")
        told = notified(whole, jobs)
        say(f"lifecycles, beside {stored:,}")
        speed = jobs / whole.run(jobs)
    values = (speed, 1000 * percentile(submitted, 50), 1000 * percentile(told, 50), 1000 * commit)
    return dict(zip(_GOALS, values, strict=True))
