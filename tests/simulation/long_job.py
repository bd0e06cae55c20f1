"""What a job of half an hour costs, with production's times: every call that it makes, in virtual time.

`python -m tests.simulation.long_job` ends with one figure line.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from tests.simulation.faults import Exactly, Site
from tests.simulation.seeds import HOUR, Tenants, Wish
from tests.simulation.world import World

MINUTES = 30

_BATCH = (Site.CREATE, Site.GET, Site.TASKS, Site.LIST, Site.CANCEL)
_MOST_STEPS = 10_000
# Both ways in which reconciliation looks at jobs, and either set of notifications, are among these worlds.
_WORLDS = range(1, 21)


def measure(minutes: int = MINUTES) -> Mapping[str, int]:
    """Let one job run for so long, and everything be looked after until well after its end.

    The calls of a tick that finds the job due are the job's. Other ticks are left out: they cost two reads a
    minute, whatever there is.

    Returns:
        The most of any world, by what is counted.
    """
    most: Counter[str] = Counter()
    for seed in _WORLDS:
        most |= _live(seed, minutes)
    return most


def _live(seed: int, minutes: int) -> Counter[str]:
    plan = Exactly({})
    world = World(random.Random(seed), plan)
    tenants = Tenants(world, [Wish(tenant=0, script=(f"run{minutes * 60}",))])
    world.run(until=minutes * 60 + 4 * HOUR, most_steps=_MOST_STEPS)
    judge = tenants.platform.judge
    judge.end()
    ended = [job.ended or 0.0 for key, row in judge.rows.items() for job in judge.truths(key, row["Attempt"])]
    world.close()
    assert len(ended) == 1
    assert ended[0] >= minutes * 60
    crossed = Counter(plan.crossed)
    return Counter(
        {
            "Spanner RPCs": crossed[Site.READ] + crossed[Site.COMMIT],
            "Spanner commits": crossed[Site.COMMIT],
            "Batch calls": sum(crossed[site] for site in _BATCH),
        }
    )


if __name__ == "__main__":
    print(", ".join(f"{number} {name}" for name, number in measure().items()), "for a job of 30 minutes")  # noqa: T201
