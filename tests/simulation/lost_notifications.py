"""Every notification of Batch is lost: how soon reconciliation finds and repairs that, in production's times.

`python -m tests.simulation.lost_notifications` ends with one figure line.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import typer

from tests.simulation.faults import Fault, Site
from tests.simulation.judge import Judge
from tests.simulation.seeds import HOUR, Tenants, Wish
from tests.simulation.world import EPOCH, World

# What is promised, in seconds: from the end in Batch, and from the submission, to the job's final state.
DETECTION, REPAIR = 120.0, 240.0

_MOST_STEPS = 1_000_000


class NoNotifications:
    """All is well, but for Batch's notifications."""

    def draw(self, site: Site) -> Fault | None:
        """As `faults.Plan.draw`."""
        return Fault.DROPPED if site is Site.NOTIFY else None

    def void(self, site: Site, fault: Fault) -> None:
        """As `faults.Plan.void`."""

    def effect(self, site: Site, fault: Fault) -> None:
        """As `faults.Plan.effect`."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How long each job took to be repaired, in virtual seconds."""

    detection: list[float]
    repair: list[float]


def measure(jobs: int, seed: int) -> Delays:
    """Let so many jobs, submitted over an hour, run for less than a minute each, and lose what Batch says."""
    rng = random.Random(seed)
    world = World(rng, NoNotifications())
    wishes = [
        Wish(tenant=number % 2, script=("quick",), at=rng.random() * HOUR, key=str(number))
        for number in range(jobs)
    ]
    tenants = Tenants(world, wishes)
    world.run(until=4 * HOUR, most_steps=_MOST_STEPS)
    judge = tenants.platform.judge
    judge.end()
    world.close()
    return delays_of(judge)


def delays_of(judge: Judge) -> Delays:
    """What the jobs in these books took, which have all ended."""
    detection, repair = [], []
    for key, row in judge.rows.items():
        ended = max(job.ended or 0.0 for job in judge.truths(key, row["Attempt"]))
        detection.append((row["CompletedAt"] - EPOCH).total_seconds() - ended)
        repair.append((row["CompletedAt"] - row["CreatedAt"]).total_seconds())
    return Delays(sorted(detection), sorted(repair))


def main(
    jobs: Annotated[int, typer.Option(min=1, help="How many jobs.")] = 200,
    seeds: Annotated[int, typer.Option(min=1, help="In how many worlds, with seeds from 1.")] = 60,
) -> None:
    """Measure it; exit 1 if it takes longer than promised in any of them."""
    worlds = [measure(jobs, seed) for seed in range(1, seeds + 1)]
    detection = sorted(seconds for delays in worlds for seconds in delays.detection)
    repair = sorted(seconds for delays in worlds for seconds in delays.repair)
    late = detection[-1] > DETECTION or repair[-1] > REPAIR
    typer.echo(
        f"lost notifications: {len(repair)} jobs in {seeds} worlds repaired without one; "
        f"detected after {median(detection):.0f} s (at most {detection[-1]:.1f} s), "
        f"repaired after {median(repair):.0f} s (at most {repair[-1]:.1f} s), virtual time"
    )
    raise typer.Exit(1 if late else 0)


if __name__ == "__main__":
    typer.run(main)
