"""The runs on real processes, in a small size; `make chaos JOBS=2000` is the large one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

_CHECKOUT = Path(__file__).parents[2]


def run(module: str, *arguments: str) -> str:
    """The last line of a run that must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=_CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.timeout(900)
def test_nothing_is_lost_nothing_runs_twice_and_standard_output_tells_it_all() -> None:
    jobs = os.environ.get("CHAOS_JOBS", "500")
    figure = run("tests.chaos", "--jobs", jobs)
    assert f"0 lost, 0 run twice, {jobs} final" in figure
    assert " 0 told otherwise by " in figure
    assert figure.endswith("check clean")


@pytest.mark.timeout(300)
def test_without_any_notification_every_job_is_repaired_in_time() -> None:
    assert "40 jobs" in run("tests.chaos.lost_notifications", "--jobs", "40")


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--jobs", "500"],
        cwd=_CHECKOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if "submitting" in line:
                break
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 8
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        deadline = time.monotonic() + 10
        while any(map(lives, started)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not list(tmp_path.iterdir())
