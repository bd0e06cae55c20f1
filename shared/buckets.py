"""Token buckets: how often a thing may be done, in bursts of up to a minute's worth, in this process.

Standard library only.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock

from shared.errors import ResourceExhausted

_ROUNDING = 1e-6
_REMEMBERED = 10_000


@dataclass(slots=True)
class Bucket:
    """Holds a minute's tokens. Safe to share between threads."""

    _lock: Lock = field(default_factory=Lock)
    _spent: float = 0.0
    _spent_at: float = 0.0

    def take(self, tokens: int, per_minute: float, now: float) -> int | None:
        """Take them all; or the seconds after which there will be enough.

        More than the bucket holds are given when it is full, and owed for.
        """
        with self._lock:
            self._spent = max(0.0, self._spent - (now - self._spent_at) * per_minute / 60)
            self._spent_at = now
            missing = self._spent + min(tokens, per_minute) - per_minute
            if missing <= _ROUNDING:
                self._spent += tokens
                return None
            return max(1, math.ceil(missing * 60 / per_minute))

    def owe(self, tokens: int) -> None:
        """Spend more than was taken."""
        with self._lock:
            self._spent += tokens


class Rate:
    """How often each caller may do a thing here: the callers that were here last are remembered.

    Args:
        name: of the limit, in plural, as callers are told it.
        spacing: seconds from one to the next, over a while.
        clock: seconds that never go back.
    """

    def __init__(self, name: str, spacing: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._per_minute = max(1.0, 60 / spacing)
        self._clock = clock
        self._lock = Lock()
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, caller: Hashable) -> Callable[[int], None]:
        """Do it once. What is returned counts more, where it became more than once.

        Raises:
            ResourceExhausted: the caller did it too often.
        """
        with self._lock:
            bucket = self._buckets.setdefault(caller, Bucket())
            self._buckets.move_to_end(caller)
            if len(self._buckets) > _REMEMBERED:
                self._buckets.popitem(last=False)
        wait = bucket.take(1, self._per_minute, self._clock())
        if wait is not None:
            raise ResourceExhausted(
                self._name,
                wait,
                f"This tenant may have {self._per_minute:.0f} {self._name.replace('_', ' ')} a minute here: "
                f"try again in {wait} s.",
            )
        return bucket.owe
