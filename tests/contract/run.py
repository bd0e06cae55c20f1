"""Runs of schemathesis against the document that a server serves, each bounded and known by its seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run.

    Attributes:
        requests: how many requests were made and judged.
        drift: what the server did that its document does not say, a line for each kind of it.
        shown: all of that at length.
    """

    requests: int
    drift: Sequence[str]
    shown: str


def run(
    url: str,
    token: str,
    folder: Path,
    *,
    seed: int,
    examples: int,
    phases: Sequence[str],
    operations: Sequence[str],
    seconds: float,
) -> Verdict:
    """Ask everything that the document allows and forbids, as the tenant of this token.

    Args:
        url: of the API.
        token: whose.
        folder: for the report.
        seed: the same seed asks the same.
        examples: how many random requests of each operation, and how many sequences of them.
        phases: `coverage` tries the bounds of every field, however few examples; `fuzzing` random requests;
            `stateful` sequences along the document's links.
        operations: the ids of the operations.
        seconds: after which it is ended.

    Raises:
        subprocess.TimeoutExpired: it took too long.
        FileNotFoundError: it wrote no report, and said why.
    """
    report = folder / f"report-{seed}.json"
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
        *(str(_HERE / "schemathesis.toml"), "run", f"{url}/openapi.json", "--no-color"),
        *("--header", f"Authorization: Bearer {token}", "--seed", str(seed), "--max-examples", str(examples)),
        *("--phases", ",".join(phases), "--report", "json", "--report-json-path", str(report)),
        *(option for operation in operations for option in ("--include-operation-id", operation)),
    ]
    environment = os.environ | {
        "PYTHONPATH": str(_HERE.parents[1]),
        "SCHEMATHESIS_HOOKS": "tests.contract.checks",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    if not report.exists():
        raise FileNotFoundError(done.stdout + done.stderr)
    found = json.loads(report.read_text())
    drift = [f"{kind['title']}: {', '.join(kind['operations'])}" for kind in found["failures"]]
    if done.returncode and not drift:
        drift = [f"schemathesis ended with {done.returncode}"]
    return Verdict(found["test_cases"]["generated"], drift, done.stdout)
