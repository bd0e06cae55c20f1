"""What the code under test logs as an error, and nobody expected."""

from __future__ import annotations

import logging

from google.api_core.exceptions import GoogleAPIError

from shared.errors import JennahError
from tests.simulation.world import Violation


class Unexpected(logging.Handler):
    """Keeps the first exception that was logged and is none that a call of Google Cloud may raise."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._first: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler.emit`."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and self._first is None and not isinstance(error, JennahError | GoogleAPIError):
            self._first = error

    def clear(self) -> None:
        """Forget it."""
        self._first = None

    def check(self) -> None:
        """Raise a Violation if there was one."""
        if self._first is not None:
            raise Violation(f"logged: {type(self._first).__name__}: {self._first}") from self._first


def attach() -> Unexpected:
    """Listen to the log of the code under test, and keep it from being shown."""
    logger = logging.getLogger("shared")
    handler = Unexpected()
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    return handler
