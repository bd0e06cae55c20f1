"""A world of virtual time on one thread: processes take turns at the boundaries that they cross.

Every process (one invocation of a function, one request of a client) is a greenlet. It runs until it calls
something outside itself; there it waits for as long as that call takes, and whatever else is due comes
first. So any two processes may interleave at any boundary, and the same seed always gives the same world.
"""

from __future__ import annotations

import heapq
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType
from typing import NoReturn

from greenlet import getcurrent, greenlet

from tests.simulation.faults import Fault, Plan, Site

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
_LATENCY = 0.03
_RACE = 1.0
_RACES = {Fault.CANCEL_RACES, Fault.TENANT_LEAVES, Fault.TENANT_DELETED}
# Seconds of CPU: a busy machine does not matter. A world takes a hundredth of one; and what goes on after the
# alarm hears another.
_LONGEST_LIFE, _NEXT_ALARM = 30.0, 1.0


class Killed(BaseException):
    """The process is gone. No `except Exception` may notice."""


class Violation(BaseException):
    """Something that must always hold does not. No `except Exception` may swallow it."""


@contextmanager
def alarm(seconds: float = _LONGEST_LIFE) -> Iterator[None]:
    """Let a world use no more CPU: one that loops may cross no boundary where it could end.

    For the main thread alone.

    Raises:
        Violation: it lives still. It is raised wherever the world is.
    """

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Violation(f"it hangs: {seconds:.0f} s of CPU are over")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, _NEXT_ALARM)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Process:
    """One running piece of the code under test.

    `skew` is how far its clock is off, in seconds; it begins at `began`, and at `deadline` its platform
    kills it.
    """

    __slots__ = ("began", "dead", "deadline", "greenlet", "name", "skew")

    def __init__(self, name: str, skew: float, began: float, deadline: float) -> None:
        self.name = name
        self.skew = skew
        self.began = began
        self.deadline = deadline
        self.dead = False
        self.greenlet: greenlet | None = None


class World:
    """Time, processes, and the faults at their boundaries.

    Args:
        rng: all chance there is.
        plan: what goes wrong.
        trace: gets a line for each thing that happens; None to be quick.
    """

    def __init__(self, rng: random.Random, plan: Plan, trace: list[str] | None = None) -> None:
        self.rng = rng
        self.plan = plan
        self.trace = trace
        self.time = 0.0
        self.steps = 0
        self.process: Process | None = None
        self.race: Callable[[Fault], bool] = lambda _: False  # whether there was anything to race
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._closed = False
        self._hub = getcurrent()

    def note(self, text: str) -> None:
        """Add to the trace. Callers look at `trace` first: most runs have none."""
        if self.trace is not None:
            name = self.process.name if self.process else "-"
            self.trace.append(f"{self.time:12.3f} {self.steps:5} {name:28} {text}")

    def now(self) -> datetime:
        """What the clock of the running process shows."""
        process = self.process
        return EPOCH + timedelta(seconds=self.time + process.skew if process else self.time)

    def true_now(self) -> datetime:
        """The time that it is."""
        return EPOCH + timedelta(seconds=self.time)

    def clock(self) -> float:
        """A monotonic clock, in seconds."""
        return self.time

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Let something happen in `delay` seconds, outside every process."""
        self._sequence += 1
        heapq.heappush(self._events, (self.time + delay, self._sequence, action))

    def spawn(
        self,
        name: str,
        work: Callable[[], None],
        *,
        ended: Callable[[BaseException | None], None],
        delay: float = 0.0,
        skew: float = 0.0,
        seconds: float = 60.0,
    ) -> None:
        """Start a process that lives for `seconds` at most.

        `ended` is told how: None, the exception that left it, or Killed.
        """
        process = Process(name, skew, self.time + delay, self.time + delay + seconds)

        def body() -> None:
            outcome: BaseException | None = None
            try:
                work()
            except Killed as killed:
                outcome = killed
            except Exception as error:  # noqa: BLE001 - whoever started it judges
                outcome = error
            process.dead = True
            if not self._closed:
                ended(outcome)

        process.greenlet = greenlet(body, self._hub)
        self.at(delay, partial(self._resume, process))

    def sleep(self, seconds: float) -> None:
        """Let the running process wait; everything that is due meanwhile happens first.

        Raises:
            Killed: it is not to go on.
        """
        process = self.process
        if process is None:
            return
        wake = self.time + seconds
        if self._events and self._events[0][0] <= wake:
            self.at(seconds, partial(self._resume, process))
            self._hub.switch()
        else:
            self.time = wake
        if process.dead or wake > process.deadline:
            self.kill()

    def kill(self) -> NoReturn:
        """End the running process here: nothing of it has any effect from now on.

        Raises:
            Killed: always.
        """
        process = self.process
        if process is not None:
            process.dead = True
        if self.trace is not None:
            self.note("KILLED")
        raise Killed

    def cross(self, site: Site) -> Fault | None:
        """The running process reaches a boundary.

        Returns:
            The fault that the caller must act out; None if all is well.

        Raises:
            Killed: it dies here.
        """
        if self.process is None:
            return None
        self.sleep(self.rng.random() * _LATENCY)
        self.steps += 1
        fault = self.plan.draw(site)
        if self.trace is not None:
            self.note(f"{site}{f': {fault}' if fault else ''}")
        if fault is None:
            return None
        if fault is Fault.CRASH_BEFORE:
            self.kill()
        if fault in _RACES:
            if self.race(fault):
                self.sleep(_RACE)
            else:
                self.plan.void(site, fault)
            return None
        return fault

    def run(self, *, until: float, most_steps: int) -> bool:
        """Let everything happen that is due up to a time.

        Returns:
            Whether nothing is left to happen.
        """
        events = self._events
        while events:
            if events[0][0] > until or self.steps > most_steps:
                return False
            self.time, _, action = heapq.heappop(events)
            action()
        return True

    def close(self) -> None:
        """End every process that still waits, without a trace of it."""
        self._closed = True
        for _, _, action in self._events:
            if isinstance(action, partial) and isinstance(action.args[0], Process):
                self._end(action.args[0])
        self._events.clear()

    def _end(self, process: Process) -> None:
        process.dead = True
        self.process = process
        if process.greenlet:  # it has begun
            process.greenlet.throw(Killed)
        self.process = None

    def _resume(self, process: Process) -> None:
        assert process.greenlet is not None
        self.process = process
        process.greenlet.switch()
        self.process = None
