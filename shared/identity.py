"""Who calls, and whether they may: an OpenID Connect token, verified, becomes an `Identity`.

An identity is the provider's name with the issuer's subject: addresses change hands, and a subject means
nothing outside its issuer. Nothing of a token is believed before its signature, except which key to try.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import jwt

from shared.callers import Identity, Issuer, OperatorClaim, Operators, admits
from shared.errors import SettingsError, Unauthenticated
from shared.signing_keys import ALGORITHMS, SigningKeys, is_safe

MAX_HEADER_LENGTH = 8000
"""Of the `Authorization` header's value. The web server (gunicorn) takes little more: it answers 431."""
LEEWAY_SECONDS = 30
"""How far an issuer's clock may be from ours."""

_BEARER = re.compile(r"(?i:Bearer) ([\w-]+\.[\w-]+\.[\w-]+)", re.ASCII)
_PROVIDER = re.compile(r"[A-Za-z0-9._-]{1,50}")  # no colon: admission writes "provider:subject"

# OpenID Connect Core 1.0 §2: an issuer's keys come from discovery alone, never with the token.
_FOREIGN_KEY_HEADERS = frozenset({"jwk", "jku", "x5c", "x5u"})
# RFC 8725 §3.11: a signed statement of another type (a logout token, say) is no proof of who calls.
_TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})


class TokenVerifier:
    """Verifies bearer tokens against the configured issuers. Safe to share between threads.

    Making one reaches nobody: an issuer is asked for its keys when its first token arrives.

    Raises:
        SettingsError: an issuer's URL is neither https nor on this machine, or a provider's name is unfit.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        operators: Operators = Operators(),  # noqa: B008 - a constant: it is frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers = tuple(issuers)
        self._operators = operators
        self._keys: dict[tuple[str, str | None], SigningKeys] = {}
        for issuer in self._issuers:
            _require_sound(issuer)
            source = (issuer.issuer, issuer.jwks_uri)
            self._keys.setdefault(source, SigningKeys(*source, clock))

    def verify(self, authorization_header: str | None) -> Identity:
        """The identity that the value of an `Authorization` header proves.

        Raises:
            Unauthenticated: there is no token, or it does not hold. The message says what to do and repeats
                nothing of the token.
            Unavailable: the issuer's keys can't be had now.
        """
        token = _bearer_token(authorization_header)
        header, unverified, _ = token.split(".")
        key_id = _safe_key_id(_json_object(header))
        issuer = self._issuer_of(_json_object(unverified))
        key = self._keys[issuer.issuer, issuer.jwks_uri].find(key_id)
        if key is None:
            raise Unauthenticated("The token is signed with a key that its issuer does not publish.")
        claims = _verified_claims(token, key, issuer)
        identity = _identity(issuer, claims)
        operator = admits(self._operators.listed, identity) or _holds(self._operators.claim, issuer, claims)
        return replace(identity, operator=operator)

    def _issuer_of(self, claims: Mapping[str, Any]) -> Issuer:
        """The configured issuer that the token names; of several with one URL, the first it was made for."""
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
        raise Unauthenticated("The token was made for another program: ask its issuer for our audience.")


def _require_sound(issuer: Issuer) -> None:
    for url in (issuer.issuer, issuer.jwks_uri):
        if url is not None and not is_safe(url):
            raise SettingsError(
                f"JENNAH_OIDC_ISSUERS names {url!r}: an issuer needs an https URL (http only on loopback)."
            )
    if not _PROVIDER.fullmatch(issuer.provider):
        raise SettingsError(
            f"JENNAH_OIDC_ISSUERS names the provider {issuer.provider!r}: "
            "use 1 to 50 letters, digits, '.', '_' or '-'."
        )


def _bearer_token(header: str | None) -> str:
    if not header:
        raise Unauthenticated("Send a token: `Authorization: Bearer <token>`.")
    match = _BEARER.fullmatch(header) if len(header) <= MAX_HEADER_LENGTH else None
    if match is None:
        raise Unauthenticated("The Authorization header must be `Bearer <token>` with one signed token.")
    return match[1]


def _json_object(segment: str) -> dict[str, Any]:
    """A part of a token. Not PyJWT's reading of it: of a name that comes twice, that takes the last."""
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unauthenticated("The bearer token is not a JSON Web Token.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _safe_key_id(header: Mapping[str, Any]) -> str:
    if header.get("alg") not in ALGORITHMS:
        raise Unauthenticated("The token's signature algorithm is not accepted.")
    if not _FOREIGN_KEY_HEADERS.isdisjoint(header) or "crit" in header:
        raise Unauthenticated("The token's header asks for what is not accepted.")
    if str(header.get("typ", "JWT")).lower() not in _TOKEN_TYPES:
        raise Unauthenticated("The token is neither an ID token nor an access token.")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise Unauthenticated("The token does not say which key it is signed with.")
    return key_id


def _verified_claims(token: str, key: jwt.PyJWK, issuer: Issuer) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
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
    if any(isinstance(claims.get(name), str | bool) for name in ("exp", "nbf", "iat")):  # PyJWT converts them
        raise Unauthenticated("The token's times must be numbers.")
    return claims


def _holds(claim: OperatorClaim | None, issuer: Issuer, claims: Mapping[str, Any]) -> bool:
    if claim is None or claim.provider != issuer.provider:
        return False
    value = claims.get(claim.name)
    return claim.value in value if isinstance(value, list) else value == claim.value


def _identity(issuer: Issuer, claims: Mapping[str, Any]) -> Identity:
    subject, email = claims["sub"], claims.get("email")
    if not _is_storable(subject):
        raise Unauthenticated("The token's subject must be 1 to 255 printable characters.")
    if not _is_storable(email):
        return Identity(issuer.provider, subject)
    return Identity(issuer.provider, subject, email, claims.get("email_verified") is True)


def _is_storable(text: object) -> bool:
    """Printable leaves out NUL and other controls, and the lone surrogates that JSON lets through."""
    return isinstance(text, str) and 0 < len(text) <= 255 and text.isprintable()
