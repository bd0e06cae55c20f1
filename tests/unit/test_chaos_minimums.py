"""A chaos run whose faults did not strike is told, and none is told for its luck."""

from __future__ import annotations

import math

import pytest

from tests.chaos.minimums import Strikes, least_kills, too_few


def few(*kinds: Strikes, kills: int = 100, seconds: float = 100, finished: int = 100) -> list[str]:
    return [name for name, _ in too_few(kinds, kills=kills, seconds=seconds, finished=finished)]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Strikes("f", 0.1, 132, 0), True),
        (Strikes("f", 0.1, 132, 1), False),
        (Strikes("f", 0.1, 131, 0), False),  # one time in 0.9^-131 = 985,000
        (Strikes("f", 0.01, 1374, 0), False),
        (Strikes("f", 0.01, 1375, 0), True),
        (Strikes("f", 0.1, 0, 0), True),
        (Strikes("f", 0.1, 0, 0, rare=True), False),
        (Strikes("f", 0.1, 200, 0, rare=True), True),
    ],
)
def test_a_fault_that_can_not_have_been_missed_by_chance_must_have_struck(kind: Strikes, told: bool) -> None:
    assert few(kind) == (["f"] if told else [])


def test_a_run_that_was_over_at_once_needs_no_occasion() -> None:
    assert few(Strikes("f", 0.1, 0, 0), finished=9) == []


@pytest.mark.parametrize(("seconds", "least"), [(0, 0), (10, 0), (60, 8), (200, 50), (600, 150), (3600, 900)])
def test_one_kill_in_four_seconds_is_due_or_what_chance_allows(seconds: float, least: int) -> None:
    assert least_kills(seconds) == least
    assert few(kills=least, seconds=seconds) == []
    if least:
        assert few(kills=least - 1, seconds=seconds) == ["kills"]


def chance_of_fewer(kills: int, seconds: float) -> float:
    """That a killer who strikes every 2 s on average does so less often."""
    chance = term = math.exp(-seconds / 2)
    for k in range(1, kills):
        term *= seconds / 2 / k
        chance += term
    return chance if kills else 0


@pytest.mark.parametrize("seconds", [20, 30, 60, 100, 150, 199, 300])
def test_no_run_fails_by_luck_and_none_passes_that_needs_more_of_it(seconds: float) -> None:
    least = least_kills(seconds)
    assert chance_of_fewer(least, seconds) < 1e-6
    assert least >= seconds / 4 or chance_of_fewer(least + 1, seconds) >= 1e-6
