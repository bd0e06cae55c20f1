"""Counting what is pushed to functions: a door before each, which passes everything on."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
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
    """

    def __init__(self, cloud: LocalCloud) -> None:
        self.pushes: Counter[str] = Counter()
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
        pushes, counting, cloud = self.pushes, threading.Lock(), self._cloud

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                connection = http.client.HTTPConnection(cloud.address_of(function), timeout=_SECONDS)
                connection.request("POST", urlsplit(self.path).path, body, dict(self.headers))
                answer = connection.getresponse()
                passed = answer.read()
                connection.close()
                with counting:
                    pushes[function] += 1
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(passed)))
                self.end_headers()
                self.wfile.write(passed)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
                pass

        return Door
