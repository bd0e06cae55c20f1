"""Room for what holds a thread for long: so many at once in this process, and for one caller a share of them.

Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from threading import Lock

from shared.errors import ResourceExhausted, Unavailable

_RETRY_SECONDS = 1


class Places:
    """Counts who holds what. Safe to share between threads.

    Args:
        name: of the limit, in plural, as callers are told it.
        most: how many there are.

    Attributes:
        share: how many of them one caller may hold: a quarter, where there are few two but no more than half,
            and one in any case.
    """

    def __init__(self, name: str, most: int) -> None:
        self.share = max(1, most // 4, min(2, most // 2))
        self._name = name
        self._most = most
        self._held: Counter[Hashable] = Counter()
        self._lock = Lock()

    def take(self, caller: Hashable) -> Callable[[], None]:
        """Take a place; what is returned gives it back, once.

        Raises:
            ResourceExhausted: the caller holds its share.
            Unavailable: others hold all of them.
        """
        with self._lock:
            if self._held[caller] >= self.share:
                raise ResourceExhausted(
                    self._name,
                    _RETRY_SECONDS,
                    f"This tenant has as many {self._name.replace('_', ' ')} open here as it may "
                    f"({self.share}): wait until one ends.",
                )
            if self._held.total() >= self._most:
                raise Unavailable(f"Too many {self._name.replace('_', ' ')} are open here: try again soon.")
            self._held[caller] += 1
        return _Once(lambda: self._give_back(caller))

    def _give_back(self, caller: Hashable) -> None:
        with self._lock:
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]


class _Once:
    """Does a thing when it is called first, and nothing after that."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            done, self._done = self._done, True
        if not done:
            self._work()
