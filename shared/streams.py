"""Server-sent events: streams that end in time, of which only so many are open, and that hold no thread.

A stream is what a feed has to tell, asked again and again with pauses that grow while it has nothing.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.api_core.exceptions import GoogleAPIError

from shared.errors import JennahError
from shared.places import Places
from shared.semantics import LogEvent
from shared.telemetry import emit

# Seconds. No feed is asked more often: each question costs a read of the database.
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 3.0
_GROWTH = 1.3
_KEEP_ALIVE_SECONDS = 10.0

# Bytes. A socket that takes anything takes as many: no write waits for whoever does not read.
_CHUNK = 4096

# A client whose stream ended comes again after so many milliseconds.
_BEGINNING = b"retry: 1000\n\n"
_STILL_HERE = b": still here\n\n"


class Event(NamedTuple):
    """One event; its id is where a client resumes."""

    kind: str
    data: Mapping[str, Any]
    id: str | None = None

    def encoded(self) -> bytes:
        """As it is sent: JSON has no line break, so the data is one line."""
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.kind}\ndata: {json.dumps(self.data)}\n\n".encode()


@dataclass(frozen=True, slots=True)
class News:
    """What a feed tells.

    Attributes:
        events: since it was asked before.
        ended: nothing will follow.
        more: more is there already: ask again without a pause.
    """

    events: Sequence[Event] = ()
    ended: bool = False
    more: bool = False


Feed = Callable[[], News]


class Client:
    """Who reads a stream, as far as the server shows the connection."""

    def __init__(self, connection: socket.socket | None) -> None:
        self._connection = connection

    def leaves_within(self, seconds: float) -> bool:
        """Wait so long; True as soon as the client has closed the connection."""
        until = time.monotonic() + seconds
        if self._ready(selectors.EVENT_READ, seconds):
            try:
                if not self._peek():
                    return True
            except OSError:
                return True
            time.sleep(max(0.0, until - time.monotonic()))  # it sends its next request already
        return False

    def takes_more(self, seconds: float) -> bool:
        """Wait until more can be written without waiting; False if it can't be within this time."""
        return self._connection is None or self._ready(selectors.EVENT_WRITE, seconds)

    def _ready(self, event: int, seconds: float) -> bool:
        if self._connection is None:
            time.sleep(seconds)
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, event)
            return bool(selector.select(max(0.0, seconds)))

    def _peek(self) -> bytes:
        return self._connection.recv(1, socket.MSG_PEEK) if self._connection else b""


class Stream:
    """An open stream. Whoever holds it closes it, read or not."""

    def __init__(
        self,
        first: News,
        feed: Feed,
        *,
        end: float,
        close: Callable[[], None],
        clock: Callable[[], float],
        pause: float = SHORTEST_PAUSE,
    ) -> None:
        self._pause = pause
        self._first = first
        self._feed = feed
        self._end = end
        self.close = close  # lets another one be opened; again: nothing
        self._clock = clock

    def to(self, client: Client) -> Body:
        """What is sent."""
        return Body(self._chunks(client), self.close)

    def _chunks(self, client: Client) -> Iterator[bytes]:
        end = self._end
        yield _BEGINNING
        news: News | None = self._first
        pause, silent_since = self._pause, self._clock()
        while news is not None:
            for piece in _pieces(news.events):
                if not client.takes_more(end - self._clock()):
                    return  # it gets the rest when it resumes
                yield piece
            if news.events:
                pause, silent_since = self._pause, self._clock()
            if news.ended:
                return
            if not news.more:
                if client.leaves_within(max(0.0, min(pause, end - self._clock()))):
                    return
                pause = max(self._pause, min(pause * _GROWTH, LONGEST_PAUSE))
            if self._clock() >= end:
                return
            if self._clock() - silent_since >= _KEEP_ALIVE_SECONDS:
                yield _STILL_HERE
                silent_since = self._clock()
            news = self._asked()

    def _asked(self) -> News | None:
        try:
            return self._feed()
        except (JennahError, GoogleAPIError) as error:
            why = "a stream learned nothing: %s: %s"
            emit(LogEvent.STREAM_STALLED, why, type(error).__name__, error)
            return News()
        except Exception:  # noqa: BLE001 - it is logged
            # The answer has begun: all that can be done is to end it.
            emit(LogEvent.STREAM_BROKEN, "a stream broke", error=True)
            return None


class Body:
    """The body of an answer: pieces, and what to do when it is sent or given up, even before it began."""

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None]) -> None:
        self._chunks = chunks
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


class Streams:
    """Opens streams.

    Args:
        places: how many may be open at once: each holds a thread of this process.
        seconds: how long one lasts at most.
    """

    def __init__(
        self, places: Places, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = places
        self._seconds = seconds
        self._clock = clock

    def open(self, caller: Hashable, feed: Feed, *, pause: float = SHORTEST_PAUSE) -> Stream:
        """Open a stream for a caller; the feed is asked once already, and then after `pause` seconds or more.

        Raises:
            ResourceExhausted: as many of this caller are open as may be.
            Unavailable: as many are open as may be.
            JennahError: whatever the feed raises.
        """
        end = self._clock() + self._seconds
        release = self._places.take(caller)
        try:
            first = feed()
        except BaseException:
            release()
            raise
        return Stream(
            first,
            feed,
            end=end,
            close=release,
            clock=self._clock,
            pause=max(SHORTEST_PAUSE, pause),
        )


def _pieces(events: Sequence[Event]) -> Iterator[bytes]:
    waiting = bytearray()
    for event in events:
        waiting += event.encoded()
        while len(waiting) >= _CHUNK:
            yield bytes(waiting[:_CHUNK])
            del waiting[:_CHUNK]
    if waiting:
        yield bytes(waiting)
