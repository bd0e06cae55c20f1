"""Requests at a steady rate, and a server that does nothing, to know what the requests cost by themselves."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
_BODY = json.dumps({"image_uri": "busybox", "commands": ["true"]})


@dataclass(frozen=True)
class Load:
    """Submissions at a steady rate. `rate` is in requests per second, `threads` send them."""

    host: str
    rate: float
    threads: int
    token: str

    def send(self, begin: float, end: float) -> tuple[list[float], Counter[int]]:
        """Send them from `begin` to `end` (of `time.monotonic`).

        Returns:
            How many seconds after its time each was answered, and the answers by status.
        """
        latencies: list[float] = []
        statuses: Counter[int] = Counter()
        lock = threading.Lock()
        numbers = iter(range(round((end - begin) * self.rate)))

        def work() -> None:
            connection = http.client.HTTPConnection(self.host, timeout=30)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    break
                due = begin + number / self.rate
                time.sleep(max(0.0, due - time.monotonic()))
                status = self._request(connection)
                with lock:
                    latencies.append(time.monotonic() - due)
                    statuses[status] += 1
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies, statuses

    def _request(self, connection: http.client.HTTPConnection) -> int:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/jobs", _BODY, headers)
        response = connection.getresponse()
        response.read()
        return response.status


class _Noop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else the body waits for the acknowledgement of the head, 40 ms.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(201)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def noop_server() -> Iterator[str]:
    """The host of a server in a process of its own, which answers 201 to everything and does nothing."""
    command = [sys.executable, "-m", "tests.benchmarks.steady_load"]
    with subprocess.Popen(
        command, cwd=_CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the server that does nothing did not start")
        yield f"127.0.0.1:{port}"
        process.stdin.close()


def _serve_until_stdin_ends() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Noop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        sys.stdin.read()


@dataclass(frozen=True)
class Figures:
    """Of some latencies, in milliseconds."""

    count: int
    p50: float
    p99: float

    @classmethod
    def of(cls, latencies: Sequence[float]) -> Figures:
        """Of latencies in seconds, two at least."""
        p99 = statistics.quantiles(latencies, n=100, method="inclusive")[98]
        return cls(len(latencies), 1000 * statistics.median(latencies), 1000 * p99)


if __name__ == "__main__":
    _serve_until_stdin_ends()
