"""What `submit` and `batch` send, by options and from files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shared.api.spec import SubmitRequest

if TYPE_CHECKING:
    from tests.unit.conftest import ScriptedServer

JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
Here = Callable[..., subprocess.CompletedProcess[str]]


def assert_wrong_usage(done: subprocess.CompletedProcess[str], server: ScriptedServer) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert server.asked == []


def test_everything_that_the_api_takes_can_be_asked_for(
    server: ScriptedServer, here: Here, job: dict[str, Any]
) -> None:
    server.reply(201, job)
    version = "projects/p/secrets/s/versions/1"
    common = [
        *("--name", "n", "--entrypoint", "/bin/sh", "--env", "A=b", "--secret-env", f"T={version}"),
        *("--label", "team=science", "--mount", "gs://data/2026:/mnt/in", "--mount", "out:/mnt/out:rw"),
        *("--timeout", "5", "--priority", "0", "--tasks", "10", "--parallelism", "2"),
        *("--gpus", "nvidia-tesla-t4:2", "--boot-disk", "50", "--provisioning", "spot"),
        *("--max-retries", "0", "--retry-delay", "1"),
    ]
    here("submit", "busybox", *common, "--cpu-milli", "500", "--memory-mib", "512", "--", "-c", "true")
    here("submit", "busybox", "--size", "large", "--gpus", "nvidia-l4")
    here("submit", "busybox", "--machine-type", "e2-standard-4")
    whole, sized, typed = (asked.body for asked in server.asked)
    assert whole == {
        "image_uri": "busybox",
        "commands": ["-c", "true"],
        "name": "n",
        "entrypoint": "/bin/sh",
        "env": {"A": "b"},
        "secret_env": {"T": version},
        "labels": {"team": "science"},
        "mounts": [
            {"bucket": "data", "path": "2026", "mount_path": "/mnt/in"},
            {"bucket": "out", "mount_path": "/mnt/out", "read_only": False},
        ],
        "timeout_seconds": 5,
        "priority": 0,
        "task_count": 10,
        "parallelism": 2,
        "resources": {"cpu_milli": 500, "memory_mib": 512},
        "gpus": {"type": "nvidia-tesla-t4", "count": 2},
        "boot_disk_gib": 50,
        "provisioning": "spot",
        "max_retries": 0,
        "retry": {"backoff": {"first_delay_seconds": 1}},
    }
    assert sized == {"image_uri": "busybox", "profile": "large", "gpus": {"type": "nvidia-l4", "count": 1}}
    assert typed == {"image_uri": "busybox", "machine_type": "e2-standard-4"}
    assert whole.keys() | sized.keys() | typed.keys() == SubmitRequest.model_fields.keys()
    for body in (whole, sized, typed):
        SubmitRequest.parse(json.dumps(body).encode())


def test_options_go_before_what_a_file_says(
    server: ScriptedServer, here: Here, job: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(201, job)
    file = tmp_path / "job.yaml"
    file.write_text(
        "image_uri: busybox\ncommands: [echo, hello]\nname: 2026-07-01\nprofile: small\nenv: {A: a, B: b}\n"
        "mounts: [{bucket: in, mount_path: /in}]\nretry: {max_infrastructure_retries: 1}\ntask_count: 2\n"
    )
    here("submit", "-f", str(file))
    here(
        *("submit", "-f", str(file), "--env", "B=c", "--env", "C=d", "--machine-type", "e2-standard-4"),
        *("--mount", "out:/out", "--retry-delay", "1", "--tasks", "3", "alpine", "--", "true"),
    )
    plain, changed = (asked.body for asked in server.asked)
    assert (plain["name"], plain["commands"], plain["task_count"]) == ("2026-07-01", ["echo", "hello"], 2)
    assert changed == {
        "image_uri": "alpine",
        "commands": ["true"],
        "name": "2026-07-01",
        "machine_type": "e2-standard-4",
        "env": {"A": "a", "B": "c", "C": "d"},
        "mounts": [{"bucket": "in", "mount_path": "/in"}, {"bucket": "out", "mount_path": "/out"}],
        "retry": {"max_infrastructure_retries": 1, "backoff": {"first_delay_seconds": 1}},
        "task_count": 3,
    }


@pytest.mark.parametrize(
    "text",
    [
        '[{"image_uri": "a"}, {"image_uri": "b"}]',
        '{"requests": [{"image_uri": "a"}, {"image_uri": "b"}]}',
        "image_uri: a\n---\nimage_uri: b\n",
        "- image_uri: a\n- image_uri: b\n",
    ],
)
def test_many_requests_stand_in_one_file(
    server: ScriptedServer, here: Here, job: dict[str, Any], tmp_path: Path, text: str
) -> None:
    server.reply(201, {"jobs": [job, {**job, "job_id": "2"}]})
    file = tmp_path / "jobs"
    file.write_text(text)
    done = here("batch", str(file), "--idempotency-key", "k")
    assert (done.returncode, done.stdout) == (0, f"{JOB_ID}\n2\n")
    assert server.asked[0].body == {"requests": [{"image_uri": "a"}, {"image_uri": "b"}]}
    assert server.asked[0].headers["idempotency-key"] == "k"
    assert len(json.loads(here("batch", str(file), "--json").stdout)) == 2


@pytest.mark.parametrize("command", ["submit", "batch"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"1", b"a: [", b"\xff", b"[1]", b"[]", b"a: .nan", b"a: !!binary aGk=", b"a: &x {b: *x}"),
        *(b"? [a]\n: b", b"a: !!python/object:os.system {}", b"\t"),
    ],
)
def test_a_file_that_holds_no_request_is_named(
    server: ScriptedServer, here: Here, tmp_path: Path, command: str, content: bytes
) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    done = here("submit", "busybox", "-f", str(file)) if command == "submit" else here("batch", str(file))
    assert_wrong_usage(done, server)
    assert str(file) in done.stderr


def test_a_file_without_requests_is_named(server: ScriptedServer, here: Here, tmp_path: Path) -> None:
    assert_wrong_usage(here("batch", str(tmp_path / "none")), server)
    (tmp_path / "one").write_text("requests: 1")
    assert_wrong_usage(here("batch", str(tmp_path / "one")), server)
    assert_wrong_usage(here("submit", "-f", str(tmp_path)), server)


def test_ids_are_printed_also_when_the_jobs_can_not_be_followed(
    server: ScriptedServer, here: Here, job: dict[str, Any], tmp_path: Path
) -> None:
    refusal = {"error": {"code": 404, "status": "NOT_FOUND", "message": "Not found.", "details": []}}
    file = tmp_path / "jobs.json"
    file.write_text('[{"image_uri": "busybox"}]')
    for words in (["submit", "busybox"], ["batch", str(file)]):
        accepted = {"jobs": [job]} if words[0] == "batch" else job
        server.decide = lambda asked, accepted=accepted: (
            (201, accepted) if asked.method == "POST" else (404, refusal)
        )
        done = here(*words, "--wait", "--json")
        shown = json.loads(done.stdout)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert (shown[0] if words[0] == "batch" else shown)["job_id"] == job["job_id"]
