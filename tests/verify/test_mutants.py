"""Nearly every planted bug is found soon: `make mutants` looks for all, this proof for some, at random.

MUTANTS sets how many (40), MUTANTS_SEEDS in how many seeds (3,000).
"""

from __future__ import annotations

import os
import random

import pytest

from tests.mutants.__main__ import figure, hunt_all
from tests.mutants.patches import patches

SEEDS = int(os.environ.get("MUTANTS_SEEDS", "3000"))
MUTANTS = int(os.environ.get("MUTANTS", "40"))
_SHARE = 0.95


@pytest.mark.timeout(1200)
def test_nearly_every_planted_bug_is_found_soon() -> None:
    planted = patches()
    chosen = random.sample(planted, min(MUTANTS, len(planted)))
    hunted = list(hunt_all(chosen, limit=SEEDS, workers=2, progress=lambda _patch, _seed: None))
    assert len(hunted) == len(chosen)
    assert sum(one.violation is not None for one in hunted) >= _SHARE * len(hunted), figure(hunted)
