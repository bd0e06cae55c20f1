"""Every command of the README, as it stands there, in a folder like a clone's with the local cloud running.

`make demo` and `make up` have tests of their own; `make test` is this.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds what the commands name, and whose `.local/` is a running cloud's."""
    folder = tmp_path_factory.mktemp("clone")
    for name in (".venv", "functions"):
        (folder / name).symlink_to(ROOT / name)
    with LocalCloud(folder, free_port()):
        yield folder


def run(clone: Path, block: str) -> str:
    hidden = ("JENNAH_", "SPANNER_", "PUBSUB_", "BATCH_", "GOOGLE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=clone,
        env=env | {"PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (".venv/bin/jennah submit", r"COMPLETED(.|\n)*CANCELLED(.|\n)*\"status\": \"CANCELLED\""),
        ("TOKEN=", r"(.|\n)*\"cancelled by the tenant\"(.|\n)*\"status\": \"ok\""),
        ("gcloud", r"(?i)JobId(.|\n)*(COMPLETED|CANCELLED)"),
        (".venv/bin/functions-framework", r"^(\{.+\}\n)?204\n(\{.+\}\n)?204\n$"),
        (".venv/bin/jennah migrate", r"no violation(.|\n)*Dispatch is paused(.|\n)*Dispatch "),
    ],
)
def test_a_block_of_commands_runs_and_shows_what_it_should(clone: Path, first: str, expected: str) -> None:
    run(clone, ".venv/bin/jennah submit busybox --wait -- true")  # so that there is something to show
    (block,) = (block for block in BLOCKS if _first(block) == first)
    assert re.search(expected, run(clone, block))


def test_every_block_has_its_case() -> None:
    (cases,) = test_a_block_of_commands_runs_and_shows_what_it_should.pytestmark  # type: ignore[attr-defined]
    assert sorted(_first(block) for block in BLOCKS) == sorted(case[0] for case in cases.args[1])


def _first(block: str) -> str:
    """The words that tell a block from the others: its first command after the settings."""
    for name in ("gcloud", ".venv/bin/functions-framework", "TOKEN=", ".venv/bin/jennah migrate"):
        if re.search(rf"^\s*{re.escape(name)}", block, re.MULTILINE):
            return name
    return ".venv/bin/jennah submit"
