"""The emulators and the processes that hold them: started, found, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jennah.local import emulators
from jennah.local.processes import (
    LocalCloudError,
    PortTaken,
    Processes,
    free_port,
    wait_until_listening,
)

# A leader with a child that ignores SIGTERM: gateway_main and emulator_main at their worst.
STUBBORN_FAMILY = ["/bin/sh", "-c", "(trap '' TERM; while :; do sleep 1; done) & trap '' TERM; wait"]

OWNER = """
import sys, time
from pathlib import Path
from jennah.local import emulators
from jennah.local.processes import Processes
processes = Processes(Path(sys.argv[1]))
family = processes.start("family", sys.argv[2:])
spanner = emulators.start_spanner(processes)
print(family.pid, spanner.process.pid, flush=True)
time.sleep(60)
"""


def eventually(holds: Callable[[], bool], timeout: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


def group_is_gone(group: int) -> bool:
    return not [
        process
        for process in psutil.process_iter(["status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and _group(process.pid) == group
    ]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_stopping_ends_the_whole_group(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        family = processes.start("family", STUBBORN_FAMILY)
        assert family.alive
        family.stop(grace=0.2)
        assert family.exit_code is not None
        assert group_is_gone(family.pid)


def test_leaving_the_owner_ends_what_a_leader_left_behind(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        family = processes.start("family", ["/bin/sh", "-c", "sleep 60 & echo $!"])
        assert family.wait(5)
        orphan = int(family.last_words)
        assert psutil.pid_exists(orphan)
    assert eventually(lambda: group_is_gone(family.pid))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_owner_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), *STUBBORN_FAMILY], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    groups = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(groups) == 2
    owner.send_signal(number)
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: all(group_is_gone(group) for group in groups))


def test_gateway_and_emulator_end_together(tmp_path: Path) -> None:
    port, rest_port = free_port(), free_port()
    with Processes(tmp_path) as processes:
        gateway = processes.start("spanner", emulators.spanner_command(port, rest_port))
        wait_until_listening(gateway, port)
        wait_until_listening(gateway, rest_port)
    assert not listens(port)
    assert not listens(rest_port)


@pytest.mark.parametrize("name", ["spanner", "pubsub"])
def test_a_taken_port_is_told_from_other_failures(tmp_path: Path, name: str) -> None:
    command = {"spanner": emulators.spanner_command, "pubsub": emulators.pubsub_command}[name]
    with Processes(tmp_path) as processes, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but deaf: only the emulator could answer here
        port = taken.getsockname()[1]
        process = processes.start(name, command(port))
        with pytest.raises(PortTaken):
            wait_until_listening(process, port)


def test_a_process_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        process = processes.start("broken", ["/bin/sh", "-c", "echo first; echo no such luck; exit 3"])
        with pytest.raises(
            LocalCloudError, match=r"broken ended at once: no such luck \(see .*broken\.log\)"
        ):
            wait_until_listening(process, free_port())
        assert process.exit_code == 3


def test_the_environment_names_the_emulators(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("emulator_main", "gateway_main", "cloud-pubsub-emulator"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("JENNAH_SPANNER_EMULATOR", str(tmp_path))
    monkeypatch.setenv("JENNAH_PUBSUB_EMULATOR", str(tmp_path / "cloud-pubsub-emulator"))
    assert emulators.spanner_command(1)[0] == str(tmp_path / "emulator_main")
    assert emulators.spanner_command(1, 2)[0] == str(tmp_path / "gateway_main")
    assert emulators.pubsub_command(1)[0] == str(tmp_path / "cloud-pubsub-emulator")


def test_a_running_emulator_of_somebody_else_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", "127.0.0.1:1")
    with Processes(tmp_path) as processes:
        assert emulators.start_spanner(processes).host != "127.0.0.1:1"


def one_sentence(error: BaseException) -> str:
    text = str(error)
    assert text.endswith(".")
    assert ". " not in text
    assert "\n" not in text
    return text


@pytest.fixture
def bare_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH on which nothing stands."""
    emulators._docker_answers.cache_clear()
    for name in ("CLOUDSDK_ROOT_DIR", "JENNAH_SPANNER_EMULATOR", "JENNAH_PUBSUB_EMULATOR", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    return path


def test_a_missing_emulator_is_named_with_the_remedy(bare_path: Path) -> None:
    for command, component in (
        (emulators.spanner_command, "cloud-spanner-emulator"),
        (emulators.pubsub_command, "pubsub-emulator"),
    ):
        with pytest.raises(LocalCloudError) as caught:
            command(1)
        sentence = one_sentence(caught.value)
        assert f"gcloud components install {component}" in sentence
        assert "apt-get install google-cloud-cli-" in sentence
    emulators._docker_answers.cache_clear()


def test_a_wrong_setting_is_named_with_the_remedy(bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, command in (
        ("JENNAH_SPANNER_EMULATOR", emulators.spanner_command),
        ("JENNAH_PUBSUB_EMULATOR", emulators.pubsub_command),
    ):
        monkeypatch.setenv(variable, str(bare_path))
        with pytest.raises(LocalCloudError, match=variable) as caught:
            command(1)
        one_sentence(caught.value)


def test_missing_java_is_named_with_the_remedy(bare_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JENNAH_PUBSUB_EMULATOR", sys.executable)
    with pytest.raises(LocalCloudError, match="no java on the PATH") as caught:
        emulators.pubsub_command(1)
    one_sentence(caught.value)
    monkeypatch.setenv("JAVA_HOME", str(bare_path))
    with pytest.raises(LocalCloudError, match="no java in JAVA_HOME"):
        emulators.pubsub_command(1)


def test_docker_is_the_last_resort(bare_path: Path) -> None:
    docker = bare_path / "docker"
    docker.write_text("#!/bin/sh\nexit 0\n")
    docker.chmod(0o755)
    assert emulators.spanner_command(1, 2) == [
        *("docker", "run", "--rm", "--network=host", "gcr.io/cloud-spanner-emulator/emulator"),
        *("./gateway_main", "--hostname=127.0.0.1", "--grpc_port=1", "--http_port=2"),
    ]
    assert emulators.pubsub_command(1)[-1] == "--host-port=127.0.0.1:1"
    emulators._docker_answers.cache_clear()


def test_ports_are_free_and_never_given_twice() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)
    for port in ports[:20]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
