"""The server does what its document says: a short run. `python -m tests.contract` is the long one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Processes
from shared.api.operations import OPERATIONS
from tests.contract.run import run
from tests.contract.scene import Scene, scene

SEED = 1
EXAMPLES = 4

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


@pytest.fixture(scope="module")
def api(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    hosts = {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host}
    with scene(spanner_instance, processes, tmp_path_factory.mktemp("contract"), hosts) as running:
        yield running


def test_requests_and_sequences_of_them_are_answered_as_the_document_says(api: Scene, tmp_path: Path) -> None:
    verdict = run(
        api.url,
        api.tenant("ann"),
        tmp_path,
        seed=SEED,
        examples=EXAMPLES,
        phases=["fuzzing", "stateful"],
        operations=[operation.id for operation in OPERATIONS if operation.id != "delete_tenant"],
        seconds=100,
    )
    assert not verdict.drift, verdict.shown
    assert verdict.requests > 50


def test_the_bounds_of_every_parameter_are_the_documents(api: Scene, tmp_path: Path) -> None:
    # Those of a submission: tests/unit/test_submission_schema.py, and the long run.
    verdict = run(
        api.url,
        api.tenant("eve"),
        tmp_path,
        seed=SEED,
        examples=1,
        phases=["coverage"],
        operations=[
            operation.id
            for operation in OPERATIONS
            if operation.body is None and operation.id != "delete_tenant"
        ],
        seconds=100,
    )
    assert not verdict.drift, verdict.shown
    assert verdict.requests > 100


def test_whoever_leaves_is_answered_as_the_document_says(api: Scene, tmp_path: Path) -> None:
    verdict = run(
        api.url,
        api.tenant("bob"),
        tmp_path,
        seed=SEED,
        examples=EXAMPLES,
        phases=["coverage", "fuzzing"],
        operations=["delete_tenant", "get_tenant"],
        seconds=100,
    )
    assert not verdict.drift, verdict.shown
    assert verdict.requests > 5


def test_the_examples_of_the_documentation_run(api: Scene) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", API, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1 + len(OPERATIONS)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(blocks)],
        env={**os.environ, "JENNAH_URL": api.url, "TOKEN": api.tenant("ida"), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout
    assert '"status": "CANCELLED"' in done.stdout
    assert "event: transition" in done.stdout
