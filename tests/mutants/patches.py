"""The planted bugs: one patch each, which starts with a sentence that says what the bug is and who had it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What a simulated world needs.
_NEEDED = ("shared", "jennah", "schema", "tests/simulation", "tests/mutants")
_NAME = re.compile(r"([0-9]{2,3})-([a-z0-9]+(?:-[a-z0-9]+)*)\.patch")
_TARGET = re.compile(r"^\+\+\+ b/(\S+)", re.MULTILINE)


class PatchError(Exception):
    """A patch can't be used. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One planted bug.

    Attributes:
        number: its number, which stays.
        name: what is wrong, in a few words.
        sentence: what is wrong, and who had it or why somebody would write it.
        targets: the files that it changes, relative to the checkout.
        path: the file.
    """

    number: int
    name: str
    sentence: str
    targets: tuple[str, ...]
    path: Path


def patches(folder: Path = Path(__file__).parent) -> list[Patch]:
    """Every patch of a folder, by number.

    Raises:
        PatchError: a file is not named NN-short-name.patch.
    """
    found = []
    for path in sorted(folder.glob("*.patch")):
        named = _NAME.fullmatch(path.name)
        if named is None:
            raise PatchError(f"{path.name} is not named NN-short-name.patch.")
        text = path.read_text(encoding="utf-8")
        sentence = " ".join(text.partition("\n--- ")[0].split())
        found.append(Patch(int(named[1]), named[2], sentence, tuple(_TARGET.findall(text)), path))
    return sorted(found, key=lambda patch: patch.number)


def copy_tree(target: Path) -> None:
    """Copy what a simulated world needs to the new folder `target`."""
    for name in _NEEDED:
        ignored = shutil.ignore_patterns("__pycache__", "*.patch", "test_*.py")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)


def apply(patch: Patch, tree: Path, *, check: bool = False) -> None:
    """Apply the patch to a tree; with `check`, only find out whether it applies.

    Raises:
        PatchError: it does not apply to the tree as it stands, or there is no git.
    """
    git = shutil.which("git")
    if git is None:
        raise PatchError("git is missing: install it, patches are applied with `git apply`.")
    # A repository around the tree would make git look for the files there.
    environ = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.resolve().parent)}
    options = ["--check"] if check else []
    done = subprocess.run(
        [git, "apply", *options, "--whitespace=nowarn", patch.path.resolve()],
        cwd=tree,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PatchError(
            f"{patch.path.name} does not apply any more, make it anew: {' '.join(done.stderr.split())}"
        )
