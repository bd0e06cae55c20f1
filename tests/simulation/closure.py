"""Breadth-first exploration of `decide` to closure: `python -m tests.simulation.closure`.

One job is explored under every fault of the model; two jobs together under the faults that each of them
can meet without anybody's meddling in Batch. The last line is the figure.
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from rich.console import Console

from tests.simulation.closure_model import JobModel
from tests.simulation.closure_state import Fault, Move, State, Violation, at_rest

S = TypeVar("S", bound=Hashable)
Pair = tuple[State, State]
Progress = Callable[[int, int], None]

# A Batch job deleted outside may be made again, which multiplies the states: it is explored apart.
FAULTS: dict[str, frozenset[Fault]] = {
    "every fault but deletion": frozenset(Fault) - {Fault.DELETED},
    "deletion": frozenset({Fault.DELETED, Fault.CANCEL, Fault.FAIL}),
    "all faults": frozenset(Fault),
}

# What two jobs meet together: cancel and failure; beyond the test's bound, more.
FEW = frozenset({Fault.CANCEL, Fault.FAIL})
USUAL = FEW | {Fault.PREEMPT, Fault.NEVER_RAN}


@dataclass(frozen=True, slots=True)
class Closure:
    """What was explored: states, moves between them (those that change nothing too), and states at rest."""

    states: int
    moves: int
    resting: int


def explore(
    start: S,
    moves: Callable[[S], Iterable[Move[S]]],
    check: Callable[[S], None],
    resting: Callable[[S], bool],
    progress: Progress = lambda states, waiting: None,
) -> Closure:
    """Visit every state that can be reached from `start`.

    Args:
        start: the first state.
        moves: what may happen in a state.
        check: raises Violation where an invariant does not hold.
        resting: whether nothing is left to be done; such a state must stay within reach once faults stop.
        progress: told now and then how many states are known, and how many of them wait for their turn.

    Raises:
        Violation: with the shortest way to the state.
    """
    numbers = {start: 0}
    parents: list[tuple[int, str]] = [(0, "")]
    backwards: list[array[int]] = [array("l")]
    waiting = deque([start])
    done = count = 0
    rest: list[int] = []
    while waiting:
        state = waiting.popleft()
        number = numbers[state]
        try:
            check(state)
            found = tuple(moves(state))
        except Violation as violation:
            raise Violation(f"{violation}\n{_way(number, parents)}") from None
        if resting(state):
            rest.append(number)
        for label, sound, to in found:
            target = numbers.setdefault(to, len(parents))
            if target == len(parents):
                parents.append((number, label))
                backwards.append(array("l"))
                waiting.append(to)
            if sound and target != number:
                backwards[target].append(number)
        count += len(found)
        done += 1
        if done % 1000 == 0:
            progress(len(numbers), len(waiting))
    stuck = _never_reaching(rest, backwards)
    if stuck is not None:
        raise Violation(f"from here the job can never come to rest\n{_way(stuck, parents)}")
    return Closure(len(numbers), count, len(rest))


def _never_reaching(rest: list[int], backwards: list[array[int]]) -> int | None:
    """The first state from which no state at rest is reached by sound moves."""
    reaching = bytearray(len(backwards))
    waiting = deque(rest)
    for number in rest:
        reaching[number] = True
    while waiting:
        for number in backwards[waiting.popleft()]:
            if not reaching[number]:
                reaching[number] = True
                waiting.append(number)
    return next((number for number, reached in enumerate(reaching) if not reached), None)


def _way(number: int, parents: list[tuple[int, str]]) -> str:
    steps: list[str] = []
    while number:
        number, label = parents[number]
        steps.append(label)
    return "\n".join(f"{at:3}. {label}" for at, label in enumerate(reversed(steps), 1))


def explore_job(model: JobModel, progress: Progress = lambda states, waiting: None) -> Closure:
    """One job to closure."""
    return explore(State(), model.moves, model.check, at_rest, progress)


def explore_pair(model: JobModel, progress: Progress = lambda states, waiting: None) -> Closure:
    """Two jobs of one policy side by side to closure: a move is a move of either.

    The jobs are alike, so that a pair and its mirror image count once.
    """
    order: dict[State, int] = {}

    def pair_of(left: State, right: State) -> Pair:
        first, second = order.setdefault(left, len(order)), order.setdefault(right, len(order))
        return (left, right) if first <= second else (right, left)

    def moves(pair: Pair) -> Iterable[Move[Pair]]:
        left, right = pair
        for label, sound, to in model.moves(left):
            yield Move(f"one job: {label}", sound, pair_of(to, right))
        for label, sound, to in model.moves(right):
            yield Move(f"other job: {label}", sound, pair_of(left, to))

    def check(pair: Pair) -> None:
        for state in pair:
            model.check(state)

    def resting(pair: Pair) -> bool:
        return at_rest(pair[0]) and at_rest(pair[1])

    start: Pair = (State(), State())
    return explore(start, moves, check, resting, progress)


def main() -> None:
    """Explore, show progress on stderr, and print one figure line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.closure", description=__doc__)
    parser.add_argument(
        "--everything", action="store_true", help="explore all faults together: takes minutes"
    )
    arguments = parser.parse_args()
    began = time.monotonic()
    console = Console(stderr=True)
    parts: list[tuple[str, Closure]] = []
    try:
        with console.status("…") as status:
            for name, run in explorations(everything=arguments.everything).items():

                def show(states: int, waiting: int, name: str = name) -> None:
                    status.update(f"{name}: {states:,} states, {waiting:,} waiting")

                parts.append((name, run(show)))
    except Violation as violation:
        console.print(str(violation), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    took = time.monotonic() - began
    text = "; ".join(f"{name}: {part.states:,} states, {part.moves:,} moves" for name, part in parts)
    print(f"closure: {text}; 0 violations, {took:.1f} s")  # noqa: T201 - the figure


class Exploration(Protocol):
    """Explores something; tells how it goes on."""

    def __call__(self, progress: Progress = ..., /) -> Closure: ...


def explorations(*, everything: bool) -> dict[str, Exploration]:
    """What is explored, by name: bounded, or `everything`, which takes minutes."""
    found: dict[str, Exploration] = {}
    for kind, retries, infra in (("retry", 1, 0), ("infrastructure retry", 0, 1)):
        for name, faults in FAULTS.items():
            if everything or name != "all faults":
                model = JobModel(max_retries=retries, max_infrastructure_retries=infra, faults=faults)
                found[f"1 job, 1 {kind}, {name}"] = partial(explore_job, model)
    pair = JobModel(max_retries=1, max_infrastructure_retries=0, faults=USUAL if everything else FEW)
    found["2 jobs, 1 retry each"] = partial(explore_pair, pair)
    return found


if __name__ == "__main__":
    main()
