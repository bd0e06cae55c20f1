"""Every single fault at every boundary of the canonical scenarios, and every pair of faults.

python -m tests.simulation.exhaustive [--pairs] shows progress, and ends with one figure line.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.faults import FAULTS, Exactly, Fault, Site
from tests.simulation.seeds import Tenants, Wish, liveness, unexpected
from tests.simulation.world import Violation, World, alarm

_LATER = 200.0
_HOURS = {"first_delay_seconds": 7200, "factor": 2, "max_delay_seconds": 7200}

SCENARIOS: Mapping[str, Wish] = {
    "success": Wish(tenant=0, script=("ok",), key="k"),
    "retry, then success": Wish(tenant=0, script=("exit1", "ok"), max_retries=1, key="k"),
    "retries exhausted": Wish(tenant=0, script=("exit1",), max_retries=1, key="k"),
    "preempted, then success": Wish(tenant=0, script=("preempted", "ok"), max_retries=0, key="k"),
    "cancelled while PENDING": Wish(tenant=0, script=("ok",), key="k", cancels=(0.0,)),
    "cancelled in its backoff": Wish(
        tenant=0, script=("exit1", "ok"), policy={"backoff": _HOURS}, key="k", cancels=(_LATER,)
    ),
    "cancelled while SCHEDULED": Wish(tenant=0, script=("ok",), key="k", cancels=(5.0,)),
    "cancelled while RUNNING": Wish(tenant=0, script=("ok",), key="k", cancels=(40.0,)),
    "cancelled when COMPLETED": Wish(tenant=0, script=("ok",), key="k", cancels=(_LATER,)),
    "cancelled when FAILED": Wish(tenant=0, script=("exit1",), max_retries=0, key="k", cancels=(_LATER,)),
    "cancelled when CANCELLED": Wish(tenant=0, script=("ok",), key="k", cancels=(5.0, _LATER)),
    "submitted twice": Wish(tenant=0, script=("ok",), key="k", again_at=0.02),
    "refused by Batch": Wish(tenant=0, script=("invalid",), key="k"),
}

Faults = tuple[tuple[int, Fault], ...]


# With it, Batch takes its time with each state, so that each cancel comes in the one that it is named for.
_WORLD = 2
# An hour, not most of a day: every tick of it is a crossing, and each is paired with all others.
_HINDERED = 3600.0


@dataclass(frozen=True, slots=True)
class Lived:
    """One run: what was violated, if anything; the sites crossed; the statuses gone through.

    `complete`: every fault took place, where it was to. `void`: one of them changed nothing, as there was
    nothing to change. `follow`: how many faults there are after the last one; without any, how many in all.
    """

    violation: str | None
    crossed: list[Site]
    path: list[str]
    complete: bool
    void: bool
    follow: int


@dataclass(frozen=True, slots=True)
class Tested:
    """How many combinations took place, and how many of these are none: a fault in them changed nothing.

    `there_are`: how many there are by a count of the boundaries that were crossed.
    """

    tested: int
    void: int
    there_are: int
    violations: tuple[tuple[str, Faults, str], ...] = ()


def live(scenario: str, faults: Faults, *, trace: list[str] | None = None) -> Lived:
    """Live through a scenario with these faults, each at its crossing."""
    unexpected.clear()
    plan = Exactly(dict(faults))
    world = World(random.Random(_WORLD), plan, trace)
    violation = None
    path: list[str] = []
    try:
        with alarm():
            tenants = Tenants(world, [SCENARIOS[scenario]])
            tenants.platform.batch.hindered = _HINDERED
            liveness(world, tenants.platform, lambda: None)
            unexpected.check()
        path = [step["ToStatus"] for _, step in sorted(tenants.platform.judge.steps.items())]
    except Violation as found:
        violation = str(found)
    finally:
        world.close()
    follow = sum(times * len(FAULTS[site]) for site, times in plan.after.items())
    return Lived(violation, plan.crossed, path, tuple(plan.acted) == faults, plan.voided > 0, follow)


def singles(scenario: str) -> list[Faults]:
    """Every fault at every crossing of the scenario as it goes when all is well."""
    plain = live(scenario, ())
    assert plain.violation is None, plain.violation
    return [((index, fault),) for index, site in enumerate(plain.crossed) for fault in FAULTS[site]]


def live_single(work: tuple[str, Faults]) -> Tested:
    """One fault."""
    scenario, faults = work
    lived = live(scenario, faults)
    found = ((scenario, faults, lived.violation),) if lived.violation else ()
    return Tested(lived.complete, lived.complete and lived.void, 0, found)


def live_pairs(work: tuple[str, Faults]) -> Tested:
    """One fault, and each second fault at each crossing that still follows it."""
    scenario, first = work
    single = live(scenario, first)
    after = first[0][0] + 1
    found = [(scenario, first, single.violation)] if single.violation else []
    tested = void = 0
    for index in range(after, len(single.crossed)):
        for fault in FAULTS[single.crossed[index]]:
            both: Faults = (*first, (index, fault))
            lived = live(scenario, both)
            tested += lived.complete
            void += lived.complete and lived.void
            if lived.violation:
                found.append((scenario, both, lived.violation))
    return Tested(tested, void, single.follow, tuple(found))


def explore(*, pairs: bool, workers: int) -> Iterator[tuple[int, Tested]]:
    """Live through everything; each result comes with the number of pieces of work there are."""
    work = [(scenario, faults) for scenario in SCENARIOS for faults in singles(scenario)]
    if not pairs:
        yield len(work), Tested(0, 0, sum(live(scenario, ()).follow for scenario in SCENARIOS))
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        live_one = live_pairs if pairs else live_single
        for result in pool.imap_unordered(live_one, work, chunksize=1 if pairs else 20):
            yield len(work), result


def main(
    *,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every pair of faults, too.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="How many processes.")] = os.cpu_count() or 1,
) -> None:
    """Live through every fault, or every pair; exit 1 if anything was violated."""
    began = time.monotonic()
    tested = void = there_are = 0
    violations: list[tuple[str, Faults, str]] = []
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("first faults", total=None)
        for total, result in explore(pairs=pairs, workers=workers):
            tested += result.tested
            void += result.void
            there_are += result.there_are
            violations += result.violations
            progress.update(
                task, total=total, advance=1, description=f"{tested:,} runs, {len(violations)} bad"
            )
    for scenario, faults, violation in violations[:20]:
        shown = ", ".join(f"{fault} at {index}" for index, fault in faults)
        typer.echo(f"{scenario} with {shown}: {violation}")
    typer.echo(
        f"exhaustive: {tested:,} of {there_are:,} {'pairs' if pairs else 'single faults'} in "
        f"{len(SCENARIOS)} scenarios, {void:,} of which changed nothing, {time.monotonic() - began:.0f} s, "
        f"{len(violations)} violations"
    )
    raise typer.Exit(1 if violations or tested != there_are else 0)


if __name__ == "__main__":
    typer.run(main)
