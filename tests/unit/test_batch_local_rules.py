"""Faults of the local Batch service that act on a share of their occasions."""

from __future__ import annotations

from jennah.local.batch_faults import Action, Rule
from jennah.local.batch_rules import Rules


def occasions(rules: Rules, action: Action, count: int = 2000) -> list[bool]:
    return [rules.find(action, "j", state="RUNNING") is not None for _ in range(count)]


def test_nothing_always_and_a_share() -> None:
    rules = Rules()
    for action, share in ((Action.DROP, 0), (Action.DOUBLE, 1), (Action.DELAY, 0.2)):
        rules.add(Rule(action, "*", share=share))
    assert not any(occasions(rules, Action.DROP))
    assert all(occasions(rules, Action.DOUBLE))
    assert 300 < sum(occasions(rules, Action.DELAY)) < 500


def test_two_rules_of_one_seed_choose_independently() -> None:
    rules = Rules()
    for action in (Action.DROP, Action.DOUBLE):
        rules.add(Rule(action, "*", share=0.2))
    both = [
        a and b
        for a, b in zip(*(occasions(rules, action) for action in (Action.DROP, Action.DOUBLE)), strict=True)
    ]
    assert 40 < sum(both) < 130


def test_an_occasion_that_is_spared_spends_none_of_the_times() -> None:
    rules = Rules()
    number = rules.add(Rule(Action.DROP, "*", times=5, share=0.1))
    assert sum(occasions(rules, Action.DROP)) == 5
    acted, asked = rules.acted(number)
    assert acted == 5
    assert 5 < asked < 2000
    assert not rules.find(Action.DELAY, "j", state="RUNNING")
    assert rules.acted(number) == (5, asked)
