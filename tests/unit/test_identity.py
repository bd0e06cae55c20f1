"""What a bearer token must be to prove an identity: the rules for the token itself, and for admission."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from jennah.local.issuer import LocalIssuer, SigningKey, claims_for
from shared.config import Admission, Issuer
from shared.errors import SettingsError, Unauthenticated
from shared.identity import LEEWAY_SECONDS, MAX_HEADER_LENGTH, Identity, TokenVerifier, admits

AUDIENCE = "jennah-local"
STRANGER = SigningKey.generate()

unhurried = settings(deadline=None)  # the machine may be busy


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def verifier(issuer: LocalIssuer) -> TokenVerifier:
    return TokenVerifier([Issuer(issuer.url, AUDIENCE, "local")])


def test_a_good_token_proves_the_identity(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    identity = verifier.verify(f"Bearer {issuer.mint('Ann@Example.com', sub='ann')}")
    assert identity == Identity("local", "ann", "Ann@Example.com", email_verified=True)


# ---- the header --------------------------------------------------------------------------------------------


@given(st.data())
@unhurried
def test_any_changed_character_is_refused(
    issuer: LocalIssuer, verifier: TokenVerifier, data: st.DataObject
) -> None:
    good = f"Bearer {issuer.mint('ann@example.com')}"
    at = data.draw(st.integers(0, len(good) - 1))
    plausible = st.sampled_from("ABCXYZabcxyz0189-_=. ")
    other = data.draw((plausible | st.characters()).filter(lambda character: character != good[at]))
    refuse(verifier, good[:at] + other + good[at + 1 :])


@given(st.data())
@unhurried
def test_a_cut_or_lengthened_header_is_refused(
    issuer: LocalIssuer, verifier: TokenVerifier, data: st.DataObject
) -> None:
    good = f"Bearer {issuer.mint('ann@example.com')}"
    refuse(verifier, good[: data.draw(st.integers(0, len(good) - 1))])
    refuse(verifier, good + data.draw(st.text(min_size=1)))


@given(st.text() | st.text(alphabet="ey.J-_=").map("Bearer {}".format))
@unhurried
def test_no_header_breaks_the_verifier(verifier: TokenVerifier, header: str) -> None:
    refuse(verifier, header)


@pytest.mark.parametrize("scheme", ["", "bearer ", "Bearer  ", "Basic ", "Bearer\t", "Bearer,"])
def test_the_scheme_is_bearer(issuer: LocalIssuer, verifier: TokenVerifier, scheme: str) -> None:
    refuse(verifier, f"{scheme}{issuer.mint('ann@example.com')}")


def test_no_token_and_a_huge_one_are_refused(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    refuse(verifier, None)
    refuse(verifier, "")
    refuse(verifier, f"Bearer {issuer.mint('ann@example.com', padding='x' * MAX_HEADER_LENGTH)}")


# ---- signatures --------------------------------------------------------------------------------------------


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(
    issuer: LocalIssuer, header: dict[str, Any], sign: Callable[[bytes], bytes] = lambda _: b"\0" * 64
) -> str:
    """A token with flawless claims and this header, signed in the attacker's way."""
    content = f"{encoded(header)}.{encoded(claims_for('ann@example.com', issuer=issuer.url))}"
    return f"{content}.{encoded(sign(content.encode()))}"


def public_pem(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def with_hmac(secret: bytes, digest: str = "sha256") -> Callable[[bytes], bytes]:
    return lambda content: hmac.digest(secret, content, digest)


def with_stranger(content: bytes) -> bytes:
    return jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(content, STRANGER.private)


def signature_mutants(issuer: LocalIssuer) -> Iterator[tuple[str, str]]:
    key, good = issuer.keys[-1], issuer.mint("ann@example.com")
    content, _, signature = good.rpartition(".")
    kid = {"kid": key.id}
    nones: list[object] = ["none", "None", "NONE", "nOnE", "", None, [], {}, 0, True]
    for none in nones:
        yield f"alg {none!r}", forged(issuer, {"alg": none, **kid})
        yield f"alg {none!r}, no signature", forged(issuer, {"alg": none, **kid}, lambda _: b"")
    yield "no alg", forged(issuer, kid, with_stranger)
    for algorithm, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for name, secret in {
            "PEM": public_pem(key),
            "PEM without its end": public_pem(key).rstrip(),
            "JWK": json.dumps(key.jwk).encode(),
            "empty": b"",
        }.items():
            yield (
                f"{algorithm} by {name}",
                forged(issuer, {"alg": algorithm, **kid}, with_hmac(secret, digest)),
            )
    yield "ES256 by HMAC", forged(issuer, {"alg": "ES256", **kid}, with_hmac(public_pem(key)))
    for algorithm in ("RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "XX"):
        yield f"said {algorithm}", forged(issuer, {"alg": algorithm, **kid}, with_stranger)
    es256 = {"alg": "ES256", **kid}
    yield "another's key", forged(issuer, es256, with_stranger)
    yield "another's key, its own id", forged(issuer, {**es256, "kid": STRANGER.id}, with_stranger)
    for foreign in ({"jwk": STRANGER.jwk}, {"jku": issuer.url}, {"x5u": issuer.url}, {"x5c": ["MII"]}):
        yield f"another's key, {[*foreign]}", forged(issuer, {**es256, **foreign}, with_stranger)
        yield f"good key, {[*foreign]}", key.sign(claims_for("a@b.c", issuer=issuer.url), foreign)
    bad_ids: list[object] = [None, "", 7, [], {}, [key.id], "../jwks", f"{key.id}\0", "' OR 1=1 --"]
    for bad_id in bad_ids:
        yield f"kid {bad_id!r}", forged(issuer, {"alg": "ES256", "kid": bad_id}, with_stranger)
    yield "no kid", forged(issuer, {"alg": "ES256"}, with_stranger)
    for size in (0, 1, 63, 64, 65, 128):
        yield f"{size} zero bytes", f"{content}.{encoded(bytes(size))}"
    yield "stripped", f"{content}."
    yield "cut", content
    yield "padded", f"{good}=="
    yield "twice", f"{content}.{signature}{signature}"
    yield "JWE", f"{good}.{signature}.{signature}"
    yield "critical", key.sign(claims_for("a@b.c", issuer=issuer.url), {"crit": ["exp"]})
    yield "detached", key.sign(claims_for("a@b.c", issuer=issuer.url), {"b64": False})
    for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt", "JWE", 7, ["JWT"]):
        yield f"typ {kind!r}", key.sign(claims_for("a@b.c", issuer=issuer.url), {"typ": kind})
    yield "header no object", f"{encoded([])}.{content.split('.')[1]}.{signature}"
    yield "header deep", f"{encoded(b'[' * 5000)}.{content.split('.')[1]}.{signature}"
    yield "claims no object", f"{content.split('.')[0]}.{encoded([])}.{signature}"
    yield "claims deep", f"{content.split('.')[0]}.{encoded(b'[' * 5000)}.{signature}"


def test_every_forged_signature_is_refused(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    mutants = dict(signature_mutants(issuer))
    assert len(mutants) >= 60
    for name, token in mutants.items():
        try:
            refuse(verifier, f"Bearer {token}")
        except BaseException as error:
            error.add_note(f"mutant: {name}")
            raise


# ---- claims ------------------------------------------------------------------------------------------------

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
        [AUDIENCE, 7],
        {AUDIENCE: 1},
        7,
    ],
    "exp": [None, 0, -1, EARLIER, "soon", [], {}, True, 1e400, float("nan")],
    "nbf": [LATER, "later", [], 1e400],
    "iat": [LATER, "then", []],
    "sub": [None, "", "x" * 256, "a\0b", "a\nb", "\ud800", "a\u202eb", 7, ["a"], {}, True],
}


@pytest.mark.parametrize(
    ("claim", "at"), [(claim, at) for claim in BAD_CLAIMS for at in range(len(BAD_CLAIMS[claim]))]
)
def test_bad_claims_are_refused(issuer: LocalIssuer, verifier: TokenVerifier, claim: str, at: int) -> None:
    refuse(verifier, f"Bearer {issuer.mint('ann@example.com', **{claim: BAD_CLAIMS[claim][at]})}")


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 3600, "iat": None},  # times are seconds from now
        {"exp": -LEEWAY_SECONDS + 20},  # the clocks may differ so far
        {"nbf": LEEWAY_SECONDS - 20},
        {"iat": LEEWAY_SECONDS - 20},
        {"aud": [AUDIENCE]},
        {"aud": ["other", AUDIENCE], "azp": "other"},
        {"sub": "x" * 255},
        {"nonce": "n", "groups": ["a"], "iss2": {}},
    ],
    ids="-".join,
)
def test_fair_claims_are_accepted(
    issuer: LocalIssuer, verifier: TokenVerifier, changed: dict[str, Any]
) -> None:
    now = int(time.time())
    claims = {name: now + value if isinstance(value, int) else value for name, value in changed.items()}
    assert verifier.verify(f"Bearer {issuer.mint('ann@example.com', **claims)}").provider == "local"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
claim_names = st.sampled_from(
    ["iss", "aud", "exp", "sub", "iat", "nbf", "jti", "azp", "email", "email_verified"]
)


@given(st.dictionaries(claim_names, json_values, max_size=3))
@unhurried
def test_whatever_an_issuer_signs_is_an_identity_or_refused(
    issuer: LocalIssuer, verifier: TokenVerifier, changed: dict[str, Any]
) -> None:
    claims = {**claims_for("ann@example.com", issuer=issuer.url), **changed}
    try:
        identity = verifier.verify(f"Bearer {issuer.keys[-1].sign(claims)}")
    except Unauthenticated:
        return
    assert identity.provider == "local"
    assert identity.subject == claims["sub"]
    assert 1 <= len(identity.subject.encode()) <= 4 * 255
    assert identity.email_verified is (identity.email is not None and claims["email_verified"] is True)


@pytest.mark.parametrize("email", ["", "x" * 256, "a\0@b.c", "a\n@b.c", "\ud800@b.c", 7, ["a@b.c"], None])
def test_an_unfit_address_is_ignored(issuer: LocalIssuer, verifier: TokenVerifier, email: object) -> None:
    identity = verifier.verify(f"Bearer {issuer.mint('ann@example.com', sub='ann', email=email)}")
    assert identity == Identity("local", "ann", None, email_verified=False)


@pytest.mark.parametrize("verified", [None, False, "true", 1, "True", []])
def test_only_true_verifies_an_address(
    issuer: LocalIssuer, verifier: TokenVerifier, verified: object
) -> None:
    assert not verifier.verify(
        f"Bearer {issuer.mint('ann@example.com', email_verified=verified)}"
    ).email_verified


def test_one_subject_at_two_issuers_is_two_identities(issuer: LocalIssuer) -> None:
    with LocalIssuer() as other:
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        both = TokenVerifier([Issuer(issuer.url, AUDIENCE, "one"), Issuer(other.url, AUDIENCE, "two")])
        at_one = both.verify(f"Bearer {issuer.mint('ann@example.com', sub='ann')}")
        at_two = both.verify(f"Bearer {other.mint('ann@example.com', sub='ann')}")
        refuse(both, f"Bearer {issuer.mint('ann@example.com', iss=other.url)}")  # each only for itself
        other.shutdown()
    assert (at_one.provider, at_two.provider) == ("one", "two")
    assert at_one != at_two


def test_one_issuer_may_serve_two_audiences(issuer: LocalIssuer) -> None:
    both = TokenVerifier([Issuer(issuer.url, "cli", "staff"), Issuer(issuer.url, "web", "guests")])
    assert both.verify(f"Bearer {issuer.mint('a@b.c', aud='web')}").provider == "guests"
    assert both.verify(f"Bearer {issuer.mint('a@b.c', aud='cli')}").provider == "staff"
    refuse(both, f"Bearer {issuer.mint('a@b.c', aud='other')}")


def test_without_issuers_nobody_is_known(issuer: LocalIssuer) -> None:
    refuse(TokenVerifier([]), f"Bearer {issuer.mint('ann@example.com')}")


@pytest.mark.parametrize(
    "bad",
    [
        Issuer("http://accounts.example.com", "a", "p"),
        Issuer("http://127.0.0.1.example.com", "a", "p"),
        Issuer("ftp://127.0.0.1", "a", "p"),
        Issuer("accounts.google.com", "a", "p"),
        Issuer("https://", "a", "p"),
        Issuer("https://[", "a", "p"),
        Issuer("https://accounts.example.com", "a", "p", jwks_uri="http://accounts.example.com/jwks"),
        Issuer("https://accounts.example.com", "a", "p", jwks_uri="file:///etc/passwd"),
        Issuer("https://accounts.example.com", "a", "a:b"),
        Issuer("https://accounts.example.com", "a", "p" * 51),
    ],
    ids=str,
)
def test_an_unfit_issuer_is_refused_at_start(bad: Issuer) -> None:
    with pytest.raises(SettingsError, match="JENNAH_OIDC_ISSUERS"):
        TokenVerifier([bad])


def refuse(verifier: TokenVerifier, header: str | None) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        verifier.verify(header)
    token = (header or "").removeprefix("Bearer ")
    assert len(token) < 8 or token not in refusal.value.message
    assert len(refusal.value.message) < 120


# ---- admission ---------------------------------------------------------------------------------------------

identities = st.builds(
    Identity,
    provider=st.sampled_from(["google", "local"]),
    subject=st.sampled_from(["ann", "bob", "google:ann"]),
    email=st.sampled_from(
        [None, "ann@example.com", "Ann@Example.COM", "ann@mail.example.com", "example.com", "a@b@example.com"]
    ),
    email_verified=st.booleans(),
)


@given(identities)
def test_an_empty_setting_admits_nobody(identity: Identity) -> None:
    assert not admits(Admission(), identity)
    assert admits(Admission(everyone=True), identity)


@given(identities)
def test_addresses_admit_only_when_verified(identity: Identity) -> None:
    by_email = Admission(emails=frozenset({"ann@example.com"}))
    named = identity.email is not None and identity.email.lower() == "ann@example.com"
    assert admits(by_email, identity) == (named and identity.email_verified)
    by_domain = Admission(domains=frozenset({"example.com"}))
    assert admits(by_domain, identity) == (named and identity.email_verified)


@given(identities)
def test_a_subject_admits_with_its_provider(identity: Identity) -> None:
    admission = Admission(subjects=frozenset({"google:ann"}))
    assert admits(admission, identity) == (identity.provider == "google" and identity.subject == "ann")


@pytest.mark.parametrize("email", ["\u212aim@example.com", "kim@\u212aelvin.com"])
def test_lookalikes_beyond_ascii_are_not_folded(email: str) -> None:
    admission = Admission(emails=frozenset({"kim@example.com"}), domains=frozenset({"kelvin.com"}))
    assert not admits(admission, Identity("local", "kim", email, email_verified=True))


def test_the_local_subject_follows_the_address() -> None:
    one, same, other = (claims_for(email, issuer="i")["sub"] for email in ("A@b.c", "a@B.c", "b@b.c"))
    assert one == same != other
    assert one == hashlib.sha256(b"a@b.c").hexdigest()[:32]
