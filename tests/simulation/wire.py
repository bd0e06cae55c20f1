"""The way to the simulated Spanner, and what goes wrong on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from google.api_core import exceptions

from tests.simulation.faults import Fault, Site
from tests.simulation.store import Method
from tests.simulation.world import Process, Violation, World

_T = TypeVar("_T")

_RPC_TIMEOUT = 10.0
_LATEST_WRITE = 120.0
_LATER = {Fault.UNAVAILABLE_LATER, Fault.TIMEOUT_LATER}
_DONE = {Fault.CRASH_AFTER, Fault.UNAVAILABLE_DONE, Fault.TIMEOUT_DONE}
_AT_ONCE = {Fault.UNAVAILABLE, Fault.UNAVAILABLE_DONE, Fault.UNAVAILABLE_LATER}
# After each of these nobody knows what became of a write.
_UNAVAILABLE = (
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.Cancelled,
)
_SHARE_RETRY_ERROR = 0.3
# For so long, nearly, a write whose outcome is unknown is tried again.
_PATIENCE = 15.0


class Wire:
    """Performs each call of Spanner, or acts out what goes wrong with it.

    Args:
        world: where.

    Attributes:
        failed: processes of which a call went wrong.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        # Since when a process does not know what became of its write.
        self._unknown: dict[Process, float] = {}
        self.failed: set[Process] = set()

    def __call__(self, method: Method, perform: Callable[[], _T]) -> _T:
        """Let the server do `perform`, or something worse."""
        world = self._world
        process = world.process
        if process is None:
            return perform()
        fault = world.cross(Site.READ if method == "Read" else Site.COMMIT)
        if fault is None:
            if method == "Commit" and self._unknown:
                self._unknown.pop(process, None)
            return perform()
        self.failed.add(process)
        if fault is Fault.ABORTED:
            raise exceptions.Aborted("simulated")
        if method == "Commit":
            self._unknown.setdefault(process, world.time)
        if fault in _LATER:
            world.at(world.rng.random() * _LATEST_WRITE, lambda: self._perform_late(perform))
        elif fault in _DONE:
            with suppress(exceptions.GoogleAPICallError):  # nobody is told of it
                perform()
        raise self._error(fault, method)

    def _error(self, fault: Fault, method: Method) -> exceptions.GoogleAPIError:
        """What the caller is told, if it lives, and after it has waited for it."""
        world = self._world
        if fault is Fault.CRASH_AFTER:
            world.kill()
        if fault in _AT_ONCE:
            return world.rng.choice(_UNAVAILABLE)("simulated")
        world.sleep(_RPC_TIMEOUT)
        if method != "Read" and world.rng.random() < _SHARE_RETRY_ERROR:
            return exceptions.RetryError("simulated", exceptions.Aborted("simulated"))
        return exceptions.DeadlineExceeded("simulated")

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """A write whose outcome is unknown is done again, for a while, before anybody is told an error."""
        try:
            yield
        except Exception as error:
            process = self._world.process
            assert process is not None
            if self._world.time - self._unknown.get(process, -math.inf) < _PATIENCE:
                what = f"{type(error).__name__}: {error}"
                raise Violation(
                    f"nobody knows what became of a write, and it is left at that: {what}"
                ) from error
            raise

    def _perform_late(self, perform: Callable[[], object]) -> None:
        try:
            perform()
        except exceptions.GoogleAPICallError as error:
            self._world.note(f"a late write changes nothing: {type(error).__name__}")
        else:
            self._world.note("a late write is applied")
