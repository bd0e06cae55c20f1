"""How often a thing may be done here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.buckets import Rate
from shared.errors import ResourceExhausted


class Scene:
    """A limit of 20 a minute, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rate = Rate("log_reads", 3, clock=lambda: self.now)

    def did(self, caller: str) -> bool:
        try:
            self.rate.take(caller)
        except ResourceExhausted:
            return False
        return True


@given(waits=st.lists(st.floats(0, 20), max_size=200))
def test_in_no_time_is_more_done_than_the_rate_and_a_minutes_worth(waits: list[float]) -> None:
    scene = Scene()
    done = []
    for wait in waits:
        scene.now += wait
        if scene.did("a"):
            done.append(scene.now)
    for first, began in enumerate(done):
        assert all(number <= 20 + (at - began) / 3 + 1e-6 for number, at in enumerate(done[first:], 1))


def test_a_caller_takes_nothing_from_another() -> None:
    scene = Scene()
    assert [scene.did("a") for _ in range(21)] == [True] * 20 + [False]
    assert scene.did("b")


def test_who_comes_again_when_told_to_is_let_through() -> None:
    scene = Scene()
    owe = scene.rate.take("a")
    owe(39)
    with pytest.raises(ResourceExhausted) as refused:
        scene.rate.take("a")
    assert refused.value.retry_after == 63
    scene.now += 62
    assert not scene.did("a")
    scene.now += 1
    assert scene.did("a")
