"""Bodies of requests as a hostile client sends them: to the function in its own process."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Process, Processes
from shared.api.operations import MAX_BODY_BYTES
from tests.integration.api_process import running_api

THREADS = 4
BODY_SECONDS = 2
MIB = 1024 * 1024


class Seen(Processes):
    """Processes of which the last one is known."""

    last: Process

    def start(self, *args: Any, **kwargs: Any) -> Process:
        self.last = super().start(*args, **kwargs)
        return self.last


class Function:
    """The function and its process."""

    def __init__(self, url: httpx.URL, server: Process, token: str) -> None:
        self._url = url
        self.token = token
        self._server = server

    def post(self, length: int, sent: bytes, token: str = "") -> socket.socket:
        """Begin a submission whose body is said to be so long."""
        connection = socket.create_connection((self._url.host, self._url.port), timeout=30)
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        head += f"Authorization: Bearer {token}\r\n" if token else ""
        connection.sendall(head.encode() + b"\r\n" + sent)
        return connection

    def connected(self) -> httpx.Client:
        """A client with a connection of its own: the server ends those that were idle for 2 s."""
        return httpx.Client(base_url=self._url, trust_env=False, timeout=30)

    def health(self) -> int:
        """The status that GET /health is answered."""
        with self.connected() as client:
            return client.get("/health").status_code

    @property
    def most_memory(self) -> float:
        """The most that its worker ever held, in MiB."""
        pid = self._server.pid
        *_, worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = Path(f"/proc/{worker}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


@pytest.fixture(scope="module")
def function(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Function]:
    folder = tmp_path_factory.mktemp("bodies")
    hosts = {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host}
    settings = {
        "JENNAH_ADMIT": "everyone",
        "JENNAH_BODY_SECONDS": str(BODY_SECONDS),
        "THREADS": str(THREADS),
    }
    with (
        Seen(folder / "logs") as processes,
        running_api(spanner_instance, processes, folder, hosts, settings=settings) as api,
    ):
        yield Function(api.client.base_url, processes.last, api.issuers[0].mint("ann@example.com"))


def answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """The status, and the error."""
    text = b""
    while b"}\n" not in text:
        piece = connection.recv(65536)
        assert piece, text
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_large_body_of_anybody_fills_no_memory(function: Function) -> None:
    function.health()
    before = function.most_memory
    with ExitStack() as stack:
        length = 24 * MIB
        waiting = [stack.enter_context(function.post(length, b"x" * (length - 1))) for _ in range(THREADS)]
        for connection in waiting:
            connection.sendall(b"x")
        assert [answer(connection)[0] for connection in waiting] == [401] * THREADS
    assert function.most_memory - before < THREADS * 5  # MiB, of 24 that each of them was sent


@pytest.mark.parametrize("sent", [b"", b"{"])
def test_who_withholds_a_body_holds_a_thread_for_its_time_only(function: Function, sent: bytes) -> None:
    with ExitStack() as stack:
        waiting = [stack.enter_context(function.post(100, sent)) for _ in range(THREADS)]
        began = time.monotonic()
        assert function.health() == 200
        assert time.monotonic() - began < BODY_SECONDS + 5
        assert [answer(connection)[0] for connection in waiting] == [401] * THREADS


def test_who_sends_a_byte_now_and_then_gains_no_time(function: Function) -> None:
    began = time.monotonic()
    with function.post(10_000, b"{", function.token) as connection:
        connection.settimeout(0.2)
        while True:
            try:
                status, error = answer(connection)
                break
            except TimeoutError:
                assert time.monotonic() - began < BODY_SECONDS + 5
                connection.sendall(b" ")
    assert (status, error["message"]) == (400, "body: did not come in time")


def test_a_body_that_breaks_off_is_refused(function: Function) -> None:
    with function.post(100, b'{"image_uri": "busybox"}', function.token) as connection:
        connection.shutdown(socket.SHUT_WR)
        status, error = answer(connection)
    assert (status, error["message"]) == (400, "body: did not come to its end")


def test_what_is_too_large_is_told_so_and_the_connection_goes_on(function: Function) -> None:
    headers = {"Authorization": f"Bearer {function.token}"}
    with function.connected() as client:
        for size, status in ((MAX_BODY_BYTES, 400), (MAX_BODY_BYTES + 1, 413), (5 * MIB, 413)):
            found = client.post("/v1/jobs", content=b"x" * size, headers=headers)
            assert found.status_code == status
