"""The process that starts the tasks of the local Batch service, and ends them when the service is gone.

Run as a script by `jennah.local.batch_runner`. It is small and has one thread, so that forking is fast and
safe; the service, full of gRPC's threads, never forks. One JSON object per line:

    in    {"start": number, "argv": [...], "env": {...}, "cwd": path, "log": path}
          {"signal": number, "with": signal number}      to the whole process group
    out   {"started": number, "pid": pid}                said by the task's process itself
          {"exited": number, "code": exit code}          128 + n: signal n
          {"failed": number, "code": exit code}          no program was run; 127: not found; 126: not runnable

What a task writes to standard output and standard error comes here through two pipes: as it is into its log,
and line by line, each with its time and its stream, into a file of JSON lines beside it (`TaskLog`). Between
the two streams the order is that in which this process reads them, as it is with Batch's agent.

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
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_READ = 1 << 16
_LAST_READS = 16  # of an ended task's pipe: what has left its group may write for ever
_LONGEST_LINE = 1 << 17  # bytes; Cloud Logging takes entries of 256 KiB


def _parts(line: bytes) -> list[bytes]:
    """The line, or its parts where it is longer than an entry."""
    return [line[start : start + _LONGEST_LINE] for start in range(0, max(len(line), 1), _LONGEST_LINE)]


class TaskLog:
    """The log of a task, as one of its streams writes it: appended to, and closed by whoever opened it.

    `log` gets the bytes; the file of the same name that ends in `.jsonl` one
    `{"at": RFC 3339, "stream": name, "text": line}` for each line that is complete, or longer than an entry.
    """

    def __init__(self, log: Path, stream: str) -> None:
        self._stream = stream
        self._bytes: IO[bytes] = log.open("ab", buffering=0)
        self._lines: IO[bytes] = log.with_suffix(".jsonl").open("ab", buffering=0)
        self._unfinished = b""

    def write(self, received: bytes) -> None:
        """Take what was written."""
        self._bytes.write(received)
        *lines, self._unfinished = (self._unfinished + received).split(b"\n")
        *parts, self._unfinished = _parts(self._unfinished)
        self._enter([part for line in lines for part in _parts(line)] + parts)

    def close(self) -> None:
        """Take what was written last as a line, if it is none."""
        if self._unfinished:
            self._enter([self._unfinished])
        self._bytes.close()
        self._lines.close()

    def _enter(self, lines: list[bytes]) -> None:
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        entries = [
            {"at": at, "stream": self._stream, "text": line.decode(errors="replace")} for line in lines
        ]
        self._lines.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))


class _Pipe:
    """A task's stream: `writer` is its end, which is closed here once the task has it."""

    def __init__(self, log: Path, stream: str) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._log = TaskLog(log, stream)
        self.closed = False

    def read(self) -> bool | None:
        """Take what there is to read. None: nothing is there now; False: nothing more will come."""
        try:
            received = os.read(self.reader, _READ)
        except BlockingIOError:
            return None
        with contextlib.suppress(OSError):  # a full disk costs lines, not every task
            self._log.write(received)
        return bool(received)

    def close(self) -> None:
        os.close(self.reader)
        self._log.close()
        self.closed = True


class Launcher:
    """The tasks that run, and what is done with them.

    Args:
        selector: where the tasks' pipes are watched; each brings itself as the data of its key.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._pipes: dict[int, list[_Pipe]] = {}  # by the number of their task
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
        pipes = self._pipes[number] = [_Pipe(Path(log), stream) for stream in ("stdout", "stderr")]
        output, errors = pipes
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output.writer,
                stderr=errors.writer,
                cwd=cwd,
                env=env,
                start_new_session=True,
                preexec_fn=lambda: self._enter_task(number),  # noqa: PLW1509 (one thread)
            )
        except (OSError, ValueError) as error:
            not_found = isinstance(error, FileNotFoundError)
            reason = "command not found" if not_found else str(error)
            os.write(errors.writer, f"{argv[0][:1000]}: {reason[:1000]}\n".encode())
            self._close_pipes(number)
            _say({"failed": number, "code": 127 if not_found else 126})
            return
        finally:
            for pipe in pipes:
                os.close(pipe.writer)
        for pipe in pipes:
            self._selector.register(pipe.reader, selectors.EVENT_READ, pipe)
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
        self._close_pipes(number)  # first: when a task's end is known, its log is complete
        code = os.waitstatus_to_exitcode(status)
        _say({"exited": number, "code": code if code >= 0 else 128 - code})

    def _close_pipes(self, number: int) -> None:
        for pipe in self._pipes.pop(number):
            for _ in range(_LAST_READS):
                if not pipe.read():
                    break
            with contextlib.suppress(KeyError):  # nobody else writes to it any more: it is not watched
                self._selector.unregister(pipe.reader)
            pipe.close()


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
    selector = selectors.DefaultSelector()
    launcher = Launcher(selector)
    selector.register(0, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    unread = b""
    while True:
        for key, _ in selector.select():
            if isinstance(key.data, _Pipe):
                # Its task may have ended since the selector looked.
                if not key.data.closed and key.data.read() is False:
                    selector.unregister(key.fd)
                continue
            received = os.read(key.fd, _READ)
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
