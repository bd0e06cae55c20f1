"""How many things at once, and how many of one caller."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ResourceExhausted, Unavailable
from shared.places import Places


@pytest.mark.parametrize(
    ("most", "share"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 2), (12, 3), (40, 10), (41, 10)]
)
def test_one_caller_holds_a_share_and_others_have_the_rest(most: int, share: int) -> None:
    places = Places("log_reads", most)
    held = [places.take("ann") for _ in range(share)]
    with pytest.raises(
        ResourceExhausted, match=f"as many log reads open here as it may \\({share}\\)"
    ) as full:
        places.take("ann")
    assert full.value.details == ({"limit": "log_reads"},)
    assert full.value.retry_after == 1
    others = [places.take(f"caller {number}") for number in range(most - share)]
    with pytest.raises(Unavailable, match="log reads"):
        places.take("bob")
    for give_back in (held[0], held[0]):  # the second time it is nobody's
        give_back()
    places.take("bob")
    with pytest.raises(Unavailable):
        places.take("cid")
    assert len(others) == most - share


def test_without_places_nobody_has_any() -> None:
    with pytest.raises(Unavailable):
        Places("streams", 0).take("ann")


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_what_is_held_never_passes_a_bound_and_comes_back(most: int, steps: list[tuple[int, bool]]) -> None:
    places = Places("streams", most)
    held: list[tuple[int, Callable[[], None]]] = []
    for caller, give_back in steps:
        if give_back and held:
            held.pop(caller % len(held))[1]()
        else:
            try:
                held.append((caller, places.take(caller)))
            except (ResourceExhausted, Unavailable):
                mine = sum(holder == caller for holder, _ in held)
                assert mine == places.share or len(held) == most
        assert len(held) <= most
        assert all(sum(holder == one for holder, _ in held) <= places.share for one in range(4))
    for _, back in held:
        back()
    assert [places.take(number) for number in range(most)]
