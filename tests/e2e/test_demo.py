"""`jennah demo`, which is all that `make demo` runs: it proves its claims, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
JENNAH = Path(sys.executable).with_name("jennah")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demonstration, begun. What it starts can be told by the folder that it works in."""
    with subprocess.Popen(
        [JENNAH, "demo"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def left_behind(folder: Path) -> list[str]:
    """The processes that still run with this folder as TMPDIR or below it, and the files in it."""
    left = [str(path) for path in folder.iterdir()]
    for process in psutil.process_iter():
        try:
            inherited = process.environ().get("TMPDIR") == str(folder)
            if inherited or Path(process.cwd()).is_relative_to(folder):
                left.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return left


def test_everything_that_it_claims_holds(demo: subprocess.Popen[str], tmp_path: Path) -> None:
    shown, problems = demo.communicate(timeout=110)
    lines = shown.splitlines()
    assert (demo.returncode, problems) == (0, ""), shown
    assert lines[-1].startswith("All 7 claims held")
    assert sum(line.startswith("held ") for line in lines) == 7
    assert "\x1b" not in shown
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_everything_and_says_so_in_one_line(
    demo: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    assert demo.stdout is not None
    assert any("endless" in line for line in demo.stdout)
    assert left_behind(tmp_path)
    demo.send_signal(number)
    began = time.monotonic()
    _, problems = demo.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert demo.returncode == 130
    assert problems.count("\n") == 1
    assert left_behind(tmp_path) == []


def refused(cwd: Path, folder: Path, command: list[str], **environment: str) -> str:
    """What a demonstration that can't begin says; TMPDIR is `folder`."""
    refusal = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"TMPDIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refusal.returncode == 1
    assert refusal.stderr.count("\n") == 1
    return refusal.stderr


def test_without_java_it_leaves_nothing(tmp_path: Path) -> None:
    programs, folder = tmp_path / "bin", tmp_path / "tmp"
    programs.mkdir()
    folder.mkdir()
    for program in ("sh", "gcloud"):
        if found := shutil.which(program):
            (programs / program).symlink_to(found)
    sentence = refused(tmp_path, folder, [str(JENNAH), "demo"], PATH=str(programs), JAVA_HOME="")
    assert "logs" not in sentence
    assert left_behind(folder) == []


def test_without_a_checkout_it_says_so_before_anything_starts(tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "tmp"
    folder.mkdir()
    for package in ("jennah", "shared"):
        shutil.copytree(ROOT / package, installed / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", "import sys; from jennah.cli import main; sys.exit(main())", "demo"]
    assert "checkout" in refused(installed, folder, command)
    assert left_behind(folder) == []
