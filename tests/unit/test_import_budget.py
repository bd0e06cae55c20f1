"""What a function imports until its first answer, beside the framework and the Spanner client.

Each module costs every cold start. Who needs another one raises the number here, knowingly.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).parents[2]

# As a function does, without a call to anybody: nothing listens at these addresses.
_PROGRAM: Final = """
import importlib, json, sys
from shared import cold_start
import functions_framework, google.cloud.spanner, grpc
assert grpc._channel._DEFAULT_SINGLE_THREADED_UNARY_STREAM
from google.cloud.spanner_v1.metrics import metrics_exporter
assert sys.modules["google.cloud.monitoring_v3"] is None and not metrics_exporter.HAS_OPENTELEMETRY_INSTALLED
bare = set(sys.modules)
importlib.import_module("functions." + sys.argv[1])
from shared import wiring
importlib.import_module(sys.argv[2])
getattr(wiring, sys.argv[3])()
print(json.dumps(sorted(set(sys.modules) - bare)))
"""
_NOBODY: Final = "127.0.0.1:1"
_ISSUER: Final = {"issuer": "https://issuer.example", "audience": "jennah", "provider": "example"}
_ENVIRONMENT: Final = {
    "GOOGLE_CLOUD_PROJECT": "a-project",
    "SPANNER_INSTANCE": "an-instance",
    "SPANNER_EMULATOR_HOST": _NOBODY,
    "PUBSUB_EMULATOR_HOST": _NOBODY,
    "BATCH_EMULATOR_HOST": _NOBODY,
    "JENNAH_JOB_SERVICE_ACCOUNT": "jobs@a-project.iam.gserviceaccount.com",
    "JENNAH_OIDC_ISSUERS": json.dumps([_ISSUER]),
}

_STANDARD: Final = sys.stdlib_module_names
_BATCH: Final = {"google.cloud.batch_v1", "google.cloud.location"}
_PYDANTIC: Final = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}


# What it makes, its own modules at most, and the packages that it may import.
@pytest.mark.parametrize(
    ("function", "door", "made", "modules", "packages"),
    [
        ("submission", "shared.http", "api", 59, _PYDANTIC | {"jwt", "google.pubsub_v1"}),
        ("scheduling", "shared.delivery", "dispatch", 33, _BATCH),
        ("notification", "shared.delivery", "dispatch", 33, _BATCH),
        ("reconciliation", "shared.delivery", "reconciliation", 38, _BATCH),
    ],
)
def test_a_function_imports_what_its_first_answer_needs(
    function: str, door: str, made: str, modules: int, packages: set[str]
) -> None:
    imported = imports(function, door, made)
    own = [name for name in imported if name.startswith("shared.")]
    assert len(own) <= modules, own
    foreign = {package(name) for name in imported if not name.startswith(("shared", "functions"))}
    assert {name for name in foreign if not is_standard(name)} == packages


@pytest.mark.parametrize("function", ["submission", "scheduling", "notification", "reconciliation"])
def test_a_function_begins_with_what_spares_it_imports(function: str) -> None:
    tree = ast.parse((CHECKOUT / "functions" / f"{function}.py").read_text())
    ours = [
        node
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("shared")
    ]
    assert (ours[0].module, ours[0].names[0].name) == ("shared", "cold_start")


def imports(function: str, door: str, made: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, function, door, made],
        cwd=CHECKOUT,
        env=_ENVIRONMENT | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def package(module: str) -> str:
    """Of Google's namespace packages the part that is one client."""
    parts = module.split(".")
    if parts[0] != "google":
        return parts[0]
    return ".".join(parts[: 3 if parts[1:2] == ["cloud"] else 2])


def is_standard(name: str) -> bool:
    """Of the standard library, of this platform's part of it, or of what the bare function has."""
    return name in _STANDARD or name.startswith("_sysconfigdata") or name == "grpc"
