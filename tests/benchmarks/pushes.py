"""Counting what is pushed to functions: a door before each, which passes everything on, some of it twice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from jennah.local.cloud import LocalCloud
from jennah.local.services import PUSHED_TO

_SECONDS: Final = 60.0


class CountedPushes:
    """A context manager: inside it, what the emulator pushes to the functions of a cloud is counted.

    Attributes:
        pushes: that were answered so far, by function.
        doubled: how many of them were a push for the second time.
        took: after how many seconds each was answered, by function, in the order of the answers.
        every: each so-and-so-manieth push to a function is made twice; None for none.
    """

    def __init__(self, cloud: LocalCloud) -> None:
        self.pushes: Counter[str] = Counter()
        self.doubled = 0
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        self.every: int | None = None
        self._came: Counter[str] = Counter()
        self._cloud = cloud
        self._servers: dict[str, ThreadingHTTPServer] = {}

    def __enter__(self) -> Self:
        for topic, function in PUSHED_TO.items():
            server = ThreadingHTTPServer(("127.0.0.1", 0), self._door(function))
            self._servers[topic] = server
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._push_to(topic, f"127.0.0.1:{server.server_port}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for topic, server in self._servers.items():
            if error is None:
                self._push_to(topic, self._cloud.address_of(PUSHED_TO[topic]))
            server.shutdown()
            server.server_close()

    def _push_to(self, topic: str, host: str) -> None:
        name = f"projects/{self._cloud.env['GOOGLE_CLOUD_PROJECT']}/subscriptions/{topic}"
        body = json.dumps({"pushConfig": {"pushEndpoint": f"http://{host}/"}})
        connection = http.client.HTTPConnection(self._cloud.address_of("pubsub"), timeout=_SECONDS)
        connection.request("POST", f"/v1/{name}:modifyPushConfig", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise OSError(f"{name} can't be pushed elsewhere: {answer.read().decode(errors='replace')}")
        connection.close()

    def _door(self, function: str) -> type[BaseHTTPRequestHandler]:
        counted, counting = self, threading.Lock()

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with counting:
                    counted._came[function] += 1
                    twice = counted.every is not None and counted._came[function] % counted.every == 0
                status, answer = self._pass_on(body)
                if twice:
                    self._pass_on(body)
                    with counting:
                        counted.doubled += 1
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def _pass_on(self, body: bytes) -> tuple[int, bytes]:
                began = time.perf_counter()
                address = counted._cloud.address_of(function)
                connection = http.client.HTTPConnection(address, timeout=_SECONDS)
                connection.request("POST", urlsplit(self.path).path, body, dict(self.headers))
                answer = connection.getresponse()
                passed = answer.read()
                connection.close()
                with counting:
                    counted.took[function].append(time.perf_counter() - began)
                    counted.pushes[function] += 1
                return answer.status, passed

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
                pass

        return Door
