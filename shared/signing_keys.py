"""The public keys of an OpenID Connect issuer: fetched when needed, seldom, and kept through its outages."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Lock, Timer
from typing import Any
from urllib.parse import urlsplit

import jwt

from shared.errors import Unavailable
from shared.semantics import LogEvent
from shared.telemetry import emit

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the issuer can make. None is symmetric: a public key is no secret."""

FRESH_SECONDS = 3600.0
"""Keys are used for so long before they are fetched again."""
USABLE_SECONDS = 24 * 3600.0
"""The same while their issuer can't be reached; then a key withdrawn meanwhile counts no more."""
FETCH_SPACING_SECONDS = 60.0
"""Shortest time between two fetches from one issuer, whatever tokens arrive."""
FIRST_FETCH_SPACING_SECONDS = 5.0
"""The same while there are no keys at all and nobody can be served."""

_FETCH_SECONDS = 5.0  # for all of a fetch, the discovery document included
_WAIT_SECONDS = 1.0
_MAX_DOCUMENT_BYTES = 1024 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class SigningKeys:
    """One issuer's signing keys by id. Safe to share between threads; making one reaches nobody.

    `jwks_uri` spares the discovery document. `clock` counts seconds and never goes back.
    """

    def __init__(
        self, issuer: str, jwks_uri: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._clock = clock
        self._lock = Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = 0.0
        self._next_fetch_at = clock()
        self._waited_for_until: float | None = None

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id, or None when the issuer publishes none.

        Raises:
            Unavailable: the issuer's keys can't be had now.
        """
        key = self._keys.get(key_id)
        if key is not None and self._age() < FRESH_SECONDS:
            return key
        settled = self._refresh()
        if not self._keys or self._age() >= USABLE_SECONDS:
            raise Unavailable("The token's issuer can't be reached for its keys: try again later.")
        key = self._keys.get(key_id)
        if key is None and not settled:
            raise Unavailable("The keys of the token's issuer are being fetched: try again.")
        return key

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _refresh(self) -> bool:
        """Fetch the keys if it is time; False when another thread is at it.

        Only who has nothing to serve waits for another's fetch, and only while that is young: a hanging
        issuer and a flood of invented key ids must not hold every thread, and so other issuers' callers.
        """
        until = self._waited_for_until
        patience = _WAIT_SECONDS if until is None else max(0.0, until - time.monotonic())
        if not self._lock.acquire(timeout=0.0 if self._keys else patience):
            return False
        try:
            now = self._clock()
            if now >= self._next_fetch_at:
                self._next_fetch_at = now + FETCH_SPACING_SECONDS
                self._waited_for_until = time.monotonic() + _WAIT_SECONDS
                self._fetch()
        finally:
            self._waited_for_until = None
            self._lock.release()
        return True

    def _fetch(self) -> None:
        try:
            keys = published_keys(self._issuer, self._jwks_uri)
        except (OSError, HTTPException, ValueError) as error:
            # The keys in hand go on serving: the issuer's outage is not the caller's.
            why = "The keys of %s could not be fetched: %s"
            emit(LogEvent.SIGNING_KEYS_NOT_FETCHED, why, self._issuer, error)
            if not self._keys:
                self._next_fetch_at = self._clock() + FIRST_FETCH_SPACING_SECONDS
        else:
            self._fetched_at = self._clock()
            self._keys = keys


def is_safe(url: str) -> bool:
    """Whether keys may come from there: over https, or from this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme == "http":
        return parts.hostname in _LOOPBACK
    return parts.scheme == "https" and bool(parts.hostname)


def published_keys(issuer: str, jwks_uri: str | None) -> dict[str, jwt.PyJWK]:
    """Ask the issuer for its keys, by their ids; for 5 s at most.

    Raises:
        OSError, HTTPException, ValueError: it can't be reached, or what it answers is of no use.
    """
    end = time.monotonic() + _FETCH_SECONDS
    if jwks_uri is None:
        discovery = _fetch_object(end, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if discovery.get("issuer") != issuer:  # OpenID Connect Discovery 1.0 §4.3
            raise ValueError("its discovery document is another issuer's")
        jwks_uri = discovery.get("jwks_uri")
        if not isinstance(jwks_uri, str) or not is_safe(jwks_uri):
            raise ValueError("its discovery document names no safe jwks_uri")
    entries = _fetch_object(end, jwks_uri).get("keys")
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else ():
        try:
            key = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, AttributeError, KeyError, TypeError, ValueError):
            continue  # of a kind that we can't use, beside some that we can
        usable = key.algorithm_name in ALGORITHMS and key.public_key_use in {"sig", None}
        if usable and isinstance(key.key_id, str):
            keys[key.key_id] = key
    if not keys:
        raise ValueError("it publishes no key that can be used")
    return keys


class _Connection(HTTPConnection):
    """Can be ended by another thread."""

    twin: socket.socket | None = None

    def connect(self) -> None:
        """Remember the connection under a name that TLS does not take over."""
        super().connect()
        self.twin = self.sock.dup()


class _SecureConnection(HTTPSConnection, _Connection):
    """The same with TLS."""


class _Deadline(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Ends what it opened when its time is over. A socket's own timeout begins anew with every byte."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self._opened: list[_Connection] = []
        self._timer = Timer(max(0.0, end - time.monotonic()), self._stop)
        self._timer.daemon = True
        self._timer.start()

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(self._connection(_Connection), request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(self._connection(_SecureConnection), request)

    def _connection(self, kind: type[_Connection]) -> Callable[..., _Connection]:
        def make(*address: Any, **how: Any) -> _Connection:
            connection = kind(*address, **how)
            self._opened.append(connection)
            return connection

        return make

    def _stop(self) -> None:
        for connection in self._opened:
            if connection.twin is not None:
                with suppress(OSError):
                    connection.twin.shutdown(socket.SHUT_RDWR)

    def done(self) -> None:
        self._timer.cancel()
        for connection in self._opened:
            if connection.twin is not None:
                connection.twin.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none: keys come from the place that was named."""


def _fetch_object(end: float, url: str) -> dict[str, Any]:
    deadline = _Deadline(end)
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), deadline]
    if urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy would look for it on another machine
    # Some issuers' front ends refuse urllib by the name that it gives itself.
    headers = {"Accept": "application/json", "User-Agent": "jennah"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (only what is_safe let through)
    left = max(0.001, end - time.monotonic())
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=left) as response:
            body = response.read(_MAX_DOCUMENT_BYTES)  # what is longer is cut, and then no JSON
    finally:
        deadline.done()
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("its answer is nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("its answer is no JSON object")  # noqa: TRY004 (as bad as no JSON at all)
    return document
