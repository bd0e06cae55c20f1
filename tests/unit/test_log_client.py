"""How the lines of a log are gathered: from a server that gives them slowly, in parts, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry

from shared.errors import Unavailable
from shared.log_client import LogClient
from shared.task_logs import LogPart

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
MIB = 1024 * 1024


class Logging(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc brings no types
    """Cloud Logging with an endless log. `now` is the client's clock; an answer takes `seconds` of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = 0.0
        self.line = "x"
        self.code = grpc.StatusCode.UNAVAILABLE
        self.before: Callable[[], list[LogEntry] | None] = lambda: None
        self.sizes: list[int] = []
        self.given = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[self])
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            self._answer,
            request_deserializer=ListLogEntriesRequest.deserialize,
            response_serializer=ListLogEntriesResponse.serialize,
        )

    def _answer(
        self, request: ListLogEntriesRequest, context: grpc.ServicerContext
    ) -> ListLogEntriesResponse:
        self.sizes.append(request.page_size)
        self.now += self.seconds
        try:
            entries = self.before()
        except TimeoutError:
            context.abort(self.code, "as the test wanted")
        if entries is None:
            entries = [self._entry() for _ in range(request.page_size)]
        return ListLogEntriesResponse(entries=entries, next_page_token="more")

    def _entry(self) -> LogEntry:
        self.given += 1
        at = START + timedelta(microseconds=self.given)
        return LogEntry(text_payload=self.line, timestamp=at, insert_id=f"{self.given:020}")

    def read(self, *, limit: int = 1000, most_text: int = 4 * MIB, seconds: float = 35) -> LogPart:
        client = LogClient(emulator_host=self.host, clock=lambda: self.now)
        return client.lines(
            project="p",
            uid="j-1",
            task=0,
            since=None,
            after=None,
            limit=limit,
            most_text=most_text,
            seconds=seconds,
        )

    def close(self) -> None:
        self._server.stop(None).wait()


def fail() -> None:
    raise TimeoutError


@pytest.fixture
def log() -> Iterator[Logging]:
    log = Logging()
    yield log
    log.close()


def test_a_page_is_gathered_until_it_is_full(log: Logging) -> None:
    part = log.read(limit=600)
    assert (len(part.lines), part.more, log.sizes) == (600, True, [250, 250, 100])


def test_a_page_ends_with_its_time_and_keeps_what_it_has(log: Logging) -> None:
    log.seconds = 9.0
    part = log.read(limit=5000, seconds=35)
    assert log.now <= 36
    assert (len(part.lines), part.more) == (250 * len(log.sizes), True)
    assert len(log.sizes) == 4


def test_a_search_that_finds_nothing_ends_with_its_time(log: Logging) -> None:
    log.seconds, log.before = 9.0, list
    with pytest.raises(Unavailable, match="takes long"):
        log.read(seconds=10)
    assert len(log.sizes) == 2


def test_no_more_is_gathered_than_a_page_may_hold(log: Logging) -> None:
    log.line = "x" * 10_000
    part = log.read(most_text=MIB, limit=10_000)
    assert (log.sizes, len(part.lines), part.more) == ([250], 250, True)


def test_what_is_not_needed_is_not_asked_for(log: Logging) -> None:
    """The lines so far say about how many more fit."""
    log.line = "x" * 1000
    part = log.read(most_text=260_000, limit=1000)
    assert log.sizes == [250, 11]
    assert len(part.lines) == 261


def test_an_error_after_some_lines_ends_the_page_before_it(log: Logging) -> None:
    def once() -> list[LogEntry] | None:
        if len(log.sizes) > 1:
            raise TimeoutError
        return None

    log.before = once
    part = log.read()
    assert (len(part.lines), part.more) == (250, True)
    with pytest.raises(Unavailable, match="can't be read now"):
        log.read()


def test_an_answer_that_is_too_large_to_hold_comes_in_parts(log: Logging) -> None:
    """Bytes count, not characters: each of these lines is an entry as long as there can be one."""
    log.line = "\N{GRINNING FACE}" * (64 * 1024)
    part = log.read()
    assert (log.sizes, part.more) == ([250, 16], True)
    assert sum(line.size for line in part.lines) == 4 * MIB


def test_long_lines_after_short_ones_are_asked_for_in_parts(log: Logging) -> None:
    def grow() -> None:
        log.line = "x" * 256 * 1024 if len(log.sizes) > 1 else "x"

    log.before = grow
    part = log.read()
    assert (len(part.lines), log.sizes) == (250 + 16, [250, 250, 16])


def test_a_used_up_quota_is_no_answer_that_is_too_large(log: Logging) -> None:
    log.before, log.code = fail, grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(Unavailable, match="too often") as refused:
        log.read()
    assert (log.sizes, refused.value.retry_after) == ([250], 15)
