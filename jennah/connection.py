"""One server, asked over HTTP in JSON. Requests are idempotent, and repeated through short failures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import httpx_sse

from jennah.endpoint import Token, opened

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_UNKNOWN_OUTCOMES = frozenset({502, 503, 504})
_RETRIED_FAILURES = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
# A host's name that DNS can't have is found out when it is looked up.
_FAILURES = (httpx.HTTPError, UnicodeError)
_REQUEST_SECONDS = 15.0
# A stream that has nothing to say sends a sign of life every 10 s or so.
_SILENT_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
FIRST_CONTACT_SECONDS = 3.0
"""For how long requests are repeated to a server that never answered."""
_TOO_LONG = "an id or an option is too long for a URL: shorten it"

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
        repeated: whether the request had been sent before, and nobody knows with what outcome.
        retry_after: in how many seconds the same may succeed, where the server says so.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[Json] = (),
        *,
        repeated: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.repeated = repeated
        self.retry_after = retry_after


class Connection:
    """Speaks JSON to one server. Threads may share it.

    Args:
        url: the server's root.
        token: sent as bearer token; or what fetches one, when it is needed and after the server refused the
            one before.
        retry_seconds: for how long a request may be repeated after connection failures and the answers
            429, 502, 503 and 504. A server that never answered at all is given up after 3 s: its address
            is more likely wrong.
        insecure: whether the server may be another machine that is asked over plain http.

    Raises:
        ValueError: as `endpoint.opened`.
    """

    def __init__(self, url: str, token: Token, *, retry_seconds: float, insecure: bool = False) -> None:
        self.url = url.rstrip("/")
        self._retry_seconds = retry_seconds
        self._has_answered = False
        self._http = opened(self.url, token, timeout=_REQUEST_SECONDS, insecure=insecure)

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
            ValueError: the request names something that is too long for a URL.
        """
        response, repeated = self._send(method, path, **request)
        if not response.is_success:
            raise self._refusal(response, repeated=repeated)
        try:
            return parse({} if response.status_code == 204 else response.json())
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._foreign(response) from None

    def listen(
        self, path: str, params: Mapping[str, Any] | None = None, last_id: str = ""
    ) -> Iterator[httpx_sse.ServerSentEvent]:
        """Receive the server-sent events of one stream, until it ends.

        Args:
            path: below the server's root.
            params: the query.
            last_id: of the last event that is known already; empty begins at the beginning.

        Raises:
            ApiError: the server refused, or what it sends are no events.
            ConnectionFailed: it can't be reached, or the stream broke.
            ValueError: as `ask`.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        silence = httpx.Timeout(_REQUEST_SECONDS, read=_SILENT_SECONDS)
        try:
            with self._http.stream(
                "GET", self.url + path, params=params, headers=headers, timeout=silence
            ) as response:
                self._has_answered = True
                if not response.is_success:
                    response.read()
                    raise self._refusal(response)
                yield from httpx_sse.EventSource(response).iter_sse()
        except httpx_sse.SSEError:
            raise self._foreign(response) from None
        except _FAILURES as error:
            raise self._failed(error) from error
        except httpx.InvalidURL:
            raise ValueError(_TOO_LONG) from None

    def patience(self) -> float:
        """For how many seconds to try again."""
        return self._retry_seconds if self._has_answered else min(self._retry_seconds, FIRST_CONTACT_SECONDS)

    def _failed(self, error: Exception) -> ConnectionFailed:
        reason = "no such host" if isinstance(error, UnicodeError) else str(error) or type(error).__name__
        return ConnectionFailed(self.url, reason)

    def _foreign(self, response: httpx.Response) -> ApiError:
        status = response.status_code
        return ApiError(status, "UNKNOWN", f"{self.url} gave no answer of Jennah's (HTTP {status})")

    def _refusal(self, response: httpx.Response, *, repeated: bool = False) -> ApiError:
        try:
            error = response.json()["error"]
            return ApiError(
                response.status_code,
                error["status"],
                error["message"],
                error.get("details") or (),
                repeated=repeated,
                retry_after=_retry_after(response),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return self._foreign(response)

    def _send(self, method: str, path: str, **request: Any) -> tuple[httpx.Response, bool]:
        """The answer, and whether a try before it may have been done unseen."""
        pauses = Pauses(self.patience)
        unseen = False
        while True:
            wait = 0.0
            try:
                response = self._http.request(method, self.url + path, **request)
            except _RETRIED_FAILURES as error:
                if not pauses.allow(wait):
                    raise self._failed(error) from error
                unseen = True
            except _FAILURES as error:
                raise self._failed(error) from error
            except httpx.InvalidURL:
                raise ValueError(_TOO_LONG) from None
            else:
                self._has_answered = True
                wait = _retry_after(response)
                if response.status_code not in RETRIED_STATUSES or not pauses.allow(wait):
                    return response, unseen
                unseen = unseen or response.status_code in _UNKNOWN_OUTCOMES
            pauses.sleep(wait)


class Pauses:
    """The pauses between tries: longer each time, with jitter, until the patience is spent."""

    def __init__(self, patience: Callable[[], float]) -> None:
        self._patience = patience
        self.begin()

    def begin(self) -> None:
        """Count anew: something came."""
        self._began = time.monotonic()
        self._longest = _FIRST_PAUSE
        self._next = self._jittered()

    def allow(self, wait: float) -> bool:
        """Whether there is time for a pause of `wait` seconds at least."""
        return time.monotonic() + max(wait, self._next) - self._began <= self._patience()

    def sleep(self, wait: float) -> None:
        """Pause for `wait` seconds at least."""
        time.sleep(max(wait, self._next))
        self._longest = min(self._longest * 2, _LONGEST_PAUSE)
        self._next = self._jittered()

    def _jittered(self) -> float:
        return random.uniform(self._longest / 2, self._longest)  # noqa: S311 - jitter needs no secrecy


def _retry_after(response: httpx.Response) -> float:
    """The seconds that the server asks to wait; the header's other form, a date, counts as none."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
