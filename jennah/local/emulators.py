"""The official Spanner and Pub/Sub emulators: where they are, and starting them.

They are looked for in the environment (JENNAH_SPANNER_EMULATOR: the folder of `emulator_main` and
`gateway_main`; JENNAH_PUBSUB_EMULATOR: the program `cloud-pubsub-emulator`), then in the Google Cloud SDK,
and last as Docker images. An emulator that already runs (SPANNER_EMULATOR_HOST, PUBSUB_EMULATOR_HOST) is
never taken: two clouds would share one state without anybody having said so.

The programs are run directly: `gcloud emulators … start` costs a second and leaves processes when it ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jennah.local.processes import (
    LocalCloudError,
    PortTaken,
    Process,
    Processes,
    free_port,
    wait_until_listening,
)

# The JVM's own default heap is a quarter of the machine; C1 and the serial collector stay smaller as well.
_JAVA_OPTIONS = "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"

_SPANNER_IMAGE = "gcr.io/cloud-spanner-emulator/emulator"
_PUBSUB_IMAGE = "gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators"

_ATTEMPTS = 3  # another process may take a free port before the emulator does


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator; `host` is "127.0.0.1:port", where it serves gRPC."""

    process: Process
    host: str


def start_spanner(processes: Processes, *, fault_injection: bool = False) -> Emulator:
    """Start an empty Spanner emulator without its REST gateway (15 ms) and wait until it answers.

    `fault_injection` lets it abort some commits at random.

    Raises:
        LocalCloudError: it is not installed, or does not start.
    """
    options = ["--enable_fault_injection"] if fault_injection else []
    return _start(processes, "spanner", lambda port: [*spanner_command(port), *options], os.environ)


def start_pubsub(processes: Processes) -> Emulator:
    """Start an empty Pub/Sub emulator (gRPC and REST on one port) and wait until it answers.

    Raises:
        LocalCloudError: it, or the Java that it needs, is not installed, or it does not start.
    """
    return _start(processes, "pubsub", pubsub_command, pubsub_environment(os.environ))


def _start(
    processes: Processes, name: str, command: Callable[[int], list[str]], env: Mapping[str, str]
) -> Emulator:
    attempt = 1
    while True:
        port = free_port()
        process = processes.start(name, command(port), env=env)
        try:
            wait_until_listening(process, port)
        except PortTaken:
            process.stop()
            if attempt == _ATTEMPTS:
                raise
            attempt += 1
        else:
            return Emulator(process, f"127.0.0.1:{port}")


def spanner_command(port: int, rest_port: int | None = None) -> list[str]:
    """What runs the Spanner emulator; with `rest_port` also its REST gateway, which `gcloud spanner` needs.

    Raises:
        LocalCloudError: it is not installed.
    """
    folder = _find("JENNAH_SPANNER_EMULATOR", "bin/cloud_spanner_emulator")
    if folder is None:
        _require_docker("Spanner", "cloud-spanner-emulator", "google-cloud-cli-spanner-emulator")
        ports = [f"--grpc_port={port}", f"--http_port={rest_port or free_port()}"]
        return [*_docker_run(_SPANNER_IMAGE), "./gateway_main", "--hostname=127.0.0.1", *ports]
    emulator, gateway = folder / "emulator_main", folder / "gateway_main"
    for program in (emulator, gateway):
        if not os.access(program, os.X_OK):
            raise LocalCloudError(
                f"{program} is not a program: let JENNAH_SPANNER_EMULATOR name the folder of the emulator, "
                "or install its component of the Google Cloud SDK again."
            )
    if rest_port is None:
        return [str(emulator), f"--host_port=127.0.0.1:{port}"]
    binary = [str(gateway), f"--grpc_binary={emulator}"]
    return [*binary, "--hostname=127.0.0.1", f"--grpc_port={port}", f"--http_port={rest_port}"]


def pubsub_command(port: int) -> list[str]:
    """What runs the Pub/Sub emulator.

    Raises:
        LocalCloudError: it, or the Java that it needs, is not installed.
    """
    program = _find("JENNAH_PUBSUB_EMULATOR", "platform/pubsub-emulator/bin/cloud-pubsub-emulator")
    if program is None:
        _require_docker("Pub/Sub", "pubsub-emulator", "google-cloud-cli-pubsub-emulator")
        start = ["gcloud", "beta", "emulators", "pubsub", "start", f"--host-port=127.0.0.1:{port}"]
        return [*_docker_run(_PUBSUB_IMAGE), *start]
    if not os.access(program, os.X_OK) or program.is_dir():
        raise LocalCloudError(
            f"{program} is not a program: let JENNAH_PUBSUB_EMULATOR name the file cloud-pubsub-emulator."
        )
    home = os.environ.get("JAVA_HOME")
    if not shutil.which(f"{home}/bin/java" if home else "java"):
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise LocalCloudError(
            f"There is no java {where}, which the Pub/Sub emulator needs: install one, for example with "
            "`apt-get install default-jre-headless` or `brew install openjdk`."
        )
    return [str(program), "--host=127.0.0.1", f"--port={port}"]


def pubsub_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the Pub/Sub emulator: `environ` with a small JVM."""
    return {**environ, "JAVA_OPTS": _JAVA_OPTIONS}


def _find(variable: str, in_sdk: str) -> Path | None:
    """Where the environment says, else the first place in an SDK where it exists."""
    if named := os.environ.get(variable):
        return Path(named)
    return next((root / in_sdk for root in _sdk_roots() if (root / in_sdk).exists()), None)


def _sdk_roots() -> Iterator[Path]:
    if root := os.environ.get("CLOUDSDK_ROOT_DIR"):
        yield Path(root)
    if gcloud := shutil.which("gcloud"):
        yield Path(gcloud).resolve().parent.parent  # `gcloud info` would know too, in a second


def _require_docker(name: str, component: str, package: str) -> None:
    if not _docker_answers():
        raise LocalCloudError(
            f"The {name} emulator is not installed: `apt-get install {package}` (Debian, Ubuntu) or "
            f"`gcloud components install {component}` brings it, or start Docker."
        )


@cache
def _docker_answers() -> bool:
    try:
        subprocess.run(["docker", "version"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _docker_run(image: str) -> list[str]:
    # The host's network, because the Pub/Sub emulator must reach the functions on the host's loopback.
    return ["docker", "run", "--rm", "--network=host", image]
