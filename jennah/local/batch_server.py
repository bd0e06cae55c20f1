"""Starting the local Batch service, and the clients that belong to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.cloud import batch_v1
from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_runner import Run, read_ledger
from jennah.local.processes import Process, Processes, free_port, wait_until_listening


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
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "jennah.local.batch_service",
        f"--port={port}",
        f"--directory={directory}",
    ]
    env = {name: value for name, value in os.environ.items() if name != "PUBSUB_EMULATOR_HOST"}
    if pubsub:
        env["PUBSUB_EMULATOR_HOST"] = pubsub
    process = processes.start(f"batch-{port}", [*command, *options], env=env)
    wait_until_listening(process, port)
    host = f"127.0.0.1:{port}"
    transport = BatchServiceGrpcTransport(channel=grpc.insecure_channel(host))
    return BatchServer(
        process, host, directory, batch_v1.BatchServiceClient(transport=transport), BatchFaults(host)
    )
