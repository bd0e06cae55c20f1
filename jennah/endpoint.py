"""A server's address, and the HTTP client that sends a token there and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from urllib.parse import urlsplit

import httpx

_CERTIFICATES = ("SSL_CERT_FILE",)
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")

Token = str | Callable[[], str]


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
        parts = urlsplit(url)  # refuses half an IPv6 address and large ports, which httpx lets pass
        usable = parts.scheme in {"http", "https"} and parts.port != 0 and httpx.URL(url).host != ""
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is no http or https URL, such as http://127.0.0.1:8080")


def check_encrypted(url: str, *, insecure: bool) -> None:
    """Let pass what a token may be sent to: whoever can listen on plain http's way could use it.

    Args:
        url: an http or https URL.
        insecure: let plain http pass elsewhere than on this machine, too.

    Raises:
        ValueError: it is plain http to another machine.
    """
    if not (insecure or is_loopback(url) or urlsplit(url).scheme == "https"):
        raise ValueError(
            f"{url} is plain http, and the token could be read on its way: name the server by https, or "
            "allow it on a network that you trust (--insecure, JENNAH_INSECURE=1; in Python insecure=True)"
        )


def checked_token(token: str) -> str:
    """A token, once it is known that it can stand in a header.

    Raises:
        ValueError: it can't.
    """
    if not (token and token.isascii() and token.isprintable()):
        raise ValueError("the token is empty or holds characters that no token has")
    return token


class _Bearer(httpx.Auth):
    """Sends the token, and where it can be fetched a fresh one once after a 401."""

    def __init__(self, token: Token) -> None:
        self._fetch = token if callable(token) else None
        self._token = None if callable(token) else checked_token(token)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        is_fresh = self._token is None
        request.headers["Authorization"] = f"Bearer {self._token or self._fetched()}"
        response = yield request
        if response.status_code == 401 and self._fetch is not None and not is_fresh:
            request.headers["Authorization"] = f"Bearer {self._fetched()}"
            yield request

    def _fetched(self) -> str:
        assert self._fetch is not None  # noqa: S101 - without a token there is where to fetch one
        self._token = checked_token(self._fetch())
        return self._token


def opened(url: str, token: Token, *, timeout: float, insecure: bool) -> httpx.Client:
    """A client that sends the token with each request.

    Args:
        url: the server's root.
        token: sent as bearer token; or what fetches one, when it is needed and after the server refused the
            one before.
        timeout: seconds for each step of a request.
        insecure: whether the server may be another machine that is asked over plain http.

    Raises:
        ValueError: `url` is no http or https URL or not `insecure`, `token` can't stand in a header, or the
            environment names a proxy or certificates that can't be used.
    """
    check_url(url)
    check_encrypted(url, insecure=insecure)
    auth = _Bearer(token)
    # A proxy that the environment names can't reach this machine's own ports.
    through_proxy = not is_loopback(url)
    try:
        return httpx.Client(auth=auth, timeout=timeout, trust_env=through_proxy)
    except OSError as error:
        raise ValueError(
            f"cannot use the certificates of {_set(_CERTIFICATES)} ({error.strerror or error}): "
            "let it name a PEM file that can be read, or unset it"
        ) from error
    except ImportError as error:
        raise ValueError(
            f"{_set(_PROXIES)} names a SOCKS proxy: 'pip install \"httpx[socks]\"' where jennah is "
            "installed, or unset it"
        ) from error
    except (ValueError, httpx.InvalidURL) as error:
        # Without its own words: a proxy's URL may hold a password.
        raise ValueError(
            f"cannot use the proxy of {_set(_PROXIES)}: let it be a URL such as "
            "http://proxy.example.com:3128, or unset it"
        ) from error


def _set(names: tuple[str, ...]) -> str:
    """Those of these variables that are set, in either case."""
    found = [name for upper in names for name in (upper, upper.lower()) if os.environ.get(name)]
    return " or ".join(found) or "the system's settings"
