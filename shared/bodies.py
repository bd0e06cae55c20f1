"""The body of a request: read to its end, whatever is answered, but in little memory and for a bounded time.

The framework reads what is left of a body after every answer, and as a whole. So nothing may be left.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Timer

from flask import Request
from werkzeug.exceptions import HTTPException

from shared.api.operations import MAX_BODY_BYTES
from shared.errors import InvalidArgument, JennahError, PayloadTooLarge

_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """What was sent, or why that is of no use."""

    content: bytes = b""
    problem: JennahError | None = None

    def whole(self) -> bytes:
        """All of it.

        Raises:
            PayloadTooLarge: it is over the limit.
            InvalidArgument: it did not come in time, or not to its end.
        """
        if self.problem is not None:
            raise self.problem
        return self.content


def receive(request: Request, *, seconds: float) -> Body:
    """Read a body, and keep no more of it than a request may have.

    Args:
        request: whose body it is; nothing of it can be read afterwards.
        seconds: after so long no more is read, in the midst of waiting where the server (gunicorn) shows its
            connection.
    """
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return Body()
    end = time.monotonic() + seconds
    kept, size, broken = bytearray(), 0, False
    try:
        with _closed_after(request.environ.get("gunicorn.socket"), seconds):
            while time.monotonic() < end and (piece := request.stream.read(_PIECE)):
                size += len(piece)
                kept += piece[: MAX_BODY_BYTES - len(kept)]
    except (OSError, HTTPException):  # the second is werkzeug's word for a connection that ended
        broken = True
    finally:
        request.stream = io.BytesIO()
    if time.monotonic() >= end:
        return _refused("did not come in time")
    # The server gives what came of a body whose connection ended, and no error.
    if broken or size < (request.content_length or 0):
        return _refused("did not come to its end")
    if size > MAX_BODY_BYTES:
        problem = f"body: is larger than {MAX_BODY_BYTES} bytes"
        return Body(problem=PayloadTooLarge(problem, {"field": "body", "reason": "too large"}))
    return Body(bytes(kept))


def _refused(problem: str) -> Body:
    return Body(problem=InvalidArgument.of_field("body", problem))


@contextmanager
def _closed_after(connection: socket.socket | None, seconds: float) -> Iterator[None]:
    """End what can be read after a time. A timeout of the socket would begin anew with each byte."""
    if connection is None:
        yield
        return

    def close() -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RD)

    timer = Timer(seconds, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
