"""Google's REST APIs, read with the operator's own credentials: what the doctor has no client for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import cache, partial
from typing import Any, Final

import google.auth
import httpx
from google.api_core import exceptions
from google.auth.transport.requests import Request

from jennah.operations.doctor import CALL_SECONDS

_SCOPES: Final = ["https://www.googleapis.com/auth/cloud-platform"]


def _googles(api: str) -> str:
    return f"https://{api}.googleapis.com"


class GoogleRest:
    """Reads what an API says, and changes nothing.

    Args:
        client: what asks, with whatever proves who does; None: one with the operator's Application Default
            Credentials, which are looked for with the first request.
        address: where an API is, by its first name.
    """

    def __init__(self, client: httpx.Client | None = None, address: Callable[[str], str] = _googles) -> None:
        self._client = client or httpx.Client(auth=_Operator())
        self._address = address

    def read(self, api: str, path: str, *, post: bool = False) -> Mapping[str, Any]:
        """One answer.

        Args:
            api: `pubsub` for pubsub.googleapis.com.
            path: with the version and without a slash before it.
            post: some APIs want to be asked for a policy by POST.

        Raises:
            GoogleAPIError: it refuses, has no such thing, or does not answer.
            GoogleAuthError: there are no credentials, or they are refused.
        """
        try:
            method = "POST" if post else "GET"
            answer = self._client.request(method, f"{self._address(api)}/{path}", timeout=CALL_SECONDS)
        except httpx.HTTPError as error:
            raise exceptions.ServiceUnavailable(f"{api}: {error}") from error
        if answer.is_success:
            content: Mapping[str, Any] = answer.json()
            return content
        raise exceptions.from_http_status(answer.status_code, _message(answer))


class _Operator(httpx.Auth):
    """Google's token for whoever is logged in, and the project that its calls count for."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        headers: dict[str, str] = {}
        ask = partial(Request(), timeout=CALL_SECONDS)
        _credentials().before_request(ask, request.method, str(request.url), headers)
        request.headers.update(headers)
        yield request


@cache
def _credentials() -> Any:
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return credentials


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"
