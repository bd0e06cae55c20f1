"""Who calls, and whether they may: an OpenID Connect token, verified, becomes an `Identity`; admission is a setting.

An identity is the provider's name with the issuer's subject: addresses change hands, and a subject means nothing
outside its issuer. Nothing of a token is believed before its signature is, except which key to try.
"""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import jwt

from shared.config import Admission, Issuer
from shared.errors import SettingsError, Unauthenticated, Unavailable

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the issuer can make. None is symmetric: a public key is no secret."""

MAX_HEADER_LENGTH = 16 * 1024
LEEWAY_SECONDS = 30

KEYS_FRESH_SECONDS = 3600.0
"""Keys are used for so long before they are fetched again."""
KEYS_USABLE_SECONDS = 24 * 3600.0
"""Keys are used for so long while their issuer can't be reached: a key withdrawn meanwhile is believed no longer."""
FETCH_SPACING_SECONDS = 60.0
"""Shortest time between two fetches from one issuer, whatever tokens arrive."""
FIRST_FETCH_SPACING_SECONDS = 5.0
"""The same while there are no keys at all, and nobody can be served."""

_FETCH_TIMEOUT_SECONDS = 5.0
_MAX_DOCUMENT_LENGTH = 1024 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_BEARER = re.compile(r"Bearer ([\w-]+\.[\w-]+\.[\w-]+)", re.ASCII)
_PROVIDER = re.compile(r"[A-Za-z0-9._-]{1,50}")  # no colon: admission writes "provider:subject"

# OpenID Connect Core 1.0 §2 asks issuers not to send keys or where to get them: they come from discovery alone.
_FOREIGN_KEY_HEADERS = frozenset({"jwk", "jku", "x5c", "x5u"})
# RFC 8725 §3.11: a signed statement of another type (a logout token, say) is no proof of who calls.
_TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified caller. `email` is as the issuer wrote it, and means nothing unless `email_verified`."""

    provider: str
    subject: str
    email: str | None = None
    email_verified: bool = False


def admits(admission: Admission, identity: Identity) -> bool:
    """Whether the setting lets this identity become a tenant. An empty setting admits nobody.

    `subjects` are "provider:subject". `emails` and `domains` hold for verified addresses only; capitals of ASCII
    don't matter, and a domain is the whole of it: example.com admits nobody at mail.example.com.
    """
    if admission.everyone or f"{identity.provider}:{identity.subject}" in admission.subjects:
        return True
    if identity.email is None or not identity.email_verified:
        return False
    # Beyond ASCII lower() makes one address of two: it maps the Kelvin sign to k.
    email = identity.email.lower() if identity.email.isascii() else identity.email
    _, _, domain = email.partition("@")
    return email in admission.emails or domain in admission.domains


class TokenVerifier:
    """Verifies bearer tokens against the configured issuers. Safe to share between threads.

    Making one reaches nobody: an issuer is asked for its keys when its first token arrives.

    Raises:
        SettingsError: an issuer's URL is neither https nor on this machine, or a provider's name can't be stored.
    """

    def __init__(self, issuers: Iterable[Issuer], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuers = tuple(issuers)
        for issuer in self._issuers:
            _require_sound(issuer)
        self._keys = {issuer: _SigningKeys(issuer, clock) for issuer in self._issuers}

    def verify(self, authorization_header: str | None) -> Identity:
        """The identity that the value of an `Authorization` header proves.

        Raises:
            Unauthenticated: there is no token, or it does not hold. The message says what to do and repeats
                nothing of the token.
            Unavailable: the issuer's keys can't be had now.
        """
        token = _bearer_token(authorization_header)
        try:
            unverified = jwt.decode_complete(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise Unauthenticated("The bearer token is not a JSON Web Token.") from None
        header, claims = unverified["header"], unverified["payload"]
        _refuse_unsafe(header)
        issuer = self._issuer_of(claims)
        key = self._keys[issuer].find(header.get("kid"))
        if key is None:
            raise Unauthenticated("The token is signed with a key that its issuer does not publish.")
        return _identity(issuer, _verified_claims(token, key, issuer))

    def _issuer_of(self, claims: Mapping[str, Any]) -> Issuer:
        """The configured issuer that the token names; of several with one URL, the first that it was made for."""
        named = [issuer for issuer in self._issuers if issuer.issuer == claims.get("iss")]
        if not named:
            raise Unauthenticated("The token's issuer is not accepted here.")
        audiences = claims.get("aud")
        if isinstance(audiences, str):
            audiences = [audiences]
        if isinstance(audiences, list):
            for issuer in named:
                if issuer.audience in audiences:
                    return issuer
        raise Unauthenticated("The token was made for another program: ask the issuer for our audience.")


class _SigningKeys:
    """One issuer's public keys by id, fetched when they are needed, seldom, and by one thread at a time."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = 0.0
        self._next_fetch_at = clock()

    def find(self, key_id: object) -> jwt.PyJWK | None:
        """The key of that id, or None when the issuer publishes none."""
        if not isinstance(key_id, str):
            return None
        if key_id in self._keys and self._age() < KEYS_FRESH_SECONDS:
            return self._keys[key_id]
        settled = self._refresh()
        if not self._keys or self._age() >= KEYS_USABLE_SECONDS:
            raise Unavailable("The token's issuer can't be reached for its keys: try again later.")
        if not settled and key_id not in self._keys:
            raise Unavailable("The keys of the token's issuer are being fetched: try again.")
        return self._keys.get(key_id)

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _refresh(self) -> bool:
        """Fetch the keys if one may; False when another thread is at it.

        Only who has nothing to serve waits for another's fetch: a hanging issuer and a flood of invented key ids
        must not hold every thread.
        """
        if not self._lock.acquire(blocking=not self._keys):
            return False
        try:
            now = self._clock()
            if now >= self._next_fetch_at:
                self._next_fetch_at = now + FETCH_SPACING_SECONDS
                self._fetch()
        finally:
            self._lock.release()
        return True

    def _fetch(self) -> None:
        try:
            keys = _fetch_keys(self._issuer)
        except (OSError, HTTPException, ValueError) as error:
            # With keys in hand they go on serving; the issuer's outage is not the caller's.
            _log.warning("The keys of %s could not be fetched: %s", self._issuer.issuer, error)
            if not self._keys:
                self._next_fetch_at = self._clock() + FIRST_FETCH_SPACING_SECONDS
        else:
            self._fetched_at = self._clock()
            self._keys = keys


def _fetch_keys(issuer: Issuer) -> dict[str, jwt.PyJWK]:
    """Ask the issuer for its signing keys, by id. Raises OSError, HTTPException or ValueError."""
    jwks_uri = issuer.jwks_uri
    if jwks_uri is None:
        discovery = _fetch_json(f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration")
        if discovery.get("issuer") != issuer.issuer:  # OpenID Connect Discovery 1.0 §4.3
            raise ValueError("its discovery document is another issuer's")
        jwks_uri = discovery.get("jwks_uri")
        if not isinstance(jwks_uri, str) or not _is_safe(jwks_uri):
            raise ValueError("its discovery document names no safe jwks_uri")
    entries = _fetch_json(jwks_uri).get("keys")
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else ():
        try:
            key = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, AttributeError, KeyError, TypeError, ValueError):
            continue  # a kind of key that we can't use, beside some that we can
        usable = key.algorithm_name in ALGORITHMS and key.public_key_use in {"sig", None}
        if usable and isinstance(key.key_id, str):
            keys[key.key_id] = key
    if not keys:
        raise ValueError("it publishes no key that can be used")
    return keys


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none: keys come from the place that was named."""


def _fetch_json(url: str) -> dict[str, Any]:
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    # Some issuers' front ends refuse urllib by its name.
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "jennah"})  # noqa: S310 (checked by _is_safe)
    with urllib.request.build_opener(*handlers).open(request, timeout=_FETCH_TIMEOUT_SECONDS) as response:
        body = response.read(_MAX_DOCUMENT_LENGTH + 1)
    if len(body) > _MAX_DOCUMENT_LENGTH:
        raise ValueError("its answer is too long")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("its answer is no JSON object")
    return document


def _require_sound(issuer: Issuer) -> None:
    for url in (issuer.issuer, issuer.jwks_uri):
        if url is not None and not _is_safe(url):
            raise SettingsError(
                f"JENNAH_OIDC_ISSUERS names {url!r}: an issuer needs an https URL (http on loopback only)."
            )
    if not _PROVIDER.fullmatch(issuer.provider):
        raise SettingsError(
            f"JENNAH_OIDC_ISSUERS names the provider {issuer.provider!r}: use 1 to 50 letters, digits, '.', '_' or '-'."
        )


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _bearer_token(header: str | None) -> str:
    if not header:
        raise Unauthenticated("Send a token: `Authorization: Bearer <token>`.")
    match = _BEARER.fullmatch(header) if len(header) <= MAX_HEADER_LENGTH else None
    if match is None:
        raise Unauthenticated("The Authorization header must be `Bearer <token>` with one signed token.")
    return match[1]


def _refuse_unsafe(header: Mapping[str, Any]) -> None:
    if header.get("alg") not in ALGORITHMS:
        raise Unauthenticated("The token's signature algorithm is not accepted.")
    if not _FOREIGN_KEY_HEADERS.isdisjoint(header) or "crit" in header:
        raise Unauthenticated("The token's header asks for what is not accepted.")
    if str(header.get("typ", "JWT")).lower() not in _TOKEN_TYPES:
        raise Unauthenticated("The token is not an ID token or an access token.")


def _verified_claims(token: str, key: jwt.PyJWK, issuer: Issuer) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "exp", "sub"], "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("The token has expired: get a new one.") from None
    except jwt.ImmatureSignatureError:
        raise Unauthenticated("The token is not valid yet: its issuer's clock is ahead of ours.") from None
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"The token lacks the claim {error.claim!r}.") from None
    except jwt.PyJWTError:
        raise Unauthenticated("The token does not verify.") from None


def _identity(issuer: Issuer, claims: Mapping[str, Any]) -> Identity:
    subject = claims["sub"]
    if not _is_storable(subject):
        raise Unauthenticated("The token's subject must be 1 to 255 printable characters.")
    email = claims.get("email")
    if not _is_storable(email):
        return Identity(issuer.provider, subject)
    return Identity(issuer.provider, subject, email, claims.get("email_verified") is True)


def _is_storable(text: object) -> bool:
    """Printable leaves out NUL and other controls, and the lone surrogates that JSON lets through."""
    return isinstance(text, str) and 0 < len(text) <= 255 and text.isprintable()
