"""What is shown and kept of a benchmark: the table, the JSON file, the plot."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil
from rich.table import Table
from rich.text import Text

from jennah.local import emulators
from jennah.local.services import CHECKOUT
from jennah.render import table
from tests.benchmarks.figures import Row

_PACKAGES: Final = (
    *("functions-framework", "google-cloud-batch", "google-cloud-pubsub", "google-cloud-spanner"),
    *("grpcio", "gunicorn", "pydantic"),
)


def summary(rows: Sequence[Row]) -> Table:
    """A line for each measure."""
    shown = table(
        *(
            "FIGURE",
            "MEASURED",
            "MEDIAN",
            "LOWEST-HIGHEST",
            "UNIT",
            "FLOOR",
            "ITS MEDIAN",
            "RATIO",
            "GOAL",
            "MET",
        )
    )
    for row in rows:
        measure, ratios = row.measure, row.ratios
        met = {True: Text("yes", "green"), False: Text("no", "red"), None: Text("-")}[row.met]
        shown.add_row(
            measure.figure,
            measure.name,
            number(row.median),
            f"{number(min(row.values))}-{number(max(row.values))}",
            measure.unit,
            measure.floor,
            number(row.floor),
            f"{row.ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            str(measure.goal or "-"),
            met,
        )
    return shown


def number(value: float) -> str:
    """Three digits, or more where they stand before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def document(
    rows: Sequence[Row], details: Mapping[str, Sequence[Mapping[str, Any]]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON file.

    Args:
        rows: what was measured.
        details: what else each run of a figure kept.
        options: how it was asked for.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine(),
        "options": dict(options),
        "measured": [row.to_json() for row in rows],
        "details": {figure: list(kept) for figure, kept in details.items()},
    }


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "emulators": {
            "spanner": _component_version(Path(emulators.spanner_command(1)[0]), "cloud-spanner-emulator"),
            "pubsub": _component_version(Path(emulators.pubsub_command(1)[0]), "pubsub-emulator"),
        },
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write it; a reader sees all of it or no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)


def _commit() -> str | None:
    """The commit that is checked out, with `-dirty` where files differ from it; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def _component_version(program: Path, component: str) -> str | None:
    """The version of a component of the Google Cloud SDK; None where the emulator is from elsewhere."""
    for folder in program.resolve().parents:
        snapshot = folder / ".install" / f"{component}.snapshot.json"
        if snapshot.is_file():
            components = json.loads(snapshot.read_text())["components"]
            return next(
                (one["version"]["version_string"] for one in components if one["id"] == component), None
            )
    return None


def require_emulators() -> None:
    """Refuse to begin without the emulators.

    Raises:
        LocalCloudError: one is missing; the sentence says which, and what brings it.
    """
    emulators.spanner_command(1)
    emulators.pubsub_command(1)
