"""The frame of the benchmarks, in the smallest size: no figure is judged here, `make bench` measures them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]


def test_a_figure_is_measured_beside_its_floors_shown_and_kept(tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"
    sizes = ["--runs", "1", "--jobs", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "lifecycles", *sizes, "--json", str(kept)],
        cwd=_CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    *_, clients, pushes, last = done.stdout.splitlines()
    assert clients.startswith("lifecycles  jobs from HTTP to COMPLETED")
    assert "bare Spanner clients" in clients
    assert "no-op pushes and bare forks" in pushes
    assert last.startswith("bench: jobs from HTTP to COMPLETED")
    content = json.loads(kept.read_text())
    assert content["options"] == {
        "figures": ["lifecycles"],
        "runs": 1,
        "jobs": 3,
        "stored": 10_000,
    }
    for row in content["measured"]:
        (run,) = row["runs"]
        assert run["value"] > 0
        assert run["floor"] > 0
    (details,) = content["details"]["lifecycles"]
    assert {"spanner", "pubsub", "batch", "submission"} <= details["processor_ms_per_job"].keys()
