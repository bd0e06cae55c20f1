"""The local cloud: the whole platform on one machine, and its supervisor.

Both official emulators, the local Batch service, the test issuer, the four functions, each as its own
functions-framework process, and the tick. Its files are in `.local/` of one folder; its processes end with
the supervisor, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from rich.console import Console

from jennah.local.processes import (
    LocalCloudError,
    PortTaken,
    Process,
    Processes,
    refuse_taken,
    wait_until_healthy,
    wait_until_listening,
)
from jennah.local.pubsub import LocalPubsub
from jennah.local.services import (
    FROM_CHECKOUT,
    FUNCTIONS,
    PUSHED_TO,
    SERVICES,
    Installation,
    Services,
    require_checkout,
)

DEFAULT_PORT: Final = 8080

_ATTEMPTS: Final = 3  # at free ports that another process may take first
_START_SECONDS: Final = 60.0
_WATCH_SECONDS: Final = 0.1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # before a function that died is started again
_SETTLED_SECONDS: Final = 3.0  # what lived as long had started well: its end is no loop


class LocalCloud:
    """A local cloud. A context manager: entering returns when everything answers, leaving ends everything.

    A function that dies is started again; one that was ended by `stop` or `kill` stays down until `start`.
    Anything else that dies takes the cloud with it: the emulators keep their state in memory.

    Args:
        root: the folder whose `.local/` is used, by one cloud at a time.
        port: where the API is served, on 127.0.0.1.
        settings: environment of the functions and of the Batch service, over what the cloud sets itself.
        report: told in short lines what happens.
        installation: where the functions run from; an unpacked archive, for example.
        outputs: a folder in which what each function says on standard output is kept, over all its restarts,
            as `NAME.jsonl`; without it, that is part of the function's log.

    Attributes:
        env: what `.local/env` holds: where everything is, and the functions' settings.
        failure: why the cloud can't go on, in one sentence; None while it can.
    """

    def __init__(
        self,
        root: Path,
        port: int,
        *,
        settings: Mapping[str, str] | None = None,
        report: Callable[[str], None] = lambda _: None,
        installation: Installation = FROM_CHECKOUT,
        outputs: Path | None = None,
    ) -> None:
        self.env: dict[str, str] = {}
        self.failure: str | None = None
        self._folder = root.resolve() / ".local"
        self._port = port
        self._settings = settings or {}
        self._report = report
        self._installation = installation
        self._outputs = outputs
        self._resources = ExitStack()
        self._processes: Processes
        self._services: Services
        self._pubsub: LocalPubsub
        self._running: dict[str, Process] = {}
        self._down: dict[str, float] = {}  # when to start again
        self._pauses: dict[str, float] = {}
        self._changing = threading.RLock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            LocalCloudError: the port or the folder is in use, or something is missing or does not start.
        """
        with self._resources:
            require_checkout()
            self._resources.enter_context(_locked(self._folder))
            refuse_taken(self._port)
            env_file = self._folder / "env"
            self._resources.callback(env_file.unlink, missing_ok=True)
            env_file.unlink(missing_ok=True)
            shutil.rmtree(self._folder / "batch", ignore_errors=True)
            self._processes = self._resources.enter_context(Processes(self._folder / "logs"))
            self._start_everything()
            _write_env(env_file, self.env)
            self._watcher.start()
            self._resources = self._resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changing:
            self._closing.set()
        self._resources.close()
        self._watcher.join()

    def wait(self) -> str:
        """Wait until the cloud can't go on, and return why."""
        self._watcher.join()
        return self.failure or "The local cloud was closed."

    @property
    def pids(self) -> dict[str, int]:
        """The process id (and process group id) of each service that runs."""
        with self._changing:
            return {name: process.pid for name, process in self._running.items()}

    def address_of(self, service: str) -> str:
        """Where a service really listens ("127.0.0.1:port"), wherever `settings` lead the others."""
        return f"127.0.0.1:{self._services.port_of(service)}"

    def crash(self, function: str) -> bool:
        """SIGKILL a function, its workers included, as if it had died: it is started again.

        Returns:
            Whether it ran.
        """
        with self._changing:  # so that nobody reaps it meanwhile, and its id stays its own
            process = self._running.get(function)
            if process:
                process.signal(signal.SIGKILL)
        return process is not None

    def start(self, function: str) -> None:
        """Start a function that was ended, and wait until it answers."""
        with self._changing:
            self._down.pop(function, None)
            process = self._start(function)
        wait_until_listening(process, self._services.port_of(function))

    def stop(self, function: str) -> None:
        """End a function with SIGTERM; it stays down."""
        if process := self._take_down(function):
            process.stop()

    def kill(self, function: str) -> None:
        """End a function, its workers included, with SIGKILL; it stays down."""
        if process := self._take_down(function):
            process.kill()

    def _take_down(self, function: str) -> Process | None:
        with self._changing:
            self._down.pop(function, None)
            return self._running.pop(function, None)

    def _start_everything(self) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self._services = Services(self._folder, self._port, self._settings, self._installation)
            try:
                self._start_on_these_ports()
            except PortTaken:
                if attempt == _ATTEMPTS:
                    raise
                self._processes.stop()
            else:
                return

    def _start_on_these_ports(self) -> None:
        services = self._services
        self.env = services.exported
        self._running.clear()
        for name in SERVICES:
            services.command_of(name)  # what is not installed is named before anything starts
        for name in SERVICES:
            self._start(name)
        migration = self._processes.start(
            "migration", [sys.executable, "-m", "jennah.local.database"], env=services.environment
        )
        self._report(f"started {', '.join(SERVICES)}")
        self._await(("pubsub",))
        self._pubsub = LocalPubsub(self.address_of("pubsub"), self.env["GOOGLE_CLOUD_PROJECT"])
        for topic, function in PUSHED_TO.items():
            self._pubsub.create_pushed_topic(topic, f"http://127.0.0.1:{services.port_of(function)}/")
        self._report(f"made the topics {', '.join(PUSHED_TO)}")
        self._await(("spanner",))
        if not migration.wait(_START_SECONDS) or migration.exit_code:
            raise LocalCloudError(f"The database was not made: {migration.last_words} (see {migration.log}).")
        self._report("migrated the database")
        self._await(SERVICES)
        wait_until_listening(self._running["spanner"], services.spanner_rest_port)
        wait_until_healthy(self._running["submission"], self._port, "/health")

    def _start(self, name: str) -> Process:
        command, env = self._services.command_of(name), self._services.environment_of(name)
        folder = self._installation.folder if name in FUNCTIONS else None
        kept = self._outputs / f"{name}.jsonl" if self._outputs and name in FUNCTIONS else None
        process = self._running[name] = self._processes.start(
            name, command, env=env, folder=folder, output=kept
        )
        return process

    def _await(self, names: tuple[str, ...]) -> None:
        for name in names:
            wait_until_listening(self._running[name], self._services.port_of(name), timeout=_START_SECONDS)

    def _watch(self) -> None:
        next_tick, interval = time.monotonic(), float(self.env["JENNAH_TICK_SECONDS"])
        while not self._closing.wait(_WATCH_SECONDS) and self.failure is None:
            with self._changing:
                self._mend()
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + interval
                with suppress(OSError):  # a tick that is lost is followed by another
                    self._pubsub.publish("ticks", {"v": "1"})

    def _mend(self) -> None:
        """Start again what has died, after its pause, or give up."""
        if self._closing.is_set():
            return
        for name, process in list(self._running.items()):
            if process.alive:
                continue
            process.kill()  # what its leader has left behind
            del self._running[name]
            if name not in FUNCTIONS:
                self.failure = (
                    f"The local cloud ended because {name} did: {process.last_words} ({process.log})."
                )
                return
            settled = process.age > _SETTLED_SECONDS
            pause = _FIRST_PAUSE if settled else self._pauses.get(name, _FIRST_PAUSE)
            self._pauses[name] = min(2 * pause, _LONGEST_PAUSE)
            self._down[name] = time.monotonic() + pause
            self._report(f"{name} has ended: starting it again")
        for name in [name for name, due in self._down.items() if time.monotonic() >= due]:
            del self._down[name]
            self._start(name)


def up(port: int = DEFAULT_PORT, root: Path | None = None) -> int:
    """Run a local cloud in the foreground until SIGINT, SIGTERM or SIGHUP, and return the exit code.

    When everything answers and `.local/env` is written, standard output gets its only line, which begins with
    `ready`. All else goes to standard error.
    """
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in stopping:  # once is enough: what follows must not be interrupted
            signal.signal(number, signal.SIG_IGN)
        os.write(2, b"  ending everything\n")  # print could be interrupted within itself
        raise KeyboardInterrupt

    for number in stopping:
        signal.signal(number, stop)
    progress = Console(stderr=True, highlight=False, soft_wrap=True)

    def report(line: str) -> None:
        progress.print(f"  {line}", style="dim", markup=False)

    try:
        with LocalCloud(root or Path.cwd(), port, report=report) as cloud:
            url = cloud.env["JENNAH_URL"]
            sys.stdout.write(f"ready: {url} (addresses in .local/env, logs in .local/logs; Ctrl-C ends it)\n")
            sys.stdout.flush()
            failure = cloud.wait()
    except LocalCloudError as error:
        failure = str(error)
    except OSError as error:
        failure = f"The local cloud can't run here ({error}): run it in a folder that you may write to."
    except KeyboardInterrupt:
        return 0
    progress.print(failure, markup=False)
    return 1


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder. The kernel gives the lock back however this process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise LocalCloudError(
            f"{folder} can't be used as a folder ({error.strerror}): remove it, "
            "or run this in a folder that you may write to."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalCloudError(
                f"A local cloud already runs in {folder.parent}: end it, or run this one in another clone."
            ) from None
        yield


def _write_env(path: Path, env: Mapping[str, str]) -> None:
    """Write `KEY=value` lines that a shell can read too; a reader sees all of them or no file."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in env.items()))
    unfinished.chmod(0o644)  # whatever the umask: a file that others may write to is not believed
    unfinished.replace(path)
