"""How streams ask, wait and end, on a clock of their own."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from google.api_core.exceptions import ServiceUnavailable

from shared.errors import NotFound, Unavailable
from shared.places import Places
from shared.streams import LONGEST_PAUSE, SHORTEST_PAUSE, Client, Event, Feed, News, Stream, Streams

SECONDS = 45.0

somebody = itertools.count()  # callers, each of whom opens one stream


class Scene(Client):
    """A clock, and a client whose waiting moves it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.now = 0.0
        self.leaves_at = float("inf")
        self.reads = True

    def clock(self) -> float:
        return self.now

    def leaves_within(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += seconds
        return self.now >= self.leaves_at

    def takes_more(self, seconds: float) -> bool:
        if not self.reads:
            self.now += seconds
        return self.reads

    def streams(self, most: int = 1) -> Streams:
        return Streams(Places("streams", most), seconds=SECONDS, clock=self.clock)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def telling(scene: Scene, news: Sequence[News | Exception], asked: list[float]) -> Feed:
    """A feed that has this to tell, and then nothing."""
    left = list(news)

    def feed() -> News:
        asked.append(scene.now)
        told = left.pop(0) if left else News()
        if isinstance(told, Exception):
            raise told
        return told

    return feed


def sent(stream: Stream, client: Client) -> list[bytes]:
    body = stream.to(client)
    try:
        return list(body)
    finally:
        body.close()


def event(number: int) -> Event:
    return Event("e", {"n": number}, str(number))


def test_an_event_is_lines_and_its_data_one_of_them() -> None:
    encoded = Event("log", {"text": "a\nb\r\u2028\x00"}, "7").encoded()
    assert encoded == b'id: 7\nevent: log\ndata: {"text": "a\\nb\\r\\u2028\\u0000"}\n\n'
    assert Event("end", {}).encoded() == b"event: end\ndata: {}\n\n"


def test_a_feed_that_is_silent_is_asked_less_and_less_often_until_the_time_is_over(scene: Scene) -> None:
    asked: list[float] = []
    chunks = sent(scene.streams().open(next(somebody), telling(scene, [], asked)), scene)
    assert scene.now == SECONDS
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses[0] == SHORTEST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert chunks[0] == b"retry: 1000\n\n"
    assert set(chunks[1:]) == {b": still here\n\n"}
    assert 3 <= len(chunks[1:]) <= 4


def test_news_shortens_the_pauses_again(scene: Scene) -> None:
    asked: list[float] = []
    quiet = [News()] * 9
    feed = telling(scene, [*quiet, News([event(1)]), News([event(2)], ended=True)], asked)
    chunks = sent(scene.streams().open(next(somebody), feed), scene)
    assert chunks[-2:] == [event(1).encoded(), event(2).encoded()]
    assert asked[-2] - asked[-3] > 2 * SHORTEST_PAUSE
    assert asked[-1] - asked[-2] == pytest.approx(SHORTEST_PAUSE)


def test_a_feed_that_costs_much_is_asked_seldom(scene: Scene) -> None:
    asked: list[float] = []
    feed = telling(scene, [News(), News([event(1)]), News(), News()], asked)
    sent(scene.streams().open(next(somebody), feed, pause=5), scene)
    assert asked == [5.0 * number for number in range(len(asked))]
    assert len(asked) == SECONDS / 5


def test_what_is_there_already_is_asked_for_without_a_pause(scene: Scene) -> None:
    asked: list[float] = []
    feed = telling(scene, [News([event(1)], more=True), News([event(2)], ended=True)], asked)
    sent(scene.streams().open(next(somebody), feed), scene)
    assert asked == [0, 0]


def test_more_than_a_stream_may_last_is_not_sent_on(scene: Scene) -> None:
    def feed() -> News:
        scene.now += 1
        return News([event(1)], more=True)

    assert len(sent(scene.streams().open(next(somebody), feed), scene)) <= SECONDS + 2


@pytest.mark.parametrize("error", [Unavailable("not now"), ServiceUnavailable("not now")])
def test_a_feed_that_fails_is_asked_again(scene: Scene, error: Exception) -> None:
    feed = telling(scene, [News(), error, News([event(1)], ended=True)], [])
    assert sent(scene.streams().open(next(somebody), feed), scene)[-1] == event(1).encoded()


def test_a_feed_that_breaks_ends_the_stream_and_is_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    assert (
        len(sent(scene.streams().open(next(somebody), telling(scene, [News(), ValueError("x")], [])), scene))
        == 1
    )
    assert scene.now == SHORTEST_PAUSE
    assert [(record.message, bool(record.exc_info)) for record in caplog.records] == [
        ("a stream broke", True)
    ]


def test_nothing_is_asked_for_whoever_has_left(scene: Scene) -> None:
    scene.leaves_at = 5
    asked: list[float] = []
    sent(scene.streams().open(next(somebody), telling(scene, [], asked)), scene)
    assert max(asked) < 5


def test_whoever_does_not_read_is_left_alone_when_the_time_is_over(scene: Scene) -> None:
    scene.reads = False
    chunks = sent(scene.streams().open(next(somebody), telling(scene, [News([event(1)])], [])), scene)
    assert chunks == [b"retry: 1000\n\n"]
    assert scene.now == SECONDS


def test_big_news_is_sent_in_pieces_that_any_socket_takes(scene: Scene) -> None:
    big = Event("log", {"text": "x" * 100_000}, "1")
    chunks = sent(scene.streams().open(next(somebody), telling(scene, [News([big], ended=True)], [])), scene)
    assert b"".join(chunks[1:]) == big.encoded()
    assert max(map(len, chunks)) <= 4096


def test_only_so_many_are_open_and_a_closed_one_makes_room_once(scene: Scene) -> None:
    streams = scene.streams(2)
    first, _ = (streams.open(next(somebody), News) for _ in range(2))
    with pytest.raises(Unavailable):
        streams.open(next(somebody), News)
    body = first.to(scene)  # which nobody ever reads
    body.close()
    body.close()
    streams.open(next(somebody), News)
    with pytest.raises(Unavailable):
        streams.open(next(somebody), News)


def test_a_stream_that_is_refused_takes_no_room(scene: Scene) -> None:
    streams = scene.streams()
    with pytest.raises(NotFound):
        streams.open(next(somebody), telling(scene, [NotFound.of_job()], []))
    streams.open(next(somebody), News)


def test_the_first_look_counts_as_the_streams_time(scene: Scene) -> None:
    def slow() -> News:
        scene.now += 9
        return News()

    sent(scene.streams().open(next(somebody), slow), scene)
    assert scene.now <= SECONDS + 9


def test_one_thread_streams_nothing(scene: Scene) -> None:
    with pytest.raises(Unavailable):
        scene.streams(0).open(next(somebody), News)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_client_that_closes_the_connection_is_noticed_at_once(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    assert not Client(ours).leaves_within(0.01)
    theirs.close()
    started = time.monotonic()
    assert Client(ours).leaves_within(60)
    assert time.monotonic() - started < 10


def test_a_client_that_sends_has_not_left(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"GET /")
    started = time.monotonic()
    assert not Client(ours).leaves_within(0.2)
    assert time.monotonic() - started >= 0.2
    assert ours.recv(10) == b"GET /"


def test_a_client_that_does_not_read_takes_no_more(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.setblocking(False)
    assert Client(ours).takes_more(0)
    while Client(ours).takes_more(0):
        ours.send(b"x" * 4096)  # which never waits
    theirs.recv(1 << 24)
    assert Client(ours).takes_more(10)
