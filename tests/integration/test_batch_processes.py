"""The local Batch service as a process: no task outlives it, however it ends; how it refuses to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest
from google.cloud import batch_v1
from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport

from jennah.local import batch_launcher
from jennah.local.batch_jobs import JobState
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes

LINUX = sys.platform == "linux"

# A task of three processes: its own, one of its group, and one that may be in a session of its own.
FAMILY = """
trap '' TERM
sleep 1000 & echo $!
{leave} sleep 1000 & echo $!
echo $$
while :; do sleep 1; done
"""

OWNER = """
import sys, time
from pathlib import Path
from jennah.local.batch_server import start_batch
from jennah.local.processes import Processes
processes = Processes(Path(sys.argv[1]) / "logs")
server = start_batch(processes, Path(sys.argv[1]) / "batch")
print(server.process.pid, server.host, flush=True)
time.sleep(1000)
"""


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def start_family(
    client: batch_v1.BatchServiceClient, directory: Path, leave: str = "setsid" if LINUX else ""
) -> list[psutil.Process]:
    """Run FAMILY as a task; return its processes, and the launcher that is their parent."""
    text = FAMILY.format(leave=leave)
    job = batch_v1.Job({"task_groups": [{"task_spec": {"runnables": [{"script": {"text": text}}]}}]})
    uid = client.create_job(parent="projects/p/locations/l", job_id="family", job=job).uid
    log = directory / uid / "task-0-0.log"
    until(lambda: log.exists() and len(log.read_text().split()) == 3)
    family = [psutil.Process(int(pid)) for pid in log.read_text().split()]
    launcher = family[-1].parent()
    assert launcher is not None
    return [*family, launcher]


@pytest.fixture
def batch(processes: Processes, tmp_path: Path) -> BatchServer:
    return start_batch(processes, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_task_outlives_the_service(batch: BatchServer, number: signal.Signals) -> None:
    family = start_family(batch.client, batch.directory)
    os.kill(batch.process.pid, number)
    assert batch.process.wait(5)
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert batch.process.exit_code == (-number if number is signal.SIGKILL else 0)
    if number is not signal.SIGKILL:
        assert [run.exit_code for run in batch.ledger()] == [137]
        assert "Traceback" not in batch.process.log.read_text()


def test_no_task_outlives_the_one_who_started_the_service(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        pid, host = owner.stdout.readline().split()
        transport = BatchServiceGrpcTransport(channel=grpc.insecure_channel(host))
        client = batch_v1.BatchServiceClient(transport=transport)
        family = [psutil.Process(int(pid)), *start_family(client, tmp_path / "batch")]
        owner.kill()
        assert psutil.wait_procs(family, timeout=5)[1] == []


@pytest.mark.skipif(not LINUX, reason="only Linux can tie a process to its parent")
def test_without_its_launcher_the_service_ends_with_a_sentence(batch: BatchServer) -> None:
    *family, launcher = start_family(batch.client, batch.directory, leave="")
    launcher.kill()
    assert batch.process.wait(5)
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert batch.process.exit_code == 1
    assert batch.process.last_words.startswith("The process that starts the tasks has died")


@pytest.mark.skipif(not LINUX, reason="only Linux can tie a process to its parent")
def test_a_task_ends_with_its_launcher_when_the_service_can_do_nothing(batch: BatchServer) -> None:
    *others, task, launcher = start_family(batch.client, batch.directory, leave="")
    os.kill(batch.process.pid, signal.SIGSTOP)
    launcher.kill()
    assert psutil.wait_procs([task], timeout=5)[1] == []
    os.kill(batch.process.pid, signal.SIGCONT)
    assert psutil.wait_procs(others, timeout=5)[1] == []


def test_a_task_that_kills_the_launcher_at_once_leaves_nothing(batch: BatchServer, tmp_path: Path) -> None:
    said = tmp_path / "child"
    text = f"sleep 1000 & echo $! >{said}; kill -9 $PPID; sleep 1000"
    job = batch_v1.Job({"task_groups": [{"task_spec": {"runnables": [{"script": {"text": text}}]}}]})
    batch.client.create_job(parent="projects/p/locations/l", job_id="patricide", job=job)
    assert batch.process.wait(5)
    child = int(said.read_text())
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_process_is_known_before_it_becomes_its_program(tmp_path: Path) -> None:
    start = {"start": 7, "argv": ["no-such-program"], "env": {}, "cwd": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-I", "-S", batch_launcher.__file__],
        input=json.dumps(start | {"log": str(tmp_path / "log")}) + "\n",
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    started, failed = map(json.loads, finished.stdout.splitlines())
    assert started == {"started": 7, "pid": started["pid"]}
    assert failed == {"failed": 7, "code": 127}


def service(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jennah.local.batch_service", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_what_it_refuses_is_one_sentence(tmp_path: Path) -> None:
    directory = f"--directory={tmp_path}"
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refusals = [
            (service(directory, f"--port={taken.getsockname()[1]}"), "address already in use"),
            (service(directory, "--port=70000"), "no such port"),
            (service(directory, "--parallel=0"), "--parallel"),
            (service(f"--directory={tmp_path}/file/below"), "--directory"),
            (service(directory, JENNAH_BATCH_RUNNER="podman"), "JENNAH_BATCH_RUNNER"),
        ]
    for refusal, words in refusals:
        assert refusal.returncode == 1
        assert refusal.stdout == ""
        assert refusal.stderr.count("\n") == 1
        assert words.lower() in refusal.stderr.lower()


def test_it_says_when_it_serves(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jennah.local.batch_service", f"--directory={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("serving 127.0.0.1:")
        process.terminate()
        assert process.stdout.read() == ""
        assert process.wait(5) == 0


def test_two_services_share_no_port_and_no_job(processes: Processes, tmp_path: Path) -> None:
    first, second = (start_batch(processes, tmp_path / name) for name in ("a", "b"))
    spec = {"task_spec": {"runnables": [{"script": {"text": "true"}}]}}
    first.client.create_job(
        parent="projects/p/locations/l", job_id="j", job=batch_v1.Job({"task_groups": [spec]})
    )
    first.faults.wait_for_state("j", JobState.SUCCEEDED)
    assert list(second.client.list_jobs(parent="projects/p/locations/-")) == []
    first.process.stop()
    second.process.stop()
