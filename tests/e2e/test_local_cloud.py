"""`make up` as its users meet it: a real terminal command, signals from outside, clouds side by side."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from jennah.client import Client
from jennah.local import services
from jennah.local.cloud import LocalCloud
from jennah.local.processes import (
    LocalCloudError,
    Process,
    Processes,
    free_port,
    wait_until_healthy,
)
from jennah.local.tokens import fetch_token
from shared.config import Settings

ROOT = Path(__file__).parents[2]
SECONDS_TO_END = 10.0


def eventually(holds: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Up:
    """A `make up` in a folder of its own."""

    folder: Path
    make: Process
    port: int
    errors: Path

    @property
    def output(self) -> list[str]:
        return self.make.log.read_text().splitlines()

    @property
    def env(self) -> dict[str, str]:
        lines = shlex.split((self.folder / ".local" / "env").read_text())
        return dict(line.split("=", 1) for line in lines)

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.make.alive, self.errors.read_text()
            return any(line.startswith("ready") for line in self.output)

        assert eventually(ready, 60), self.errors.read_text()

    def descendants(self) -> list[psutil.Process]:
        """Every process of this cloud: all are children of the supervisor, or theirs."""
        return psutil.Process(self.make.pid).children(recursive=True)

    def run_job(self, *command: str, until: str) -> None:
        token = fetch_token(self.env["JENNAH_ISSUER_URL"], "you@example.com", self.env["JENNAH_AUDIENCE"])
        with Client(self.env["JENNAH_URL"], token, retry_seconds=10) as client:
            job = client.submit_job("busybox", list(command))
            assert eventually(lambda: client.get_job(job.job_id).status == until, 30)


@pytest.fixture
def make_up(processes: Processes, tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `make up` in a new folder, or again in the folder of another."""
    started: list[Process] = []

    def start(folder: Path | None = None, **environment: str) -> Up:
        number = len(started)
        if folder is None:
            folder = tmp_path / f"a clone {number}"
            folder.mkdir()
            for name in ("Makefile", "pyproject.toml", "constraints.txt"):
                shutil.copy(ROOT / name, folder)
            (folder / ".venv").symlink_to(sys.prefix)
        port = int(environment.setdefault("JENNAH_PORT", str(free_port())))
        errors = tmp_path / f"errors-{number}"
        # What is installed is what is being tested: the stamp of the environment is taken as it is.
        make = ["make", "--no-print-directory", "-C", str(folder), "-o", ".venv/.ready", "up"]
        # This may itself run under make, whose variables a make of its own must not see.
        hidden = ("JENNAH_", "MAKE", "MFLAGS")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        process = processes.start(
            f"make-up-{tmp_path.name}-{number}",
            ["/bin/sh", "-c", 'exec 2>"$0"; exec "$@"', str(errors), *make],
            env={**inherited, **environment},
        )
        started.append(process)
        return Up(folder, process, port, errors)

    yield start
    for process in started:
        process.stop(SECONDS_TO_END)


def test_two_clouds_serve_side_by_side_and_end_with_their_signals(make_up: Callable[..., Up]) -> None:
    one, two = make_up(), make_up()
    for cloud in (one, two):
        cloud.wait_ready()
        assert [line for line in cloud.output if line.startswith("ready")] == cloud.output
        assert "\x1b" not in cloud.output[0] + cloud.errors.read_text()
        assert cloud.env["JENNAH_URL"] == f"http://127.0.0.1:{cloud.port}"
        assert {
            *("GOOGLE_CLOUD_PROJECT", "SPANNER_EMULATOR_HOST", "SPANNER_INSTANCE", "SPANNER_DATABASE"),
            *("PUBSUB_EMULATOR_HOST", "BATCH_EMULATOR_HOST", "LOGGING_EMULATOR_HOST"),
        } <= cloud.env.keys()
        cloud.run_job("true", until="COMPLETED")
        if psutil.LINUX:  # elsewhere shared pages can't be told apart
            memory = sum(process.memory_full_info().pss for process in cloud.descendants())
            assert memory < 2**30, f"{memory >> 20} MiB"
    assert _rest_shows_the_instance(one.env)

    again = make_up(one.folder)
    assert again.make.wait(SECONDS_TO_END)
    assert again.make.exit_code != 0
    assert f"A local cloud already runs in {one.folder}" in again.errors.read_text()

    of_one, of_two = one.descendants(), two.descendants()
    assert len(of_one) > 12
    os.kill(one.make.pid, signal.SIGTERM)
    assert one.make.wait(SECONDS_TO_END)
    assert not [process for process in of_one if lives(process)]
    assert not (one.folder / ".local" / "env").exists()

    two.run_job("true", until="COMPLETED")
    assert all(map(lives, of_two))
    two.make.signal(signal.SIGINT)  # to the group, as Ctrl-C does
    assert two.make.wait(SECONDS_TO_END)
    assert not [process for process in of_two if lives(process)]


def test_with_the_file_alone_a_function_is_part_of_the_cloud(
    make_up: Callable[..., Up], processes: Processes
) -> None:
    cloud = make_up()
    cloud.wait_ready()
    port = free_port()
    framework = [sys.executable, "-m", "functions_framework", "--host=127.0.0.1", f"--port={port}"]
    submission = processes.start(
        f"submission-{port}",
        [
            *("/bin/sh", "-c", 'set -a; . "$0"; exec "$@"', str(cloud.folder / ".local" / "env")),
            *(*framework, f"--source={ROOT / 'functions' / 'submission.py'}", "--target=submit"),
        ],
        env={"PATH": os.environ["PATH"]},
    )
    try:
        wait_until_healthy(submission, port, "/health")
        token = fetch_token(cloud.env["JENNAH_ISSUER_URL"], "you@example.com", cloud.env["JENNAH_AUDIENCE"])
        with Client(f"http://127.0.0.1:{port}", token) as client:
            job = client.submit_job("busybox", ["true"])
            assert eventually(lambda: client.get_job(job.job_id).status == "COMPLETED", 30)
    finally:
        submission.stop()
    ours = Settings.from_env(cloud.env)
    functions = [process for process in cloud.descendants() if "functions_framework" in process.cmdline()]
    assert len(functions) >= len(services.FUNCTIONS)
    assert all(Settings.from_env(process.environ()) == ours for process in functions)


def _rest_shows_the_instance(env: dict[str, str]) -> bool:
    address = urlsplit(env["SPANNER_EMULATOR_REST"])
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    connection.request("GET", f"/v1/projects/{env['GOOGLE_CLOUD_PROJECT']}/instances")
    instances = json.load(connection.getresponse())["instances"]
    connection.close()
    return any(instance["name"].endswith(f"/{env['SPANNER_INSTANCE']}") for instance in instances)


def test_a_killed_supervisor_takes_everything_along(make_up: Callable[..., Up]) -> None:
    killed = make_up()
    killed.wait_ready()
    killed.run_job("sleep", "4321", until="RUNNING")
    processes = killed.descendants()
    assert any(process.cmdline() == ["sleep", "4321"] for process in processes)
    supervisor = next(p for p in processes if p.ppid() == killed.make.pid)
    supervisor.kill()
    assert eventually(lambda: not any(map(lives, processes)), SECONDS_TO_END)

    successor = make_up(killed.folder)  # the lock and the file that were left behind are no obstacle
    successor.wait_ready()
    assert successor.env["JENNAH_URL"].endswith(str(successor.port))


def test_sigterm_during_the_start_leaves_nothing(make_up: Callable[..., Up]) -> None:
    cloud = make_up()
    assert eventually(lambda: len(cloud.descendants()) > 6, 30)
    processes = cloud.descendants()
    os.kill(cloud.make.pid, signal.SIGTERM)
    assert cloud.make.wait(SECONDS_TO_END)
    assert eventually(lambda: not any(map(lives, processes)), SECONDS_TO_END)
    assert cloud.output == []


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that is bound, so that nobody else can have it, and deaf, so that nobody is mistaken for it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_ports_that_are_lost_to_others_are_chosen_again(
    tmp_path: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = iter([free_port(), free_port(), taken_port])  # the third is the Pub/Sub emulator's
    monkeypatch.setattr(services, "free_port", lambda: next(chosen, None) or free_port())
    with LocalCloud(tmp_path, free_port()) as cloud:
        assert cloud.env["PUBSUB_EMULATOR_HOST"] != f"127.0.0.1:{taken_port}"


def test_functions_are_started_again_and_emulators_are_not(tmp_path: Path) -> None:
    said: list[str] = []
    with LocalCloud(tmp_path, free_port(), report=said.append) as cloud:
        first = cloud.pids["scheduling"]
        assert cloud.crash("scheduling")
        assert eventually(lambda: cloud.pids.get("scheduling", first) != first, 10)
        assert any("scheduling has ended" in line for line in said)

        worker = psutil.Process(cloud.pids["notification"]).children()[0]
        cloud.kill("notification")
        assert eventually(lambda: not lives(worker), 10)
        assert "notification" not in cloud.pids
        assert not cloud.crash("notification")
        cloud.start("notification")
        assert "notification" in cloud.pids

        os.killpg(cloud.pids["spanner"], signal.SIGKILL)
        failure = cloud.wait()
        assert failure.startswith("The local cloud ended because spanner did")
        assert "\n" not in failure


def test_a_taken_port_is_refused_before_anything_starts(make_up: Callable[..., Up], taken_port: int) -> None:
    cloud = make_up(JENNAH_PORT=str(taken_port))
    assert cloud.make.wait(SECONDS_TO_END)
    assert cloud.make.exit_code != 0
    assert cloud.output == []
    sentence, *makes_own = cloud.errors.read_text().splitlines()
    assert sentence.startswith(f"Port {cloud.port} can't be used")
    assert "JENNAH_PORT" in sentence
    assert all(line.startswith("make:") for line in makes_own)
    assert not (cloud.folder / ".local" / "logs").exists()


@pytest.mark.parametrize(
    ("hidden", "remedy"),
    [("gcloud", "gcloud components install"), ("java", "openjdk")],
)
def test_what_is_missing_is_named(
    make_up: Callable[..., Up], tmp_path: Path, hidden: str, remedy: str
) -> None:
    path = tmp_path / "bin"
    path.mkdir()
    for program in ("make", "sh", "gcloud", "java"):
        if program != hidden and (found := shutil.which(program)):
            (path / program).symlink_to(found)
    cloud = make_up(PATH=str(path), JAVA_HOME="", CLOUDSDK_ROOT_DIR="")
    assert cloud.make.wait(30)
    assert cloud.make.exit_code != 0
    sentence, *makes_own = cloud.errors.read_text().splitlines()
    assert remedy in sentence
    assert all(line.startswith("make:") for line in makes_own)
    assert not list((cloud.folder / ".local" / "logs").iterdir())


def test_a_folder_that_is_none_is_refused_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / ".local").touch()
    with pytest.raises(LocalCloudError, match=r"remove it"), LocalCloud(tmp_path, free_port()):
        pass


def test_a_cloud_that_fails_to_start_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(LocalCloudError, match=r"JENNAH_TICK_SECONDS"),
        LocalCloud(tmp_path, free_port(), settings={"JENNAH_TICK_SECONDS": "soon"}),
    ):
        pass
    mine = [process for process in psutil.Process().children(recursive=True) if lives(process)]
    assert not [process for process in mine if str(tmp_path) in " ".join(process.cmdline())]
    assert not (tmp_path / ".local" / "env").exists()
