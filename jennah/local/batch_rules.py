"""The faults that the local Batch service has been told to commit, and its count of calls.

This is the service's side; `jennah.local.batch_faults` says what each fault means and commands them from
outside.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase

import grpc

from jennah.local.batch_faults import Action, Calls, Rule
from jennah.local.batch_specs import Refused


class ActiveRule:
    """A rule in force: how often it could act, has acted and has still to act, how many it has held back."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.left = rule.times
        self.occasions = 0
        self.acted = 0
        self.held = 0
        self.released = asyncio.Event()
        # Two rules of one seed must not choose the same occasions: what one drops the other could not double.
        self._random = random.Random(repr(rule))

    def applies(self, action: Action, job_id: str, method: str, state: str) -> bool:
        """Whether it has something to say here. Every occasion is put to its share once, so ask once."""
        rule = self.rule
        occasion = (
            rule.action is action
            and self.left != 0
            and fnmatchcase(job_id, rule.job)
            and rule.method == method
            and (not rule.states or state in rule.states)
        )
        self.occasions += occasion
        return occasion and self._random.random() < rule.share


class Rules:
    """The rules in force, the calls counted, and a way to wait until something has happened."""

    def __init__(self) -> None:
        self._active: dict[int, ActiveRule] = {}
        self._numbers = itertools.count(1)
        self._received: Counter[tuple[str, str]] = Counter()
        self._effective: Counter[tuple[str, str]] = Counter()
        self._changed = asyncio.Event()

    def add(self, rule: Rule) -> int:
        """Put a rule in force and return its number."""
        number = next(self._numbers)
        self._active[number] = ActiveRule(rule)
        return number

    def release(self, number: int) -> None:
        """End a rule: it acts no more, and what it holds back goes on."""
        if active := self._active.pop(number, None):
            active.released.set()

    def clear(self) -> None:
        """End every rule."""
        for number in list(self._active):
            self.release(number)

    def find(self, action: Action, job_id: str, *, method: str = "", state: str = "") -> ActiveRule | None:
        """The oldest rule that applies; it has one time less to act from now on."""
        for active in self._active.values():
            if active.applies(action, job_id, method, state):
                if active.left is not None:
                    active.left -= 1
                active.acted += 1
                return active
        return None

    async def hold(self, action: Action, job_id: str, *, method: str = "", state: str = "") -> None:
        """Wait for as long as a rule wants it."""
        if active := self.find(action, job_id, method=method, state=state):
            await self.hold_back(active)

    async def hold_back(self, active: ActiveRule) -> None:
        """Wait until a rule is released."""
        active.held += 1
        self.touch()
        await active.released.wait()

    def acted(self, number: int) -> tuple[int, int]:
        """How often a rule has acted, and on how many occasions it could have.

        Raises:
            Refused: NOT_FOUND, no such rule.
        """
        active = self._in_force(number)
        return active.acted, active.occasions

    def count_received(self, method: str, job_id: str) -> None:
        """A call has arrived."""
        self._received[method, job_id] += 1

    def count_effective(self, method: str, job_id: str) -> None:
        """A call has done what it asked for."""
        self._effective[method, job_id] += 1

    def calls(self, method: str, job: str) -> Calls:
        """The calls of a method so far, for the jobs whose id matches."""
        return Calls(_total(self._received, method, job), _total(self._effective, method, job))

    async def wait_held(self, number: int, count: int, seconds: float) -> None:
        """Wait until a rule has held back `count` calls, messages or jobs.

        Raises:
            Refused: NOT_FOUND, no such rule; DEADLINE_EXCEEDED, it took longer than `seconds`.
        """
        active = self._in_force(number)
        await self.wait_until(lambda: active.held >= count, seconds)

    def _in_force(self, number: int) -> ActiveRule:
        active = self._active.get(number)
        if active is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"rule {number} is not in force.")
        return active

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition over the service's state.

        Raises:
            Refused: DEADLINE_EXCEEDED.
        """
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, f"not within {seconds} s.") from None

    def touch(self) -> None:
        """Have every awaited condition looked at again."""
        self._changed.set()
        self._changed = asyncio.Event()


def _total(counter: Counter[tuple[str, str]], method: str, job: str) -> int:
    return sum(
        count for (name, job_id), count in counter.items() if name == method and fnmatchcase(job_id, job)
    )
