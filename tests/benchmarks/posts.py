"""The load: as many POSTs as are asked for, from several connections, each as soon as the last is answered.

With http.client, which costs the machine less than a client with more comfort.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.scene import RunFailed

_CONNECTIONS: Final = 8
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Posts:
    """Equal requests to `host` ("127.0.0.1:port"), each of which must be answered by `status`."""

    host: str
    path: str
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, count: int) -> None:
        """Send so many.

        Raises:
            RunFailed: one was answered otherwise.
            OSError: one was not answered.
        """
        shares = [len(range(first, count, _CONNECTIONS)) for first in range(_CONNECTIONS)]
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            list(pool.map(self._send, shares))

    def _send(self, count: int) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=_SECONDS)
        for _ in range(count):
            connection.request("POST", self.path, self.body, dict(self.headers))
            response = connection.getresponse()
            answer = response.read()
            if response.status != self.status:
                text = answer.decode(errors="replace")[:300]
                raise RunFailed(f"POST {self.path} was answered {response.status}, not {self.status}: {text}")
        connection.close()
