"""Every command of `jennah`, used as a person at a shell would, against one local cloud."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from jennah.cli import app
from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port

JENNAH = Path(sys.executable).with_name("jennah")
Done = subprocess.CompletedProcess[str]
Jennah = Callable[..., Done]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCloud, Path]]:
    root = tmp_path_factory.mktemp("cloud")
    operators = json.dumps({"emails": ["operator@example.com"]})
    with LocalCloud(root, free_port(), settings={"JENNAH_OPERATORS": operators}) as cloud:
        yield cloud, root


@pytest.fixture
def jennah(cloud: tuple[LocalCloud, Path]) -> Jennah:
    """Run a command in the project's folder, with nothing set but what the test sets."""

    def run(*arguments: str, stdin: str = "", **settings: str) -> Done:
        hidden = ("JENNAH_", "SPANNER_", "PUBSUB_", "BATCH_", "GOOGLE_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        env |= {"JENNAH_CONFIG": str(cloud[1] / "config.yaml")} | settings
        command = [str(JENNAH), *arguments]
        return subprocess.run(
            command,
            env=env,
            cwd=cloud[1],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def answer(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_command_is_used_here_or_starts_a_cloud_of_its_own() -> None:
    def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for name, below in getattr(command, "commands", {}).items():
            yield from commands(below, (*path, name))
        if not hasattr(command, "commands"):
            yield path

    text = Path(__file__).read_text(encoding="utf-8")
    used = re.sub(r"jennah\(\s*", "jennah(", text)
    unused = [
        path
        for path in commands(get_command(app))
        if f"jennah({', '.join(json.dumps(word) for word in path)}" not in used
    ]
    assert unused == [("demo",)]  # which test_demo.py runs


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
    lines = jennah("history", job_id).stdout.splitlines()
    assert [re.search("[A-Z]{5,}", line)[0] for line in lines[1:]] == statuses  # type: ignore[index]
    followed = jennah("history", job_id, "--follow")
    assert [line.split()[2] for line in followed.stdout.splitlines()] == statuses
    assert jennah("logs", job_id).stdout == "hello world\n"

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
    assert jennah("delete", endless).returncode == 1
    assert jennah("cancel", endless).stdout == f"{endless} CANCELLED\n"
    assert jennah("watch", endless, job_id).returncode == 1
    both = jennah("cancel", job_id, endless)
    assert (both.returncode, both.stdout) == (1, f"{endless} CANCELLED\n")
    assert both.stderr.startswith(f"jennah: {job_id}: ")

    listed = answer(jennah("list", "--json"))
    assert [job["job_id"] for job in listed][::2] == [endless, job_id]
    assert [job["job_id"] for job in answer(jennah("list", "--status", "cancelled", "--json"))] == [endless]
    assert jennah("list", "--limit", "1").stdout.splitlines()[1].startswith(endless)
    assert jennah("list", "--status", "LOST").returncode == 2
    assert "status" in jennah("list", "--status", "LOST").stderr
    assert answer(jennah("list", "--created-after", "2099-01-01T00:00:00Z", "--json")) == []
    columns = jennah("list", "--created-after", "1h", "--columns", "status,job").stdout.splitlines()
    assert [line.split() for line in (columns[0], columns[-1])] == [["STATUS", "JOB"], ["COMPLETED", job_id]]


def test_jobs_from_files(jennah: Jennah, cloud: tuple[LocalCloud, Path]) -> None:
    (cloud[1] / "job.yaml").write_text(
        "image_uri: busybox\n"
        "commands: [sh, -c, 'echo $GREETING $BATCH_TASK_INDEX']\n"
        "env: {GREETING: hello}\n"
        "task_count: 2\n"
        "labels: {team: science}\n"
    )
    options = ("--env", "OTHER=1", "--priority", "7", "--size", "small", "--wait", "--json")
    job = answer(jennah("submit", "--file", "job.yaml", *options))
    assert (job["env"], job["priority"], job["profile"]) == ({"GREETING": "hello", "OTHER": "1"}, 7, "small")
    assert (job["task_count"], job["labels"]) == (2, {"team": "science"})
    logs = jennah("logs", job["job_id"], "--task", "1", "--follow", "--timestamps")
    assert re.fullmatch(r"\S+Z stdout hello 1\n", logs.stdout)
    again = jennah(
        "submit", "--file", "-", "--wait", stdin=json.dumps({"image_uri": "busybox", "commands": ["true"]})
    )
    assert again.returncode == 0, again.stderr

    requests = (
        "- {image_uri: busybox, commands: ['true']}\n"
        "- {image_uri: busybox, commands: ['false'], max_retries: 0}\n"
    )
    both = jennah("batch", "-", "--wait", stdin=requests)
    assert (both.returncode, both.stdout.count("\n")) == (1, 2)
    good, bad = both.stdout.split()
    assert [answer(jennah("get", job_id, "--json"))["status"] for job_id in (good, bad)] == [
        "COMPLETED",
        "FAILED",
    ]
    wrong = jennah("batch", "-", stdin="[{image_uri: busybox}, {image: busybox}]")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "requests[1]" in wrong.stderr

    tried = jennah("retry", bad, "--wait", "--json")
    assert (tried.returncode, json.loads(tried.stdout)["origin_job_id"]) == (1, bad)
    assert jennah("retry", good).returncode == 1
    deadline, left = time.monotonic() + 60, [good, bad]
    while left and time.monotonic() < deadline:
        deleted = jennah("delete", *left, "--json")
        left = [refused["job_id"] for refused in json.loads(deleted.stdout)["refused"]]
        assert deleted.stderr.count("\n") == len(left)  # the reconciliation still has to look at it once
    assert left == []
    assert jennah("get", bad).returncode == 1


def test_who_one_is(jennah: Jennah, cloud: tuple[LocalCloud, Path]) -> None:
    nobody = jennah("tenant", "show", JENNAH_EMAIL="me@example.com")
    assert (nobody.returncode, nobody.stdout, nobody.stderr.count("\n")) == (1, "", 1)
    mine = jennah("submit", "busybox", "--idempotency-key", "k", "--", "true", JENNAH_EMAIL="me@example.com")
    again = jennah("submit", "busybox", "--idempotency-key", "k", "--", "true", JENNAH_EMAIL="me@example.com")
    assert mine.stdout == again.stdout != ""
    job_id = mine.stdout.strip()
    other = jennah(
        "submit", "busybox", "--idempotency-key", "k", "--", "false", JENNAH_EMAIL="me@example.com"
    )
    assert (other.returncode, other.stdout) == (1, "")
    me = answer(jennah("tenant", "show", "--json", JENNAH_EMAIL="me@example.com"))
    assert me["email"] == "me@example.com"

    token = jennah("token", "--email", "me@example.com")
    assert token.stdout.count("\n") == 1
    assert jennah("get", job_id, JENNAH_TOKEN=token.stdout).returncode == 0
    foreign = jennah("get", job_id, JENNAH_EMAIL="stranger@example.com")
    missing = jennah("get", "0" * 36, JENNAH_EMAIL="stranger@example.com")
    assert (foreign.returncode, foreign.stdout, foreign.stderr) == (1, "", missing.stderr)
    refused = jennah("get", job_id, JENNAH_TOKEN="not.a.token")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert jennah("list", "--url", cloud[0].env["JENNAH_URL"], "--token", token.stdout).returncode == 0

    operator = {"JENNAH_EMAIL": "operator@example.com"}
    assert job_id in jennah("list", "--tenant", "-", "--columns", "job,tenant", **operator).stdout
    assert jennah("get", job_id, "--tenant", me["tenant_id"], **operator).returncode == 0
    assert jennah("history", job_id, "--tenant", me["tenant_id"], **operator).returncode == 0
    assert jennah("list", "--tenant", "-").returncode == 3

    unasked = jennah("tenant", "delete", JENNAH_EMAIL="me@example.com")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    gone = answer(jennah("tenant", "delete", "--yes", "--json", JENNAH_EMAIL="me@example.com"))
    assert gone["deleted_at"] is not None


def test_profiles(jennah: Jennah, cloud: tuple[LocalCloud, Path]) -> None:
    url = cloud[0].env["JENNAH_URL"]
    command = f"{JENNAH} token --email pro@example.com"
    refused = jennah("login", url, "--token-command", "echo not.a.token")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert answer(jennah("profiles", "list", "--json")) == {"default": None, "profiles": {}}
    assert jennah("login", url, "--profile", "local", "--token-command", command).returncode == 0
    assert re.search(rf"^\* +local +{url} ", jennah("profiles", "list").stdout, re.MULTILINE)
    assert jennah("submit", "busybox", "--profile", "local", "--", "true").returncode == 0
    shown = answer(jennah("tenant", "show", "--json", JENNAH_PROFILE="local"))
    assert shown["email"] == "pro@example.com"
    assert jennah("token", "--profile", "local").stdout.count(".") == 2
    assert jennah("list", "--profile", "local", "--url", "https://jobs.example.com").returncode == 2
    assert jennah("profiles", "use", "other").returncode == 2
    assert jennah("profiles", "use", "local").returncode == 0
    assert jennah("profiles", "remove", "local").returncode == 0
    assert jennah("list", "--profile", "local").returncode == 2


def test_operators_commands(jennah: Jennah, cloud: tuple[LocalCloud, Path]) -> None:
    env = cloud[0].env
    assert jennah("version").stdout.startswith("jennah ")
    unset = jennah("check-schema")
    assert (unset.returncode, unset.stdout, unset.stderr.count("\n")) == (2, "", 1)
    assert jennah("check-schema", **env).returncode == 0
    assert answer(jennah("migrate", "--json", **env))["applied"] == []
    assert answer(jennah("migrate", "--dry-run", "--json", **env))["pending"] == []
    assert jennah("check", **env).returncode == 0
    assert jennah("doctor", **env).returncode == 0
    assert jennah("dispatch", **env).returncode == 0
    assert jennah("pause", "--reason", "looking", **env).returncode == 0
    assert jennah("resume", **env).returncode == 0
    assert jennah("dead-letters", "list", **env).returncode == 0
    assert jennah("dead-letters", "show", "0", **env).returncode == 1
    assert jennah("dead-letters", "replay", "--all", **env).returncode == 0
    assert jennah("dead-letters", "discard", "--all", "--yes", **env).returncode == 0


def test_a_second_cloud_in_the_same_folder_says_why_not(jennah: Jennah) -> None:
    refused = jennah("up", JENNAH_PORT=str(free_port()))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    wrong = jennah("up", JENNAH_PORT="http")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
