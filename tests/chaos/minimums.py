"""Whether a run did the harm that it speaks of: a fault that never strikes proves nothing.

What must have happened is only what could not have been missed by chance, so that no small run fails by luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, count, takewhile
from typing import Final

SECONDS_BETWEEN_KILLS: Final = 2.0  # on average
_LONGEST_BETWEEN_KILLS: Final = 4.0
_IMPROBABLE: Final = 1e-6
# Of so many jobs, one at least was sent to Batch: fewer than one in five are cancelled before.
_ENOUGH_JOBS: Final = 10


@dataclass(frozen=True, slots=True)
class Strikes:
    """What one kind of fault has done.

    Attributes:
        name: the fault's.
        share: of its occasions on which it strikes.
        occasions: how often it could have struck.
        struck: how often it has.
        rare: whether there may be no occasion for it, however many jobs are run.
    """

    name: str
    share: float
    occasions: int
    struck: int
    rare: bool = False


def too_few(
    kinds: Iterable[Strikes], *, kills: int, seconds: float, finished: int
) -> Iterator[tuple[str, str]]:
    """Which faults struck less often than chance allows, and how often they did.

    Args:
        kinds: all that strike on a share of their occasions.
        kills: how many functions were killed.
        seconds: how long the faults went on.
        finished: how many jobs were final by then.
    """
    if kills < (least := least_kills(seconds)):
        yield "kills", f"{kills} in {seconds:.0f} s, at least {least} were due"
    for kind in kinds:
        if not kind.occasions and not kind.rare and finished >= _ENOUGH_JOBS:
            yield kind.name, f"it had no occasion, and {finished} jobs ended meanwhile"
        if not kind.struck and (1 - kind.share) ** kind.occasions < _IMPROBABLE:
            yield kind.name, f"it never struck on {kind.occasions} occasions, with a share of {kind.share}"


def least_kills(seconds: float) -> int:
    """How many kills there must be in so long: one in 4 s, or fewer where chance may have made them fewer.

    They come as a Poisson process, so that in a short time there may be none.
    """
    mean = seconds / SECONDS_BETWEEN_KILLS
    logarithms = (k * math.log(mean) - mean - math.lgamma(k + 1) if mean else 0 for k in count())
    # The chances of at most 0, 1, 2 … kills: as many of them are improbable as there must be kills.
    up_to = accumulate(map(math.exp, logarithms))
    by_chance = sum(1 for _ in takewhile(lambda chance: chance < _IMPROBABLE, up_to))
    return min(math.ceil(seconds / _LONGEST_BETWEEN_KILLS), by_chance)
