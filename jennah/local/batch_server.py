"""Starting the local Batch service, and the clients that belong to it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.cloud import batch_v1
from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_runner import Run, read_ledger
from jennah.local.processes import (
    LocalCloudError,
    PortTaken,
    Process,
    Processes,
    free_port,
    wait_until_listening,
)

_START_SECONDS = 30
_ATTEMPTS = 3  # another process may take a free port before the service does


@dataclass(frozen=True, slots=True)
class BatchServer:
    """A local Batch service that answers at `host` ("127.0.0.1:port") and works in `directory`."""

    process: Process
    host: str
    directory: Path
    client: batch_v1.BatchServiceClient
    faults: BatchFaults

    def ledger(self) -> list[Run]:
        """What has really run so far."""
        return read_ledger(self.directory)

    def log_of(self, job: batch_v1.Job, task: int = 0) -> str:
        """What a task has written to standard output and standard error."""
        return (self.directory / job.uid / f"task-0-{task}.log").read_text()


def start_batch(
    processes: Processes, directory: Path, *, pubsub: str | None = None, options: Sequence[str] = ()
) -> BatchServer:
    """Start a service without jobs and wait until it answers.

    Args:
        directory: for its logs, working folders and ledger.
        pubsub: the Pub/Sub emulator's address; None sends no notifications.
        options: more of its command line (`jennah.local.batch_service`).

    Raises:
        LocalCloudError: it does not start.
    """
    env = {name: value for name, value in os.environ.items() if name != "PUBSUB_EMULATOR_HOST"}
    if pubsub:
        env["PUBSUB_EMULATOR_HOST"] = pubsub
    for attempt in range(1, _ATTEMPTS + 1):
        port = free_port()
        module = [sys.executable, "-m", "jennah.local.batch_service"]
        command = [*module, f"--port={port}", f"--directory={directory}", *options]
        process = processes.start(f"batch-{port}", command, env=env)
        try:
            _wait_until_serving(process, port)
            break
        except PortTaken:
            if attempt == _ATTEMPTS:
                raise
    host = f"127.0.0.1:{port}"
    transport = BatchServiceGrpcTransport(channel=grpc.insecure_channel(host))
    return BatchServer(
        process, host, directory, batch_v1.BatchServiceClient(transport=transport), BatchFaults(host)
    )


def _wait_until_serving(process: Process, port: int) -> None:
    # That something listens on the port is not enough: it might be another process that was quicker.
    deadline = time.monotonic() + _START_SECONDS
    while f"serving 127.0.0.1:{port}" not in process.log.read_text():
        if not process.alive:
            wait_until_listening(process, port)  # raises, and knows why
        if time.monotonic() > deadline:
            raise LocalCloudError(
                f"{process.name} did not start within {_START_SECONDS} s: see {process.log}."
            )
        time.sleep(0.005)
