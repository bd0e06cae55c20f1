"""Every command of `jennah`, used as a person at a shell would, against one local cloud."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port

JENNAH = Path(sys.executable).with_name("jennah")
Done = subprocess.CompletedProcess[str]
Jennah = Callable[..., Done]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCloud, Path]]:
    root = tmp_path_factory.mktemp("cloud")
    with LocalCloud(root, free_port()) as cloud:
        yield cloud, root


@pytest.fixture
def jennah(cloud: tuple[LocalCloud, Path]) -> Jennah:
    """Run a command in the project's folder, with nothing set but what the test sets."""

    def run(*arguments: str, **settings: str) -> Done:
        hidden = ("JENNAH_", "SPANNER_", "PUBSUB_", "BATCH_", "GOOGLE_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | settings
        command = [str(JENNAH), *arguments]
        return subprocess.run(
            command, env=env, cwd=cloud[1], capture_output=True, text=True, timeout=60, check=False
        )

    return run


def answer(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tenants_commands(jennah: Jennah) -> None:
    submitted = jennah("submit", "busybox", "--name", "hello", "--", "echo", "hello world")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()

    watched = jennah("watch", job_id)
    assert watched.returncode == 0, watched.stderr
    statuses = [line.split()[2] for line in watched.stdout.splitlines()]
    assert statuses == ["PENDING", "SCHEDULED", "RUNNING", "COMPLETED"]
    trail = answer(jennah("history", job_id, "--json"))
    assert [change["to_status"] for change in trail] == statuses
    assert [line.split()[2] for line in jennah("history", job_id).stdout.splitlines()[1:]] == statuses

    shown = answer(jennah("get", job_id, "--json"))
    assert (shown["status"], shown["commands"]) == ("COMPLETED", ["echo", "hello world"])
    assert [attempt["attempt"] for attempt in shown["attempts"]] == [1]
    assert re.search(r"^commands +echo 'hello world'$", jennah("get", job_id).stdout, re.MULTILINE)
    refused = jennah("cancel", job_id)
    assert (refused.returncode, refused.stdout) == (1, "")

    failed = jennah("submit", "busybox", "--max-retries", "0", "--wait", "--json", "--", "sh", "-c", "exit 3")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["attempts"][0]["exit_code"] == 3

    endless = answer(jennah("submit", "busybox", "--json", "--", "sleep", "600"))["job_id"]
    assert jennah("cancel", endless).stdout == f"{endless} CANCELLED\n"
    assert jennah("watch", endless).returncode == 1
    assert jennah("cancel", endless).returncode == 0

    listed = answer(jennah("list", "--json"))
    assert [job["job_id"] for job in listed][::2] == [endless, job_id]
    assert [job["job_id"] for job in answer(jennah("list", "--status", "cancelled", "--json"))] == [endless]
    assert jennah("list", "--limit", "1").stdout.splitlines()[1].startswith(endless)
    assert jennah("list", "--status", "LOST").returncode == 2
    assert "status" in jennah("list", "--status", "LOST").stderr


def test_who_one_is(jennah: Jennah, cloud: tuple[LocalCloud, Path]) -> None:
    mine = jennah("submit", "busybox", "--idempotency-key", "k", "--", "true", JENNAH_EMAIL="me@example.com")
    again = jennah("submit", "busybox", "--idempotency-key", "k", "--", "true", JENNAH_EMAIL="me@example.com")
    assert mine.stdout == again.stdout != ""
    job_id = mine.stdout.strip()
    other = jennah(
        "submit", "busybox", "--idempotency-key", "k", "--", "false", JENNAH_EMAIL="me@example.com"
    )
    assert (other.returncode, other.stdout) == (1, "")

    token = jennah("token", "--email", "me@example.com")
    assert token.stdout.count("\n") == 1
    assert jennah("get", job_id, JENNAH_TOKEN=token.stdout).returncode == 0
    foreign = jennah("get", job_id, JENNAH_EMAIL="stranger@example.com")
    missing = jennah("get", "0" * 36, JENNAH_EMAIL="stranger@example.com")
    assert (foreign.returncode, foreign.stdout, foreign.stderr) == (1, "", missing.stderr)
    refused = jennah("get", job_id, JENNAH_TOKEN="not.a.token")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert jennah("list", "--url", cloud[0].env["JENNAH_URL"], "--token", token.stdout).returncode == 0


def test_operators_commands(jennah: Jennah, cloud: tuple[LocalCloud, Path]) -> None:
    assert jennah("version").stdout.startswith("jennah ")
    unset = jennah("check-schema")
    assert (unset.returncode, unset.stdout, unset.stderr.count("\n")) == (1, "", 1)
    assert jennah("check-schema", **cloud[0].env).returncode == 0
    assert answer(jennah("migrate", "--json", **cloud[0].env))["applied"] == []
    assert answer(jennah("migrate", "--dry-run", "--json", **cloud[0].env))["pending"] == []


def test_a_second_cloud_in_the_same_folder_says_why_not(jennah: Jennah) -> None:
    refused = jennah("up", JENNAH_PORT=str(free_port()))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    wrong = jennah("up", JENNAH_PORT="http")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
