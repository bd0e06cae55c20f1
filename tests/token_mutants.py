"""Tokens that must not prove anything: each a good one with one thing wrong.

The issuer has signed them wherever that makes them harder to refuse.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from jennah.local.issuer import DEFAULT_AUDIENCE, LocalIssuer, SigningKey, claims_for
from shared.identity import LEEWAY_SECONDS, MAX_HEADER_LENGTH

STRANGER = SigningKey.generate()

NOW = int(time.time())
# Far enough that a test that runs minutes after its import finds them bad all the same.
LATER, EARLIER = NOW + 86_400, NOW - LEEWAY_SECONDS - 5

BAD_CLAIMS: dict[str, list[object]] = {  # None: left out
    "iss": [None, "", "https://accounts.google.com", "http://127.0.0.1", ["x"], 7],
    "aud": [
        None,
        "",
        "other",
        "Jennah-local",
        "jennah-local ",
        [],
        ["other"],
        [DEFAULT_AUDIENCE, 7],
        {DEFAULT_AUDIENCE: 1},
        7,
    ],
    "exp": [None, 0, -1, EARLIER, "soon", str(LATER), [], {}, True, 1e400, float("nan")],
    "nbf": [LATER, "later", str(NOW), True, [], 1e400],
    "iat": [LATER, "then", str(NOW), []],
    "sub": [None, "", "x" * 256, "a\0b", "a\nb", "\ud800", "a\u202eb", 7, ["a"], {}, True],
}


def mutants(issuer: LocalIssuer) -> dict[str, str]:
    """Every one, as the value of an `Authorization` header, by what is wrong with it."""
    made = {name: f"Bearer {token}" for name, token in _tokens(issuer)}
    made |= dict(_headers(issuer.mint("ann@example.com")))
    for claim, values in BAD_CLAIMS.items():
        for value in values:
            token = issuer.mint("ann@example.com", **{claim: value})
            made[f"{claim} {str(value)[:20]!r} {type(value).__name__}"] = f"Bearer {token}"
    return made


def _tokens(issuer: LocalIssuer) -> Iterator[tuple[str, str]]:
    yield from _algorithms(issuer)
    yield from _keys(issuer)
    yield from _signatures(issuer)
    yield from _shapes(issuer)


def _encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _forged(
    issuer: LocalIssuer, header: dict[str, Any], sign: Callable[[bytes], bytes] = lambda _: b"\0" * 64
) -> str:
    """A token with flawless claims and this header, signed in the attacker's way."""
    content = f"{_encoded(header)}.{_encoded(claims_for('ann@example.com', issuer=issuer.url))}"
    return f"{content}.{_encoded(sign(content.encode()))}"


def _signed(key: SigningKey, header: bytes, claims: bytes) -> str:
    """A token of these very bytes, signed as they are."""
    content = f"{_encoded(header)}.{_encoded(claims)}"
    return f"{content}.{_encoded(_with(key)(content.encode()))}"


def _with(key: SigningKey) -> Callable[[bytes], bytes]:
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return lambda content: algorithm.sign(content, key.private)


def _public_pem(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _hmac(secret: bytes, digest: str = "sha256") -> Callable[[bytes], bytes]:
    return lambda content: hmac.digest(secret, content, digest)


def _algorithms(issuer: LocalIssuer) -> Iterator[tuple[str, str]]:
    key = issuer.keys[-1]
    kid = {"kid": key.id}
    nones: list[object] = ["none", "None", "NONE", "nOnE", "", None, [], {}, 0, True]
    for none in nones:
        yield f"alg {none!r}", _forged(issuer, {"alg": none, **kid})
        yield f"alg {none!r}, no signature", _forged(issuer, {"alg": none, **kid}, lambda _: b"")
    yield "no alg", _forged(issuer, kid, _with(STRANGER))
    for algorithm, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for name, secret in {
            "PEM": _public_pem(key),
            "PEM without its end": _public_pem(key).rstrip(),
            "JWK": json.dumps(key.jwk).encode(),
            "empty": b"",
        }.items():
            yield f"{algorithm} by {name}", _forged(issuer, {"alg": algorithm, **kid}, _hmac(secret, digest))
    yield "ES256 by HMAC", _forged(issuer, {"alg": "ES256", **kid}, _hmac(_public_pem(key)))
    for algorithm in ("RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "XX"):
        yield f"said {algorithm}", _forged(issuer, {"alg": algorithm, **kid}, _with(STRANGER))
        yield f"said {algorithm}, good key", _forged(issuer, {"alg": algorithm, **kid}, _with(key))


def _keys(issuer: LocalIssuer) -> Iterator[tuple[str, str]]:
    key = issuer.keys[-1]
    es256 = {"alg": "ES256", "kid": key.id}
    yield "another's key", _forged(issuer, es256, _with(STRANGER))
    yield "another's key, its own id", _forged(issuer, {**es256, "kid": STRANGER.id}, _with(STRANGER))
    for foreign in ({"jwk": STRANGER.jwk}, {"jku": issuer.url}, {"x5u": issuer.url}, {"x5c": ["MII"]}):
        yield f"another's key, {[*foreign]}", _forged(issuer, {**es256, **foreign}, _with(STRANGER))
        yield f"good key, {[*foreign]}", key.sign(claims_for("a@b.c", issuer=issuer.url), foreign)
    bad_ids: list[object] = [
        None,
        "",
        7,
        [],
        {},
        [key.id],
        "../jwks",
        f"{key.id}\0",
        "' OR 1=1 --",
        "x" * 9000,
    ]
    for bad_id in bad_ids:
        name = f"kid {str(bad_id)[:20]!r} {type(bad_id).__name__}"
        yield name, _forged(issuer, {"alg": "ES256", "kid": bad_id}, _with(STRANGER))
    yield "no kid", _forged(issuer, {"alg": "ES256"}, _with(STRANGER))
    yield "no kid, good key", _forged(issuer, {"alg": "ES256"}, _with(key))


def _signatures(issuer: LocalIssuer) -> Iterator[tuple[str, str]]:
    good = issuer.mint("ann@example.com")
    content, _, signature = good.rpartition(".")
    for size in (0, 1, 63, 64, 65, 128):
        yield f"{size} zero bytes", f"{content}.{_encoded(bytes(size))}"
    yield "stripped", f"{content}."
    yield "cut", content
    yield "padded", f"{good}=="
    yield "twice", f"{content}.{signature}{signature}"
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    yield "DER", f"{content}.{_encoded(encode_dss_signature(r, s))}"
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
    yield "halves changed round", f"{content}.{_encoded(raw[32:] + raw[:32])}"
    for part, name in enumerate(("header", "claims", "signature")):
        parts = good.split(".")
        flipped = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
        flipped[len(flipped) // 2] ^= 1
        parts[part] = _encoded(bytes(flipped))
        yield f"a bit of the {name} flipped", ".".join(parts)
    other = issuer.mint("bob@example.com")
    yield "another token's signature", f"{content}.{other.rpartition('.')[2]}"
    yield "another token's claims", f"{good.split('.')[0]}.{other.split('.')[1]}.{signature}"


def _shapes(issuer: LocalIssuer) -> Iterator[tuple[str, str]]:
    key, good = issuer.keys[-1], issuer.mint("ann@example.com")
    content, _, signature = good.rpartition(".")
    header, claims = content.split(".")
    fair = claims_for("a@b.c", issuer=issuer.url)
    yield "JWE", f"{good}.{signature}.{signature}"
    yield "JWE's header", _forged(issuer, {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": key.id}, _with(key))
    yield "critical", key.sign(fair, {"crit": ["exp"]})
    yield "critical, empty", key.sign(fair, {"crit": []})
    yield "detached", key.sign(fair, {"b64": False})
    for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt", "JWE", 7, ["JWT"]):
        yield f"typ {kind!r}", key.sign(fair, {"typ": kind})
    yield "token in a token", _signed(key, json.dumps(dict(_header(key), cty="JWT")).encode(), good.encode())
    yield "header no object", f"{_encoded([])}.{claims}.{signature}"
    yield "header deep", f"{_encoded(b'[' * 5000)}.{claims}.{signature}"
    yield "claims no object", f"{header}.{_encoded([])}.{signature}"
    yield "claims deep", f"{header}.{_encoded(b'[' * 5000)}.{signature}"
    # Which of two names counts is anybody's guess; what was checked must be what was signed.
    text, said = json.dumps(fair), json.dumps(_header(key))
    yield "alg twice", _signed(key, said.replace("{", '{"alg": "none", ', 1).encode(), text.encode())
    yield "kid twice", _signed(key, said.replace("{", '{"kid": "x", ', 1).encode(), text.encode())
    for name, value in {
        "aud": '"other"',
        "iss": '"x"',
        "exp": "1",
        "sub": '"bob"',
        "email": '"b@c.d"',
    }.items():
        twice = text.replace("{", f'{{"{name}": {value}, ', 1)
        yield f"{name} twice", _signed(key, said.encode(), twice.encode())
    yield "claims in UTF-16", _signed(key, said.encode(), text.encode("utf-16"))
    yield "header in UTF-16", _signed(key, said.encode("utf-16"), text.encode())
    yield "claims with a byte order mark", _signed(key, said.encode(), b"\xef\xbb\xbf" + text.encode())
    yield "claims no UTF-8", _signed(key, said.encode(), text.replace("a@b.c", "\xff").encode("latin-1"))
    yield "claims with NaN", _signed(key, said.encode(), text.replace("{", '{"x": NaN, ', 1).encode())
    yield "claims with more behind", _signed(key, said.encode(), text.encode() + b"{}")


def _header(key: SigningKey) -> dict[str, str]:
    return {"alg": "ES256", "kid": key.id, "typ": "JWT"}


def _headers(good: str) -> Iterator[tuple[str, str]]:
    for scheme in ("", "Bear ", "Bearer  ", "Basic ", "Bearer\t", "Bearer,", "Bearer Bearer "):
        yield f"scheme {scheme!r}", f"{scheme}{good}"
    yield "no token", "Bearer"
    yield "two tokens", f"Bearer {good}, Bearer {good}"
    yield "two tokens, one scheme", f"Bearer {good} {good}"
    header, claims, signature = good.split(".")
    flat = {"protected": header, "payload": claims, "signature": signature}
    yield "as JSON", f"Bearer {json.dumps(flat)}"
    two = [{"protected": header, "signature": signature}] * 2
    yield "as JSON with two signatures", f"Bearer {json.dumps({'payload': claims, 'signatures': two})}"
    yield "too long", f"Bearer {good}{'A' * MAX_HEADER_LENGTH}"
