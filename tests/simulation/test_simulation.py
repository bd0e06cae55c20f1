"""The simulator itself: it repeats to the byte, does enough, notices what is wrong, and finds nothing."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPIError

from shared.lifecycle import NotFound
from shared.transitions import Transitions
from tests.simulation import exhaustive, long_job, lost_notifications
from tests.simulation.__main__ import run_seeds
from tests.simulation.faults import FAULTS, Exactly, Fault, Site
from tests.simulation.seeds import HOUR, Tenants, Wish, liveness, run_seed
from tests.simulation.world import Violation, World, alarm

_CHECKOUT = Path(__file__).parents[2]
_SEEDS = range(1, 301)


def simulate(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=_CHECKOUT, capture_output=True, check=False)


def test_nothing_is_violated_in_the_first_seeds_and_they_are_worlds_worth_living_in() -> None:
    figures = run_seeds(_SEEDS)
    assert [(outcome.seed, outcome.violation) for outcome in figures.violations] == []
    assert figures.jobs >= 3 * len(_SEEDS)
    assert figures.steps >= 60 * len(_SEEDS)
    assert sum(figures.hits.values()) >= 5 * len(_SEEDS)
    assert {fault for faults in FAULTS.values() for fault in faults} == set(Fault) == set(+figures.by_fault())


@pytest.mark.parametrize("kind", ["safety", "liveness", "late"])
def test_a_seed_replays_to_the_byte_in_another_process(kind: str) -> None:
    seed = next(seed for seed in _SEEDS if run_seed(seed).kind == kind)
    first, second = simulate(f"{seed}"), simulate(f"{seed}")
    assert first.stdout == second.stdout
    assert first.stdout.splitlines()[-1] == f"seed {seed}: everything held".encode()
    assert len(first.stdout.splitlines()) > 60


def test_hits_can_be_seen_by_site() -> None:
    done = simulate("1..2", "--by-site", "--workers", "1")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert ["CreateJob", "429"] in [row[:2] for row in rows]


def test_a_world_that_loops_is_named() -> None:
    forever = itertools.repeat(None)
    with pytest.raises(Violation, match="it hangs"), alarm(0.01):
        all(nothing is None for nothing in forever)


def test_a_race_with_nobody_does_not_count() -> None:
    plan = exhaustive.live("success", ((1, Fault.CANCEL_RACES),))
    assert (plan.complete, plan.void, plan.violation) == (True, True, None)


def test_a_wrong_range_is_one_sentence() -> None:
    done = simulate("9..1")
    assert done.returncode == 2
    assert b"is no range of seeds" in done.stderr


def test_a_bug_is_found_and_its_trace_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    apply: Callable[..., Any] = Transitions.apply

    def believes_in_success(self: Transitions, *arguments: Any, **named: Any) -> Any:
        try:
            return apply(self, *arguments, **named)
        except GoogleAPIError:
            return NotFound()

    monkeypatch.setattr(Transitions, "apply", believes_in_success)
    outcome = next(found for seed in _SEEDS if (found := run_seed(seed, trace=True)).violation)
    again = run_seed(outcome.seed, trace=True)
    assert (again.violation, again.trace) == (outcome.violation, outcome.trace)


def test_every_single_fault_is_survived_of_one_scenario() -> None:
    scenario = "success"  # `make verify` goes through all of them
    tested = [exhaustive.live_single((scenario, faults)) for faults in exhaustive.singles(scenario)]
    assert [found for result in tested for found in result.violations] == []
    # The boundaries are counted apart from the loop that puts a fault at each.
    assert sum(result.tested for result in tested) == exhaustive.live(scenario, ()).follow > 100
    assert sum(result.void for result in tested) < len(tested) / 4


def test_every_fault_after_a_first_one_is_tried() -> None:
    first = exhaustive.singles("refused by Batch")[-40]
    pairs = exhaustive.live_pairs(("refused by Batch", first))
    assert pairs.violations == ()
    assert pairs.tested == pairs.there_are > 0


def test_the_scenarios_are_what_they_are_called() -> None:
    paths = {name: exhaustive.live(name, ()).path for name in exhaustive.SCENARIOS}
    assert paths["success"] == ["PENDING", "SCHEDULED", "RUNNING", "COMPLETED"]
    assert paths["retries exhausted"].count("RUNNING") == 2
    assert paths["retries exhausted"][-1] == "FAILED"
    assert paths["cancelled while PENDING"] == ["PENDING", "CANCELLED"]
    assert paths["cancelled while SCHEDULED"] == ["PENDING", "SCHEDULED", "CANCELLED"]
    assert paths["cancelled while RUNNING"] == ["PENDING", "SCHEDULED", "RUNNING", "CANCELLED"]
    assert paths["cancelled in its backoff"][-3:] == ["FAILED", "PENDING", "CANCELLED"]
    assert paths["cancelled when COMPLETED"] == paths["success"]
    assert paths["cancelled when FAILED"] == ["PENDING", "SCHEDULED", "RUNNING", "FAILED"]
    assert paths["cancelled when CANCELLED"] == paths["cancelled while SCHEDULED"]
    assert paths["refused by Batch"] == ["PENDING", "FAILED"]


def test_a_job_that_cannot_be_started_for_two_days_fails_and_rightly() -> None:
    world = World(random.Random(1), Exactly({}))
    platform = Tenants(world, [Wish(tenant=0, script=("ok",), key="k")]).platform
    platform.batch.refuse(0.0, 52 * HOUR)
    liveness(world, platform, lambda: None, 52 * HOUR)
    assert [attempt["Reason"] for attempt in platform.judge.attempts.values()] == ["platform_fault"]


def test_a_job_that_stays_queued_is_given_up_and_that_counts_when_it_has_waited_for_a_day() -> None:
    life = exhaustive.live("success", ()).crossed.index(Site.LIFE)
    lived = exhaustive.live("success", ((life, Fault.STUCK),))
    assert (lived.violation, lived.complete, lived.void) == (None, True, False)
    assert lived.path.count("FAILED") == 1
    assert lived.path[-1] == "COMPLETED"
    cancelled = exhaustive.live("cancelled while SCHEDULED", ((life, Fault.STUCK),))
    assert (cancelled.violation, cancelled.complete, cancelled.void) == (None, True, True)


# In the latter four, looks came due just after their ticks; calls take 0.03 s at most, or a second.
@pytest.mark.parametrize(("seed", "latency"), [*((seed, 0.03) for seed in (1, 5, 27, 57, 59)), (2, 1.0)])
def test_without_notifications_everything_is_repaired_in_time(
    monkeypatch: pytest.MonkeyPatch, seed: int, latency: float
) -> None:
    monkeypatch.setattr("tests.simulation.world._LATENCY", latency)
    delays = lost_notifications.measure(200, seed)
    assert len(delays.repair) == 200
    assert delays.detection[-1] <= lost_notifications.DETECTION
    assert delays.repair[-1] <= lost_notifications.REPAIR


def test_a_job_of_half_an_hour_is_looked_at_five_times() -> None:
    # A poller that asks every ten seconds needs 180 calls of Batch.
    assert long_job.measure() == {"Spanner RPCs": 44, "Spanner commits": 9, "Batch calls": 7}
