"""Runs the runnables of tasks as processes, and keeps the ledger of what has really run.

Every runnable leads a process group of its own and sees PATH, the job's variables, BATCH_*, JENNAH_JOB_ID and
JENNAH_ATTEMPT, and nothing else. The processes are children of a launcher (`jennah.local.batch_launcher`),
which kills them when this process ends in whatever way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from google.cloud import batch_v1

from jennah.local.batch_jobs import Job, Task

LEDGER = "ledger.jsonl"
_GRACE = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """A line of the ledger: one process that was started for a task, written when it has ended.

    `retry` counts Batch's own retries of the task from 0; `runnable` is the index in the task's list.
    `exit_code` is the process's own (128 + n after signal n), None if the launcher was lost meanwhile; `pid`
    is None if nothing could be started. Times are ISO 8601 in UTC.
    """

    job: str
    uid: str
    task: int
    retry: int
    runnable: int
    pid: int | None
    start: str
    end: str
    exit_code: int | None


def read_ledger(directory: Path) -> list[Run]:
    """What a local Batch service that works in `directory` has run so far, in order of ending."""
    return [Run(**json.loads(line)) for line in (directory / LEDGER).read_text().splitlines()]


@dataclass(frozen=True, slots=True)
class Command:
    """What is needed to start a process. The output is appended to `log`."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path


def argv_of(runnable: batch_v1.Runnable) -> tuple[str, ...]:
    """The program and its arguments; empty when only the image would know them."""
    if "script" in runnable:
        return ("sh", "-c", runnable.script.text)
    container = runnable.container
    entrypoint = (container.entrypoint,) if container.entrypoint else ()
    return (*entrypoint, *container.commands)


def environment_of(job: Job, task: Task, runnable: batch_v1.Runnable, retry: int) -> dict[str, str]:
    """All variables of a runnable. The nearer to the runnable, the stronger; what Batch sets is strongest."""
    group = job.spec.task_groups[0]
    env = {"PATH": os.environ.get("PATH", os.defpath)}
    env.update(group.task_spec.environments)
    env.update(group.task_spec.environment.variables)
    if group.task_environments:
        env.update(group.task_environments[task.index].variables)
    env.update(runnable.environment.variables)
    for variable, label in (("JENNAH_JOB_ID", "jennah-job"), ("JENNAH_ATTEMPT", "jennah-attempt")):
        if label in job.labels:
            env[variable] = job.labels[label]
    env["BATCH_TASK_INDEX"] = str(task.index)
    env["BATCH_TASK_COUNT"] = str(group.task_count)
    env["BATCH_TASK_RETRY_ATTEMPT"] = str(retry)
    env["BATCH_JOB_UID"] = job.uid
    return env


class Runner:
    """Starts processes through a launcher. An async context manager: leaving it kills whatever still runs.

    Whoever leaves it has cancelled every `run` before.

    Args:
        directory: where the ledger is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._pids: dict[int, int] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._launcher: asyncio.subprocess.Process
        self._ledger: IO[str]
        self._idle = asyncio.Event()
        self._idle.set()
        self.lost: asyncio.Task[None]
        """Done when the launcher has ended: nothing can be started or watched any more."""

    async def __aenter__(self) -> Self:
        self._ledger = (self._directory / LEDGER).open("a", buffering=1)
        self._launcher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("batch_launcher.py"))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a signal to the service's group must not end it first
            env={},
        )
        self.lost = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._launcher.stdin:
            self._launcher.stdin.close()
        await self.lost
        await self._launcher.wait()
        for number, exited in self._exits.items():
            if not exited.done():  # the launcher itself was killed
                with suppress(KeyError, ProcessLookupError, PermissionError):
                    os.killpg(self._pids[number], signal.SIGKILL)
                exited.cancel()
        await self._idle.wait()
        self._ledger.close()

    async def run(self, job: Job, task: Task, index: int, retry: int, command: Command) -> int:
        """Run one runnable to its end and return its exit code.

        When cancelled it first ends the process group: SIGTERM, and SIGKILL a second later.
        """
        number = next(self._numbers)
        exited = self._exits[number] = asyncio.get_running_loop().create_future()
        self._idle.clear()
        start = datetime.now(UTC)
        self._tell(
            start=number,
            argv=command.argv,
            env=dict(command.env),
            cwd=str(command.cwd),
            log=str(command.log),
        )
        try:
            return await asyncio.shield(exited)
        except asyncio.CancelledError:
            stopping = asyncio.create_task(self._stop(number, exited))
            while not stopping.done():  # a second cancellation must not leave the group alive
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([stopping])
            raise
        finally:
            del self._exits[number]
            run = Run(
                job=job.name,
                uid=job.uid,
                task=task.index,
                retry=retry,
                runnable=index,
                pid=self._pids.pop(number, None),
                start=start.isoformat(),
                end=datetime.now(UTC).isoformat(),
                exit_code=None if exited.cancelled() else exited.result(),
            )
            self._ledger.write(json.dumps(asdict(run)) + "\n")
            if not self._exits:
                self._idle.set()

    async def _stop(self, number: int, exited: asyncio.Future[int]) -> None:
        self._tell(**{"signal": number, "with": signal.SIGTERM})
        await asyncio.wait([exited], timeout=_GRACE)
        self._tell(**{"signal": number, "with": signal.SIGKILL})
        await asyncio.wait([exited])

    def _tell(self, **command: Any) -> None:
        if self._launcher.stdin and not self._launcher.stdin.is_closing():
            self._launcher.stdin.write(json.dumps(command).encode() + b"\n")

    async def _follow(self) -> None:
        output = self._launcher.stdout
        while output and (line := await output.readline()):
            message = json.loads(line)
            if "started" in message:
                self._pids[message["started"]] = message["pid"]
            elif "failed" in message:
                self._pids.pop(message["failed"], None)
                self._exits[message["failed"]].set_result(message["code"])
            else:
                self._exits[message["exited"]].set_result(message["code"])
