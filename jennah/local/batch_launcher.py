"""The process that starts the tasks of the local Batch service, and ends them when the service is gone.

Run as a script by `jennah.local.batch_runner`. It is small and has one thread, so that forking is fast and
safe; the service, full of gRPC's threads, never forks. One JSON object per line:

    in    {"start": number, "argv": [...], "env": {...}, "cwd": path, "log": path}
          {"signal": number, "with": signal number}      to the whole process group
    out   {"started": number, "pid": pid}                said by the task's process itself
          {"exited": number, "code": exit code}          128 + n: signal n
          {"failed": number, "code": exit code}          no program was run; 127: not found; 126: not runnable

A task's process says its id before it becomes the task's program, so that whoever reads knows every group
that can have members, even if this process is killed at once.

When a task's first process ends, what is left of its group is killed, as a container ends with its first
process. End of input means that the service is gone, however it died: everything is killed. On Linux the
tasks die with this process too, and descendants that left their group are found, being adopted here.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Launcher:
    """The tasks that run, and what is done with them."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # process id of a task's first process → its number
        self._pids: dict[int, int] = {}
        self._pid = os.getpid()
        self._output = os.dup(1)  # in a task's process, 1 is the task's log
        self._prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
        if self._prctl:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def obey(self, command: dict[str, Any]) -> None:
        """Carry out one line of input."""
        if "start" in command:
            self._start(command["start"], command["argv"], command["env"], command["cwd"], command["log"])
        elif (pid := self._pids.get(command["signal"])) is not None:
            _signal_group(pid, command["with"])

    def reap(self) -> None:
        """Report the tasks that have ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._report_end(*ended)

    def end_everything(self) -> None:
        """Kill every task and every descendant, and wait until they are gone."""
        for pid in self._numbers:
            _signal_group(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for child in _children():
                    os.kill(child, signal.SIGKILL)
                self._report_end(*os.waitpid(-1, 0))

    def _start(self, number: int, argv: list[str], env: dict[str, str], cwd: str, log: str) -> None:
        with Path(log).open("ab", buffering=0) as output:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=cwd,
                    env=env,
                    start_new_session=True,
                    preexec_fn=lambda: self._enter_task(number),  # noqa: PLW1509 (one thread)
                )
            except (OSError, ValueError) as error:
                not_found = isinstance(error, FileNotFoundError)
                reason = "command not found" if not_found else str(error)
                output.write(f"{argv[0]}: {reason}\n".encode())
                _say({"failed": number, "code": 127 if not_found else 126})
                return
        process.returncode = 0  # `reap` waits for it; Popen must neither do so nor warn
        self._numbers[process.pid] = number
        self._pids[number] = process.pid

    def _enter_task(self, number: int) -> None:
        """In a task's process, which leads its group by now: tie it to this one, and report it."""
        if self._prctl:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._pid:  # this one died before it could be tied to
            os._exit(1)
        _say({"started": number, "pid": os.getpid()}, self._output)

    def _report_end(self, pid: int, status: int) -> None:
        number = self._numbers.pop(pid, None)
        if number is None:
            return  # adopted
        _signal_group(pid, signal.SIGKILL)
        del self._pids[number]
        code = os.waitstatus_to_exitcode(status)
        _say({"exited": number, "code": code if code >= 0 else 128 - code})


def _signal_group(pid: int, number: int) -> None:
    # macOS answers EPERM for a group that holds only zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _children() -> list[int]:
    with contextlib.suppress(OSError):  # Linux only
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def _say(message: dict[str, int], output: int = 1) -> None:
    with contextlib.suppress(BrokenPipeError):  # the service is gone: end of input follows
        os.write(output, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Start and watch tasks until end of input."""
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    # A handler, unlike SIG_IGN, is not inherited by the tasks.
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    launcher = Launcher()
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    unread = b""
    while True:
        for key, _ in selector.select():
            received = os.read(key.fd, 1 << 16)
            if key.fd == woken:
                launcher.reap()
            elif received:
                *lines, unread = (unread + received).split(b"\n")
                for line in lines:
                    launcher.obey(json.loads(line))
            else:
                launcher.end_everything()
                return


if __name__ == "__main__":
    main()
