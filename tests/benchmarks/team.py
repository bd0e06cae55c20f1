"""Processes that work at the same moment, and how long they take.

A member is a module that calls `serve` (`python -m MODULE SOCKET`): it is told its task, prepares it, says
that it is ready, and works when everybody is. Members are told in pickles over a socket in a folder that is
ours alone.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client, Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from jennah.local.processes import LocalCloudError, Process, Processes

_START_SECONDS: Final = 120.0
_WORK_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.2

Task = Mapping[str, Any]


class Team:
    """Some members. A context manager: leaving it ends them.

    Args:
        processes: whose children the members are.
        folder: for the sockets.
        env: of the members, over this process's own.
    """

    def __init__(self, processes: Processes, folder: Path, env: Mapping[str, str]) -> None:
        self._processes = processes
        self._folder = folder
        self._env = {**os.environ, **env}
        self._members: list[tuple[Process, Connection]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, connection in self._members:
            connection.close()
            process.kill()

    def add(self, name: str, module: str, task: Task) -> None:
        """Start a member, which begins to prepare its task."""
        address = self._folder / f"{name}.socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
            listener.listen()
            process = self._processes.start(name, [sys.executable, "-m", module, str(address)], env=self._env)
            connection = _accept(listener, process)
        self._members.append((process, connection))
        connection.send(dict(task))

    def wait_until_ready(self) -> None:
        """Wait until every member has prepared its task.

        Raises:
            LocalCloudError: one has died, or takes too long.
        """
        for process, connection in self._members:
            _hear(process, connection, _START_SECONDS)

    def go(self) -> None:
        """Let every member work."""
        for _, connection in self._members:
            connection.send("go")

    def wait(self) -> dict[str, float]:
        """Wait until every member is done; return how many seconds each has worked.

        Raises:
            LocalCloudError: one has died, or takes too long.
        """
        return {
            process.name: _hear(process, connection, _WORK_SECONDS) for process, connection in self._members
        }


def serve(prepare: Callable[[Task], Callable[[], None]]) -> None:
    """Be a member: `prepare` gets the task and returns what is the work."""
    with Client(sys.argv[1]) as connection:
        work = prepare(connection.recv())
        connection.send(None)
        connection.recv()
        began = time.perf_counter()
        work()
        connection.send(time.perf_counter() - began)


def _accept(listener: socket.socket, process: Process) -> Connection:
    listener.settimeout(_LOOK_SECONDS)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.alive:
        try:
            accepted, _ = listener.accept()
        except TimeoutError:
            continue
        accepted.setblocking(True)
        return Connection(accepted.detach())
    raise LocalCloudError(f"{process.name} did not start: {process.last_words} (see {process.log}).")


def _hear(process: Process, connection: Connection, seconds: float) -> Any:
    try:
        if connection.poll(seconds):
            return connection.recv()
        problem = f"took more than {seconds:.0f} s"
    except EOFError:
        process.wait(1)
        problem = f"ended: {process.last_words}"
    raise LocalCloudError(f"{process.name} {problem} (see {process.log}).")
