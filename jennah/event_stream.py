"""Server-sent events that go on where they broke, until the server says that nothing follows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jennah.connection import (
    RETRIED_STATUSES,
    ApiError,
    ClientError,
    Connection,
    ConnectionFailed,
    Json,
    Pauses,
)

# A stream that lasted so many seconds did what streams do: they end in time.
_LASTED = 1.0
_LAST = "end"


class Event(NamedTuple):
    """One event, its data read."""

    kind: str
    data: Json


def events(connection: Connection, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Event]:
    """Receive events up to the one that is called `end`, each once and in order.

    Args:
        connection: to the server.
        path: below its root.
        params: the query.

    Raises:
        ApiError: the server refused, or its events are not Jennah's.
        ConnectionFailed: nothing came within the time for retries.
    """
    stream = _Stream(connection, path, params)
    pauses = Pauses(connection.patience)
    while True:
        began = time.monotonic()
        failure: ClientError = ConnectionFailed(connection.url, "its streams end at once")
        refused = False
        try:
            for event in stream.receive():
                yield event
                if event.kind == _LAST:
                    return
        except ClientError as error:
            if isinstance(error, ApiError) and error.status not in RETRIED_STATUSES:
                raise
            failure, refused = error, True
        wait = failure.retry_after if isinstance(failure, ApiError) else stream.pause
        if stream.heard or (not refused and time.monotonic() - began > _LASTED):
            pauses.begin()
        elif not pauses.allow(wait):
            raise failure
        pauses.sleep(wait)


class _Stream:
    """One stream, opened again and again.

    Attributes:
        heard: whether the last one brought an event.
        pause: in how many seconds the server wants to see us again.
    """

    def __init__(self, connection: Connection, path: str, params: Mapping[str, Any] | None) -> None:
        self._connection = connection
        self._path = path
        self._params = params
        self._last_id = ""
        self.heard = False
        self.pause = 0.0

    def receive(self) -> Iterator[Event]:
        """The events after the last that came, until the stream ends."""
        self.heard, self.pause = False, 0.0
        for event in self._connection.listen(self._path, self._params, self._last_id):
            if event.retry is not None:
                self.pause = event.retry / 1000
            if event.data:  # else it only keeps the connection alive
                self.heard = True
                self._last_id = event.id or self._last_id
                yield _read(self._connection, event.event, event.data)


def _read(connection: Connection, kind: str, text: str) -> Event:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ApiError(200, "UNKNOWN", f"{connection.url} sent an event that is none of Jennah's")
    return Event(kind, data)
