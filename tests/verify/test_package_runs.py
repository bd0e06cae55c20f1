"""The archive of the functions as Google runs it: unpacked, installed into a clean environment, started.

The commands are those of Google's Python buildpack (GoogleCloudPlatform/buildpacks, `pkg/python`). The
installation needs the package index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jennah.client import Client
from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port
from jennah.local.services import FUNCTIONS, Installation
from jennah.local.tokens import fetch_token
from jennah.operations.package import build

ROOT = Path(__file__).parents[2]

# The buildpack's, but for --user: a virtual environment stands for the layer.
INSTALL = [
    *("install", "--requirement", "requirements.txt", "--upgrade", "--upgrade-strategy", "only-if-needed"),
    *("--no-warn-script-location", "--no-warn-conflicts", "--force-reinstall", "--no-compile"),
]


def run(folder: Path, *command: str | Path) -> str:
    """What a command prints that must succeed, with no setting of this environment but the index's."""
    env = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
    env |= {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The archive, unpacked far from the checkout, in an environment that holds nothing else."""
    folder = tmp_path_factory.mktemp("workspace")
    archive, layer = folder.with_suffix(".zip"), folder.with_name(f"{folder.name}-layer")
    archive.write_bytes(build(ROOT, uncommitted=True).content)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    run(folder, sys.executable, "-m", "venv", layer)
    python = layer / "bin" / "python"
    run(folder, python, "-m", "compileall", "-f", "-q", ".")
    run(folder, python, "-m", "pip", *INSTALL)
    run(folder, python, "-m", "compileall", "--invalidation-mode", "unchecked-hash", "-qq", layer)
    run(folder, python, "-m", "pip", "check")
    return Installation(folder, (str(layer / "bin" / "functions-framework"),))


@pytest.fixture(scope="module")
def cloud(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """The local cloud, whose functions run from the archive."""
    with LocalCloud(tmp_path_factory.mktemp("cloud"), free_port(), installation=installation) as running:
        yield running


@pytest.fixture(scope="module")
def client(cloud: LocalCloud) -> Iterator[Client]:
    env = cloud.env
    token = fetch_token(env["JENNAH_ISSUER_URL"], "you@example.com", env["JENNAH_AUDIENCE"])
    with Client(env["JENNAH_URL"], token, retry_seconds=30) as connected:
        yield connected


def python(installation: Installation) -> Path:
    return Path(installation.framework[0]).with_name("python")


pytestmark = pytest.mark.timeout(900)


def test_the_environment_holds_the_tested_versions_and_nothing_of_the_command_line(
    installation: Installation,
) -> None:
    listed = json.loads(run(Path("/"), python(installation), "-m", "pip", "list", "--format=json"))
    found = {package["name"].lower().replace("_", "-"): package["version"] for package in listed}
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    own = {"pip", "setuptools", "jennah"}
    assert {name: version for name, version in found.items() if name not in own} == {
        name: pins.get(name) for name in found if name not in own
    }
    assert not {"typer", "rich", "httpx", "httpx-sse", "pyyaml", "pytest"} & found.keys()
    where = run(Path("/"), python(installation), "-c", "import shared; print(shared.__file__)")
    assert Path(where.strip()).is_relative_to(python(installation).parents[1])


def test_a_job_runs_from_http_to_its_end(
    cloud: LocalCloud, client: Client, installation: Installation
) -> None:
    job = client.submit_job("busybox", ["sh", "-c", "exit $((JENNAH_ATTEMPT < 2))"], max_retries=1)
    *_, last = client.watch_job(job.job_id)
    assert (last.status, last.attempt) == ("COMPLETED", 2)
    actors = {transition.actor for transition in client.list_transitions(job.job_id)}
    assert {"tenant", "scheduler"} <= actors
    for name in FUNCTIONS:
        command = psutil.Process(cloud.pids[name]).cmdline()
        assert installation.framework[0] in command
        assert f"--source={installation.folder / 'functions' / name}.py" in command


@pytest.mark.parametrize(("down", "actor"), [("notification", "reconciler"), ("reconciliation", "batch")])
def test_the_functions_that_follow_a_job_do_so_each_alone(
    cloud: LocalCloud, client: Client, down: str, actor: str
) -> None:
    cloud.stop(down)
    try:
        *_, last = client.watch_job(client.submit_job("busybox", ["true"]).job_id)
        ends = list(client.list_transitions(last.job_id))[-1]
        assert (last.status, ends.to_status, ends.actor) == ("COMPLETED", "COMPLETED", actor)
    finally:
        cloud.start(down)
