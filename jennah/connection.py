"""One server, asked over HTTP in JSON. Requests are idempotent, and repeated through short failures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_RETRIED_FAILURES = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_REQUEST_SECONDS = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_FIRST_CONTACT_SECONDS = 3.0

Json = dict[str, Any]
Answer = TypeVar("Answer")


class ClientError(Exception):
    """A request that did not succeed."""


class ConnectionFailed(ClientError):
    """No answer came from the server, also after the request was repeated."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot reach {url} ({reason})")
        self.url = url
        self.reason = reason


class ApiError(ClientError):
    """The server refused.

    Attributes:
        status: the HTTP status.
        code: its canonical name, as in `google.rpc.Code`; "UNKNOWN" when the answer was not Jennah's.
        message: one sentence for the caller.
        details: machine-readable particulars, e.g. `{"field": "commands", "reason": "too long"}`.
    """

    def __init__(self, status: int, code: str, message: str, details: Sequence[Json] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    try:
        return httpx.URL(url).host in {"127.0.0.1", "localhost", "::1"}
    except httpx.InvalidURL:
        return False


def check_url(url: str) -> None:
    """Let pass what a request can be sent to.

    Raises:
        ValueError: `url` is no http or https URL.
    """
    try:
        parts = urlsplit(url)  # refuses half an IPv6 address, which httpx lets pass
        usable = parts.scheme in {"http", "https"} and httpx.URL(url).host != ""
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is no http or https URL, such as http://127.0.0.1:8080")


class Connection:
    """Speaks JSON to one server. Threads may share it.

    Args:
        url: the server's root.
        token: sent as bearer token.
        retry_seconds: for how long a request may be repeated after connection failures and the answers
            429, 502, 503 and 504. A server that never answered at all is given up after 3 s: its address
            is more likely wrong.

    Raises:
        ValueError: `url` is no http or https URL, or `token` can't stand in a header.
    """

    def __init__(self, url: str, token: str, *, retry_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._retry_seconds = retry_seconds
        self._has_answered = False
        check_url(self._url)
        if not (token and token.isascii() and token.isprintable()):
            raise ValueError("the token is empty or holds characters that no token has")
        # A proxy that the environment names can't reach this machine's own ports.
        through_proxy = not is_loopback(url)
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {token}"}, timeout=_REQUEST_SECONDS, trust_env=through_proxy
        )

    def close(self) -> None:
        """Close the sockets."""
        self._http.close()

    def ask(self, parse: Callable[[Json], Answer], method: str, path: str, **request: Any) -> Answer:
        """Send an idempotent request and parse its answer.

        Args:
            parse: takes the JSON of a success; KeyError, TypeError, ValueError or AttributeError from it mean
                that another kind of server answered.
            method: the HTTP method.
            path: below the server's root.
            request: `params`, `json` and `headers` as httpx takes them.

        Raises:
            ApiError: the server refused.
            ConnectionFailed: no answer within the time for retries.
        """
        response = self._send(method, path, **request)
        status = response.status_code
        try:
            body = response.json()
            if response.is_success:
                return parse(body)
            error = body["error"]
            refusal = ApiError(status, error["status"], error["message"], error.get("details") or ())
        except (KeyError, TypeError, ValueError, AttributeError):
            refusal = ApiError(status, "UNKNOWN", f"{self._url} gave no answer of Jennah's (HTTP {status})")
        raise refusal

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        began = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            wait = random.uniform(pause / 2, pause)  # noqa: S311 - jitter needs no secrecy
            try:
                response = self._http.request(method, self._url + path, **request)
            except _RETRIED_FAILURES as error:
                if time.monotonic() + wait - began > self._patience():
                    raise ConnectionFailed(self._url, str(error) or type(error).__name__) from error
            except httpx.HTTPError as error:
                raise ConnectionFailed(self._url, str(error) or type(error).__name__) from error
            else:
                self._has_answered = True
                wait = max(wait, _retry_after(response))
                late = time.monotonic() + wait - began > self._patience()
                if late or response.status_code not in _RETRIED_STATUSES:
                    return response
            time.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _patience(self) -> float:
        return self._retry_seconds if self._has_answered else min(self._retry_seconds, _FIRST_CONTACT_SECONDS)


def _retry_after(response: httpx.Response) -> float:
    """The seconds that the server asks to wait; the header's other form, a date, counts as none."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
