"""Child processes that never outlive the process that started them.

Every child leads its own session, so that its whole process group can be ended at once (`gateway_main` and
gunicorn have children of their own) and so that a Ctrl-C in the terminal reaches only their owner, which then
stops them. A guardian process (`jennah.local.guardian`) ends the groups when the owner itself is killed.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

# Registers the child with the guardian before it becomes the program: at no moment could the owner die and
# leave a child that the guardian does not know. The pipe comes as standard input and is then given up.
_REGISTER_THEN_EXEC = 'echo "+$$" >&0 && exec "$@" </dev/null'

# Below the ephemeral ranges of Linux (32768…) and macOS (49152…): no outgoing connection can take such a port
# between our look and the child's bind.
_PORTS = range(20_000, 32_768)
# Two processes that look at the same moment must not find the same port (two Spanner emulators would even
# share it, by SO_REUSEPORT): each looks from a place of its own, and never twice at one port.
_candidates = itertools.count(os.getpid() * 61)

# In their logs; the Pub/Sub emulator says it and then stays, deaf.
_TAKEN = ("address already in use", "connection in use")


class LocalCloudError(Exception):
    """The local cloud can't go on. The message is one sentence with the remedy, for whoever started it."""


class PortTaken(LocalCloudError):
    """Another process took the port between our look and the child's bind: other ports will do."""


class Process:
    """A child that leads its own process group; its output goes to `log`."""

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], log: Path, ended: Callable[[int], None]
    ) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self._ended = ended
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id, and process group id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the group's leader still runs."""
        return self._popen.poll() is None

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def exit_code(self) -> int | None:
        """The leader's exit code, negative after a signal; None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; one that has ended is no error."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the group and wait for its leader."""
        self.signal(signal.SIGKILL)
        self._popen.wait()
        self._ended(self.pid)

    def stop(self, grace: float = 3.0) -> None:
        """End the group: SIGTERM, then SIGKILL to what is left after `grace` seconds."""
        stop_all([self], grace)

    def wait(self, timeout: float) -> bool:
        """Wait for the leader's end, at most `timeout` seconds; return whether it has ended."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def last_words(self) -> str:
        """The last line of its log that says something, for an error message."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def stop_all(processes: Iterable[Process], grace: float = 3.0) -> None:
    """End several groups side by side, together within little more than `grace` seconds."""
    processes = list(processes)
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        process.wait(max(0.0, deadline - time.monotonic()))
        process.kill()  # also what a leader leaves behind, as gateway_main does


class Processes:
    """The children of this process. A context manager: leaving it ends them all.

    Args:
        logs: folder for one `NAME.log` per child, made when it is missing.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[int, Process] = {}
        logs.mkdir(parents=True, exist_ok=True)
        reader, self._pipe = os.pipe()
        guardian = Path(__file__).with_name("guardian.py")
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guardian)],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(reader)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        output: Path | None = None,
    ) -> Process:
        """Start a child. Its log file is begun anew; `env` replaces the whole environment.

        `folder` is where it works; None: where this process does. Its standard output is appended to
        `output`, if that is given, and does not come into its log.
        """
        path = self._logs / f"{name}.log"
        with path.open("wb") as log, output.open("ab") if output else nullcontext(log) as said:
            popen = subprocess.Popen(
                ["/bin/sh", "-c", _REGISTER_THEN_EXEC, name, *command],
                stdin=self._pipe,
                stdout=said,
                stderr=log,
                env=None if env is None else dict(env),
                cwd=folder,
                start_new_session=True,
            )
        process = Process(name, popen, path, self._forget)
        self._children[process.pid] = process
        return process

    def stop(self) -> None:
        """End every child."""
        stop_all(list(self._children.values()))

    def close(self) -> None:
        """End every child, then the guardian. Calling it again does nothing."""
        if self._guardian.returncode is not None:
            return
        self.stop()
        os.close(self._pipe)
        self._guardian.wait()

    def _forget(self, pid: int) -> None:
        if self._children.pop(pid, None):
            # The id may be given to a stranger from now on: the guardian must not end that one.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, b"-%d\n" % pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on. Another process may still take it first."""
    while True:
        port = _PORTS[next(_candidates) % len(_PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def refuse_taken(port: int) -> None:
    """Refuse a TCP port that nobody can listen on.

    Raises:
        LocalCloudError: somebody else does on 127.0.0.1, or this user may not, or there is no such port.
    """
    with socket.socket() as probe:
        # As the server itself will do: what is left of an earlier run's connections is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise LocalCloudError(
                f"Port {port} can't be used ({reason}): set JENNAH_PORT to a free one, for example 8081."
            ) from None


def wait_until_listening(process: Process, port: int, *, timeout: float = 30.0) -> None:
    """Wait until something accepts connections on 127.0.0.1:`port`.

    Raises:
        PortTaken: the process says so in its log.
        LocalCloudError: it ended for another reason, or `timeout` seconds passed.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        alive = process.alive
        if any(words in process.log.read_text(errors="replace").lower() for words in _TAKEN):
            raise PortTaken(f"{process.name} found its port {port} taken: start it again.")
        if not alive:
            raise LocalCloudError(f"{process.name} ended at once: {process.last_words} (see {process.log}).")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise LocalCloudError(f"{process.name} did not answer within {timeout:.0f} s: see {process.log}.")


def wait_until_healthy(process: Process, port: int, path: str, *, timeout: float = 60.0) -> None:
    """Wait until a GET of 127.0.0.1:`port` is answered by 200.

    Raises:
        LocalCloudError: the process ended, or `timeout` seconds passed.
    """
    deadline = time.monotonic() + timeout
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
            if status == http.HTTPStatus.OK:
                return
            problem = f"{path} is answered by {status}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error)
        finally:
            connection.close()
        if not process.alive or time.monotonic() > deadline:
            raise LocalCloudError(f"{process.name} is not usable ({problem}): see {process.log}.")
        time.sleep(0.02)
