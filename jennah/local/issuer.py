"""The OpenID Connect issuer of the local cloud: it gives anybody on this machine a token for any address.

`python -m jennah.local.issuer --port P --directory DIR` serves, on the loopback interface only,

- `GET /.well-known/openid-configuration` and `GET /jwks`, as every issuer does;
- `POST /token` with JSON `{"email": …, "audience"?: …, "lifetime_seconds"?: …}`, answered by
  `{"id_token": …, "token_type": "Bearer", "expires_in": …}`. A negative lifetime gives an expired token.

The signing key is kept in DIR, so that tokens and cached keys survive a restart. Nothing is printed when it
is ready: ask for the discovery document.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

DEFAULT_AUDIENCE = "jennah-local"
DEFAULT_LIFETIME_SECONDS = 3600
PROVIDER = "local"

_MAX_BODY_BYTES = 64 * 1024
_MAX_LIFETIME_SECONDS = 10 * 365 * 86_400
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})


def issuer_settings(url: str, audience: str = DEFAULT_AUDIENCE) -> str:
    """The value of JENNAH_OIDC_ISSUERS that accepts this issuer's tokens."""
    return json.dumps([{"issuer": url, "audience": audience, "provider": PROVIDER}])


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A P-256 key (made in a millisecond, where an RSA key takes a hundred) and the id that names it."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> Self:
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def kept_in(cls, directory: Path) -> Self:
        """The key in this directory, made if there is none."""
        path = directory / "issuer-key.pem"
        if path.exists():
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if isinstance(private, ec.EllipticCurvePrivateKey):
                return cls(private)
        key = cls.generate()
        directory.mkdir(parents=True, exist_ok=True)
        pem = key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        unfinished = path.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(pem)
        unfinished.replace(path)
        return key

    @property
    def id(self) -> str:
        """A fingerprint of the public key."""
        numbers = self.private.public_key().public_numbers()
        return hashlib.sha256(f"{numbers.x:x}.{numbers.y:x}".encode()).hexdigest()[:16]

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as the issuer publishes it."""
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.id, "use": "sig", "alg": "ES256"}

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """A token that says just this; `headers` are added to, or replace, `kid` and `typ`."""
        # Not jwt.encode: it would refuse some claims that a test wants to see refused elsewhere.
        payload = json.dumps(claims).encode()
        return jwt.PyJWS().encode(payload, self.private, "ES256", {"kid": self.id, **(headers or {})})


def claims_for(
    email: str,
    *,
    issuer: str,
    audience: str = DEFAULT_AUDIENCE,
    lifetime_seconds: float = DEFAULT_LIFETIME_SECONDS,
) -> dict[str, Any]:
    """The claims of an ID token for an address. One address, whatever its capitals, is one subject."""
    now = int(time.time())
    return {
        "iss": issuer,
        "aud": audience,
        "sub": hashlib.sha256(email.lower().encode()).hexdigest()[:32],
        "email": email,
        "email_verified": True,
        "iat": min(now, now + int(lifetime_seconds)),
        "exp": now + int(lifetime_seconds),
    }


class LocalIssuer(ThreadingHTTPServer):
    """The issuer's server, on 127.0.0.1. `keys` are published, and the last one signs: append one to rotate.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, *keys: SigningKey) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.keys = list(keys) or [SigningKey.generate()]

    @property
    def url(self) -> str:
        """The issuer's name and address."""
        return f"http://127.0.0.1:{self.server_port}"

    def mint(self, email: str, /, **changed: object) -> str:
        """A token for an address, with some claims changed, or left out where they are None."""
        claims = {**claims_for(email, issuer=self.url), **changed}
        return self.keys[-1].sign({name: value for name, value in claims.items() if value is not None})


class _BadRequest(Exception):
    """Answered by 400 with its text."""


class _Handler(BaseHTTPRequestHandler):
    server: LocalIssuer
    protocol_version = "HTTP/1.1"
    timeout = 10
    server_version = "jennah-issuer"

    def do_GET(self) -> None:
        if self._is_local():
            document = self._documents().get(urlsplit(self.path).path)
            if document is None:
                self._answer(HTTPStatus.NOT_FOUND, {"error": "not_found"})
            else:
                self._answer(HTTPStatus.OK, document)

    def do_POST(self) -> None:
        self.close_connection = True  # a body that is refused stays unread
        if not self._is_local():
            return
        if urlsplit(self.path).path != "/token":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "not_found"})
            return
        try:
            claims = self._requested_claims()
        except _BadRequest as error:
            self._answer(
                HTTPStatus.BAD_REQUEST, {"error": "invalid_request", "error_description": str(error)}
            )
            return
        token = self.server.keys[-1].sign(claims)
        lifetime = claims["exp"] - int(time.time())
        self._answer(HTTPStatus.OK, {"id_token": token, "token_type": "Bearer", "expires_in": lifetime})

    def _documents(self) -> dict[str, dict[str, Any]]:
        url = self.server.url
        return {
            "/.well-known/openid-configuration": {
                "issuer": url,
                "jwks_uri": f"{url}/jwks",
                "token_endpoint": f"{url}/token",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            },
            "/jwks": {"keys": [key.jwk for key in self.server.keys]},
        }

    def _is_local(self) -> bool:
        """Refuse a browser that was led here by another site's name: its scripts could read the token."""
        try:
            local = urlsplit(f"//{self.headers.get('Host', '')}").hostname in _LOOPBACK
        except ValueError:
            local = False
        if not local:
            self.close_connection = True
            self._answer(HTTPStatus.FORBIDDEN, {"error": "this issuer serves its own machine only"})
        return local

    def _requested_claims(self) -> dict[str, Any]:
        # A form of another site can't send this type without asking first.
        if self.headers.get_content_type() != "application/json":
            raise _BadRequest("send Content-Type: application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > _MAX_BODY_BYTES:
            raise _BadRequest(f"send a body of at most {_MAX_BODY_BYTES} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise _BadRequest("the body is not JSON") from None
        if not isinstance(body, dict) or body.keys() - {"email", "audience", "lifetime_seconds"}:
            raise _BadRequest("the body is an object with email, audience, lifetime_seconds")
        email, audience = body.get("email"), body.get("audience", DEFAULT_AUDIENCE)
        lifetime = body.get("lifetime_seconds", DEFAULT_LIFETIME_SECONDS)
        if not isinstance(email, str) or not 3 <= len(email) <= 255 or "@" not in email:
            raise _BadRequest("email: an address of at most 255 characters")
        if not email.isprintable():
            raise _BadRequest("email: printable characters only")
        if not isinstance(audience, str) or not audience:
            raise _BadRequest("audience: a string")
        if type(lifetime) is not int or abs(lifetime) > _MAX_LIFETIME_SECONDS:
            raise _BadRequest("lifetime_seconds: a whole number of seconds")
        return claims_for(email, issuer=self.server.url, audience=audience, lifetime_seconds=lifetime)

    def _answer(self, status: HTTPStatus, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what is asked for here is of no interest, and a token never belongs in a log."""


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m jennah.local.issuer", description="The test issuer.")
    parser.add_argument("--port", type=int, required=True, help="where to listen on 127.0.0.1; 0: any")
    parser.add_argument("--directory", type=Path, required=True, help="where the signing key is kept")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        key = SigningKey.kept_in(options.directory)
    except (OSError, ValueError) as error:
        sys.exit(f"The test issuer's key in {options.directory} is of no use ({error}): delete that folder.")
    try:
        server = LocalIssuer(options.port, key)
    except (OSError, OverflowError) as error:
        sys.exit(f"The test issuer can't listen on port {options.port} ({error}): choose another by --port.")
    with server:
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main()
