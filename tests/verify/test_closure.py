"""Whatever happens, and in whatever order: `decide` explored to closure.

The counts are exact on purpose: a change of the table, of `Follower`'s reading of Batch or of the model
changes them, and whoever makes it should see by how much. `python -m tests.simulation.closure` prints them.
"""

from __future__ import annotations

import pytest

from tests.simulation.closure import Closure, explorations, explore
from tests.simulation.closure_state import Move, Violation

COUNTED = {
    "1 job, 1 retry, every fault but deletion": Closure(states=3723, moves=24975, resting=266),
    "1 job, 1 retry, deletion": Closure(states=15453, moves=94215, resting=1162),
    "1 job, 1 infrastructure retry, every fault but deletion": Closure(2069, moves=13646, resting=160),
    "1 job, 1 infrastructure retry, deletion": Closure(states=3988, moves=20823, resting=427),
    "2 jobs, 1 retry each": Closure(states=277140, moves=2706585, resting=3160),
}


@pytest.mark.parametrize("name", explorations(everything=False))
def test_every_state_keeps_the_invariants(name: str) -> None:
    assert explorations(everything=False)[name]() == COUNTED[name]


def test_a_state_without_a_way_to_rest_is_found() -> None:
    def moves(state: int) -> list[Move[int]]:
        ways = {0: [Move("on", True, 1), Move("fault", False, 2)], 2: [Move("fault", False, 1)]}
        return ways.get(state, [])

    with pytest.raises(Violation, match=r"never come to rest\n +1\. fault"):
        explore(0, moves, lambda state: None, lambda state: state == 1)
