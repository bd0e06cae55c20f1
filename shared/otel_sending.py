"""How what was measured leaves the process: in a thread of its own, and with few words where it does not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from shared.semantics import LogEvent
from shared.telemetry import emit

_SECONDS_BETWEEN_COMPLAINTS = 60.0


class Sender:
    """A thread that sends when it is told to: whoever tells it need not wait until it has.

    It begins with the first time; at the end of a process, when it is needed once more, none could begin.
    """

    def __init__(self, send: Callable[[bool], None]) -> None:
        self._send = send
        self._wanted, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._metrics = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether it is at it."""
        return not self._idle.is_set()

    def start(self, *, metrics: bool) -> None:
        """Send spans, and metrics or not."""
        with self._starting, suppress(RuntimeError):  # no more threads: what is measured is worth no failure
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
                thread.start()
                self._thread = thread
            self._metrics = metrics
            self._idle.clear()
            self._wanted.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it has sent; False where that takes longer."""
        return self._idle.wait(seconds)

    def _run(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            try:
                self._send(self._metrics)
            except Exception:  # noqa: BLE001 - it is logged
                emit(LogEvent.TELEMETRY_NOT_EXPORTED, "not sent", error=True)
            if not self._wanted.is_set():
                self._idle.set()


class _Complaints(logging.Handler):
    """Says of what OpenTelemetry complains, seldom, in a line of ours."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_COMPLAINTS
            emit(LogEvent.TELEMETRY_NOT_EXPORTED, "%s", record.getMessage())


def listen() -> None:
    """Take the complaints of OpenTelemetry's own log."""
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _Complaints) for handler in logger.handlers):
        logger.addHandler(_Complaints())
        logger.propagate = False
