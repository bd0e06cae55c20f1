"""Growth: times beside many stored jobs of many tenants, and beside few of one tenant.

Each is measured in a cloud of its own, on emulators that are as fresh, with what bare clients and no-op
functions take for the same beside the same rows. What that grows by is the emulator's, and taken away: it
looks through the whole table for each row that is read by its key. That calls don't grow is a test:
tests/verify/test_growth.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database

from jennah.local.processes import Processes
from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample, percentile
from tests.benchmarks.floors import clients_beside, start_noop
from tests.benchmarks.pushes import CountedPushes
from tests.benchmarks.recording import Life
from tests.benchmarks.steady_load import Load
from tests.benchmarks.stored import fill
from tests.benchmarks.submit import RATE, answered, bare_calls, bare_client, pause
from tests.benchmarks.whole_cloud import WholeCloud
from tests.chaos.scene import RunFailed, open_database

FIGURE: Final = "growth"

FEW: Final = 1000
_TENANTS: Final = 1000
_WARM: Final = 20
_THREADS: Final = 16
_SUBMISSIONS, _LIVES, _ALONE, _POSTS = 200, 60, 15, 40
# Seconds that a job which is alone runs: so long that its start is noted when it ends. Were both told of at
# once, one commit would be in vain, the more often the slower the emulator is.
_RUNS: Final = 1.5
_SECONDS, _LOOK_SECONDS = 60.0, 0.05
_SLOWER: Final = 1.2
_AT_MOST: Final = Goal(Bound.RATIO_AT_MOST, _SLOWER)
_AT_LEAST: Final = Goal(Bound.RATIO_AT_LEAST, round(1 / _SLOWER, 2))


@dataclass(frozen=True, slots=True)
class _Found:
    """Something of the product, and what its parts take without it, beside the same rows."""

    name: str
    unit: str
    value: float
    bare_name: str
    bare: float


def measure(life: Life, folder: Path, *, many: int, number: int, say: Callable[[str], None]) -> Run:
    """One run: beside `FEW` stored jobs of one tenant, and beside `many` of a thousand and one.

    The jobs that are measured are that one's, and so is half of those that are stored.

    Args:
        life: what bare clients do.
        folder: for files.
        many: how many are stored.
        number: of the run: every second one begins with the many.
        say: told what happens.
    """
    sizes = {FEW: 1, many: _TENANTS}
    found: dict[int, list[_Found]] = {}
    for stored in reversed(sizes) if number % 2 else sizes:
        place = folder / str(stored)
        place.mkdir()
        found[stored] = _beside(stored, sizes[stored], place, life, say)
    samples = []
    for large, small in zip(found[many], found[FEW], strict=True):
        judged: tuple[str, str, Goal | None, float, float]
        if large.unit == "ms":
            # Not the quotient: beside many rows the floor is so long that nothing of the product shows in it.
            without = large.value - (large.bare - small.bare)
            judged = (f"{large.name}, less its floor's growth", "ms", _AT_MOST, without, small.value)
        else:
            quotients = (large.value / large.bare, small.value / small.bare)
            judged = (f"{large.name}, by its floor", "x", _AT_LEAST, *quotients)
        shown = [
            judged,
            (large.name, large.unit, None, large.value, small.value),
            (large.bare_name, large.unit, None, large.bare, small.bare),
        ]
        for name, unit, goal, value, floor in shown:
            measured = Measure(FIGURE, f"{name}, {many:,} stored", unit, f"{FEW:,} stored", goal)
            samples.append(Sample(measured, value, floor))
    return Run(samples, {"stored": many, "tenants": _TENANTS})


def _tenant_of(database: Database) -> str:
    """The tenant whose jobs are measured: the only one so far."""
    with database.snapshot() as snapshot:
        ((tenant,),) = snapshot.read("Tenants", ["TenantId"], KeySet(all_=True))
    return str(tenant)


def _told(whole: WholeCloud, life: Life) -> list[float]:
    """For how many seconds functions worked at the notifications of each job, one job after the other."""
    with CountedPushes(whole.cloud) as doors:
        for _ in range(_ALONE):
            whole.run(1, commands=("sleep", str(_RUNS)))
        deadline = time.monotonic() + _SECONDS
        while doors.pushes["notification"] < _ALONE * life.notifications:
            if time.monotonic() > deadline:
                raise RunFailed(f"a notification was not answered in {_SECONDS:.0f} s.")
            time.sleep(_LOOK_SECONDS)
    took = iter(doors.took["notification"])
    return [sum(pushes) for pushes in zip(*[took] * life.notifications, strict=True)]


def _beside(stored: int, tenants: int, folder: Path, life: Life, say: Callable[[str], None]) -> list[_Found]:
    with ExitStack() as stack:
        say(f"starting, for {stored:,} jobs")
        whole = stack.enter_context(WholeCloud(folder, {"JENNAH_TICK_SECONDS": "86400"}, warm=_WARM))
        noop = start_noop(stack.enter_context(Processes(folder / "noop")), "called")
        say(f"storing {stored:,} jobs")
        database = open_database(whole.cloud)
        fill(database, stored, tenants=tenants, own=_tenant_of(database))
        bare = bare_client(whole.cloud, life)

        say(f"jobs, one after the other, beside {stored:,}")
        told = percentile(_told(whole, life), 50)
        noted = percentile(bare_calls(bare, life, "notification", _ALONE), 50)

        say(f"lifecycles, beside {stored:,}")
        speed = _LIVES / whole.run(_LIVES)
        lives = clients_beside(life, _LIVES, folder, bare, whole.cloud.env)

        say(f"{RATE:.0f} submissions a second, beside {stored:,}")
        commit = percentile(bare_calls(bare, life, "submission", _SUBMISSIONS, rate=RATE), 50)
        nothing = Load(urlsplit(noop).netloc, RATE, _THREADS, "nobody")
        request = percentile(answered(nothing, _POSTS, 204), 50)
        pause(whole.cloud, database)
        load = Load(whole.host, RATE, _THREADS, whole.token)
        answered(load, _WARM, 201)
        submitted = percentile(answered(load, _SUBMISSIONS, 201), 50)
    return [
        _Found("jobs from HTTP to COMPLETED", "jobs/s", speed, "lives by bare clients", lives),
        _Found(
            "a job's notifications, from push to answer, p50",
            "ms",
            1000 * told,
            "a bare client's calls + no-op requests, p50",
            1000 * (noted + life.notifications * request),
        ),
        _Found(
            f"submit, p50 at {RATE:.0f}/s",
            "ms",
            1000 * submitted,
            f"one commit + one no-op request, both at {RATE:.0f}/s, p50",
            1000 * (commit + request),
        ),
    ]
