"""What a function imports until its first answer, beside the framework and the Spanner client.

Each module costs every cold start. Who needs another one raises the number here, knowingly.
"""

from __future__ import annotations

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
import functions_framework, google.cloud.spanner
bare = set(sys.modules)
importlib.import_module("functions." + sys.argv[1])
from shared import wiring
importlib.import_module(sys.argv[2])
getattr(wiring, sys.argv[3])()
print(json.dumps(sorted(set(sys.modules) - bare)))
"""
_LEFT_OUT: Final = """
import sys
from google.cloud.spanner_v1.metrics import metrics_exporter
print(sys.modules["google.cloud.monitoring_v3"], metrics_exporter.HAS_OPENTELEMETRY_INSTALLED)
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
def test_what_the_spanner_client_can_go_without_is_left_out(function: str) -> None:
    assert run("import functions." + function + _LEFT_OUT) == "None False\n"


def imports(function: str, door: str, made: str) -> list[str]:
    names: list[str] = json.loads(run(_PROGRAM, function, door, made))
    return names


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=CHECKOUT,
        env=_ENVIRONMENT | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def package(module: str) -> str:
    """Of Google's namespace packages the part that is one client."""
    parts = module.split(".")
    if parts[0] != "google":
        return parts[0]
    return ".".join(parts[: 3 if parts[1:2] == ["cloud"] else 2])


def is_standard(name: str) -> bool:
    """Of the standard library, of this platform's part of it, or of what the bare function has."""
    return name in _STANDARD or name.startswith("_sysconfigdata") or name == "grpc"
