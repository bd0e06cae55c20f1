"""The local Batch service: a gRPC server of `google.cloud.batch.v1.BatchService` that really runs the tasks.

    python -m jennah.local.batch_service --port 8443 --directory .local/batch

It listens on 127.0.0.1 and prints one line, `serving 127.0.0.1:PORT`, when it does. Notifications go to the
emulator that PUBSUB_EMULATOR_HOST names. JENNAH_BATCH_RUNNER chooses what tasks run in: `process`, the
default, is all there is so far; an image is never pulled, its argv runs on this machine as this user. SIGTERM
and SIGINT end it and every task; a SIGKILL ends the tasks too (`batch_launcher`). In `--directory`:

    ledger.jsonl                    what has really run (`batch_runner.read_ledger`)
    JOB_UID/task-0-INDEX.log        standard output and error of a task, both
    JOB_UID/task-0-INDEX.jsonl      the same line by line, with times and streams (`batch_launcher.TaskLog`)

The same port serves those logs as Cloud Logging does (`batch_logs`), and the fault controls
(`batch_faults`). Jobs live in memory only. One event loop does everything: no call has to wait for another,
so threads would bring only locks, and a state change is a plain assignment.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from jennah.local.batch_api import BatchApi
from jennah.local.batch_execution import Execution
from jennah.local.batch_jobs import Job
from jennah.local.batch_logs import TaskLogs
from jennah.local.batch_notifications import Notifier, publish_nowhere, publisher_to
from jennah.local.batch_rules import Rules
from jennah.local.batch_runner import LEDGER, Runner
from jennah.local.batch_wire import Door, batch_handlers, fault_handlers
from jennah.local.processes import LocalCloudError

_RUNNER = "JENNAH_BATCH_RUNNER"


@dataclass(frozen=True, slots=True)
class Options:
    """What a service is started with.

    Attributes:
        port: 0 takes a free one.
        directory: for logs, working folders and the ledger; made when it is missing.
        parallel: how many tasks run at once; further jobs stay QUEUED.
        project_number: what notifications call the project; None for its id.
        pubsub: address of the Pub/Sub emulator; None drops notifications.
    """

    port: int
    directory: Path
    parallel: int
    project_number: str | None
    pubsub: str | None


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read the command line and the environment.

    Raises:
        LocalCloudError: a setting is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m jennah.local.batch_service")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: a free one)")
    parser.add_argument("--directory", type=Path, required=True, help="for logs and the ledger")
    parser.add_argument("--parallel", type=int, default=32, help="tasks at once (default: 32)")
    parser.add_argument("--project-number", help="what notifications call the project instead of its id")
    chosen = parser.parse_args(arguments)
    runner = environ.get(_RUNNER) or "process"
    if runner != "process":
        raise LocalCloudError(f"{_RUNNER} is {runner!r}, but there is only `process`: unset it.")
    if chosen.parallel < 1:
        raise LocalCloudError("--parallel must be at least 1.")
    pubsub = environ.get("PUBSUB_EMULATOR_HOST") or None
    return Options(chosen.port, chosen.directory.resolve(), chosen.parallel, chosen.project_number, pubsub)


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        LocalCloudError: the port or the directory can't be used, or the launcher of tasks has died.
    """
    _prepare(options.directory)
    _refuse_taken(options.port)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    rules = Rules()
    publish = publisher_to(options.pubsub) if options.pubsub else publish_nowhere
    notifier = Notifier(publish, rules, options.project_number)
    places = asyncio.Semaphore(options.parallel)
    async with Runner(options.directory) as runner:

        def execute(job: Job) -> Execution:
            return Execution(
                job, options.directory / job.uid, runner=runner, places=places, rules=rules, notifier=notifier
            )

        api, logs = BatchApi(execute), TaskLogs(options.directory)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((*batch_handlers(Door(rules), api, logs), fault_handlers(rules, api)))
        port = server.add_insecure_port(f"127.0.0.1:{options.port}")
        await server.start()
        sys.stdout.write(f"serving 127.0.0.1:{port}\n")
        sys.stdout.flush()
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait([stopped, runner.lost], return_when=asyncio.FIRST_COMPLETED)
        await server.stop(grace=None)
        api.vanish("*")
    if not stopped.done():
        raise LocalCloudError("The process that starts the tasks has died: start the service again.")


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / LEDGER).touch()
    except OSError as error:
        raise LocalCloudError(
            f"{directory} can't be written ({error.strerror}): give another --directory."
        ) from None


def _refuse_taken(port: int) -> None:
    # gRPC would refuse as well, but not without a page of its own diagnostics.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise LocalCloudError(f"Port {port} can't be used ({reason}): give another --port.") from None


def main() -> None:
    """Run the service; a wrong setting is one sentence on standard error and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(parse(sys.argv[1:], os.environ)))
    except LocalCloudError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
