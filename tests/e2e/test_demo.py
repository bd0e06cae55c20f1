"""`jennah demo`, which is all that `make demo` runs: it proves its claims, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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
