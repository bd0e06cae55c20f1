"""One job whose check takes too long, or kills whoever tries, delays no other for long."""

from __future__ import annotations

import random

import pytest

from shared.batch_ids import parse_batch_id
from shared.model import JobStatus
from tests.simulation.faults import Fault, Site
from tests.simulation.lost_notifications import DETECTION, NoNotifications, delays_of
from tests.simulation.seeds import HOUR, Tenants, Wish
from tests.simulation.world import World

_TICK = 60.0


class Hindered(NoNotifications):
    """Besides, the first crossing of a site has a fault."""

    def __init__(self, site: Site, fault: Fault) -> None:
        self._faults = {site: fault}

    def draw(self, site: Site) -> Fault | None:
        """As `faults.Plan.draw`."""
        return self._faults.pop(site, None) or super().draw(site)


# Worlds in which jobs are asked for one by one, not listed.
@pytest.mark.parametrize("seed", [0, 2, 5, 6])
@pytest.mark.parametrize(
    ("site", "fault"),
    [(Site.GET, Fault.DEADLY), (Site.TASKS, Fault.DEADLY), (Site.TASKS, Fault.SLOW_TASKS)],
)
def test_one_job_delays_others_by_one_tick_at_most(site: Site, fault: Fault, seed: int) -> None:
    world = World(random.Random(seed), Hindered(site, fault))
    first = Wish(tenant=0, script=("exit1",), max_retries=0, key="first")
    others = [Wish(tenant=1, script=("quick",), at=10.0 * number, key=str(number)) for number in range(60)]
    platform = Tenants(world, [first, *others]).platform
    world.run(until=HOUR, most_steps=100_000)
    judge = platform.judge
    (hinderer,) = (job for job in platform.batch.jobs.values() if job.deadly_until or job.slow_until)
    row = judge.rows.pop(parse_batch_id(hinderer.name)[0])
    world.close()
    delays = delays_of(judge)
    assert len(delays.detection) == len(others)
    assert delays.detection[-1] <= DETECTION + _TICK
    # What is listed in time is enough, if it says why the job failed.
    known = fault is Fault.SLOW_TASKS and hinderer.task_page == 0
    assert JobStatus(row["Status"]).final is known
