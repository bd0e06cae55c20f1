"""Nearly every planted bug is found soon: `make mutants` looks for each in 10,000 seeds, this proof in fewer.

MUTANTS_SEEDS sets in how many (1,500).
"""

from __future__ import annotations

import os

import pytest

from tests.mutants.__main__ import figure, hunt_all
from tests.mutants.patches import patches

SEEDS = int(os.environ.get("MUTANTS_SEEDS", "1500"))
_SHARE = 0.95


@pytest.mark.timeout(1200)
def test_nearly_every_planted_bug_is_found_soon() -> None:
    chosen = patches()
    hunted = list(hunt_all(chosen, limit=SEEDS, workers=2, progress=lambda _patch, _seed: None))
    assert len(hunted) == len(chosen)
    assert sum(one.violation is not None for one in hunted) >= _SHARE * len(hunted), figure(hunted)
