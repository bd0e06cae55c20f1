"""The planted bugs stay what they are: they apply to the tree as it stands, and the simulator finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import figure, hunt_all
from tests.mutants.patches import Patch, PatchError, apply, copy_tree, patches

PATCHES = patches()
FEWEST = 40


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, which is no git repository: a source archive is none either."""
    made = tmp_path_factory.mktemp("mutants") / "tree"
    copy_tree(made)
    return made


def numbered(number: int) -> Patch:
    return next(patch for patch in PATCHES if patch.number == number)


def test_there_are_enough_of_them_each_with_its_number() -> None:
    numbers = [patch.number for patch in PATCHES]
    assert len(numbers) >= FEWEST
    assert len(set(numbers)) == len(numbers)
    assert len({patch.name for patch in PATCHES}) == len(numbers)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.path.stem)
def test_each_says_what_it_is_changes_shared_only_and_applies(patch: Patch, tree: Path) -> None:
    assert patch.sentence.endswith("."), "it begins with a sentence or two: the bug, and who had it or would"
    assert 40 <= len(patch.sentence) <= 400
    assert patch.targets
    assert all(target.startswith("shared/") for target in patch.targets)
    apply(patch, tree, check=True)


def test_a_patch_that_does_not_apply_is_named(tree: Path, tmp_path: Path) -> None:
    old = tmp_path / "01-of-yesterday.patch"
    old.write_text(
        "A bug.\n\n--- a/shared/errors.py\n+++ b/shared/errors.py\n@@ -1 +1 @@\n-no such line\n+bug\n"
    )
    with pytest.raises(PatchError, match=r"01-of-yesterday\.patch does not apply any more"):
        apply(patches(tmp_path)[0], tree)


def test_a_planted_bug_is_found_by_a_violation_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    looked: list[int] = []
    (hunted,) = hunt_all(
        [numbered(5)], limit=300, workers=1, progress=lambda _patch, seed: looked.append(seed)
    )
    assert hunted.violation is not None
    assert "it was COMPLETED, and changed" in hunted.violation
    assert looked == list(range(1, hunted.seeds + 1))
    assert "1 planted, 1 killed (100.0%)" in figure([hunted])
    assert list(tmp_path.iterdir()) == []
