"""What a bearer token must be to prove an identity: the rules for the token itself, and for admission."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jennah.local.issuer import LocalIssuer, claims_for
from shared.callers import Admission, Identity, Issuer, OperatorClaim, Operators, admits
from shared.errors import SettingsError, Unauthenticated
from shared.identity import LEEWAY_SECONDS, MAX_HEADER_LENGTH, TokenVerifier
from tests.token_mutants import mutants

AUDIENCE = "jennah-local"

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
    same = good[at].swapcase() if at < len("Bearer") else good[at]
    others = (plausible | st.characters()).filter(lambda character: character not in {good[at], same})
    other = data.draw(others)
    refuse(verifier, good[:at] + other + good[at + 1 :])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_known_whatever_its_case(
    issuer: LocalIssuer, verifier: TokenVerifier, scheme: str
) -> None:
    assert verifier.verify(f"{scheme} {issuer.mint('ann@example.com')}").provider == "local"


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


def test_no_token_and_a_huge_one_are_refused(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    refuse(verifier, None)
    refuse(verifier, "")
    refuse(verifier, f"Bearer {issuer.mint('ann@example.com', padding='x' * MAX_HEADER_LENGTH)}")


# ---- mutants ----------------------------------------------------------------------------------------------


def test_every_mutant_is_refused(issuer: LocalIssuer, verifier: TokenVerifier) -> None:
    made = mutants(issuer)
    assert len(made) >= 150
    for name, header in made.items():
        try:
            refuse(verifier, header)
        except BaseException as error:
            error.add_note(f"mutant: {name}")
            raise


# ---- claims ------------------------------------------------------------------------------------------------


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


# ---- operators ---------------------------------------------------------------------------------------------


def operator(issuer: LocalIssuer, operators: Operators, provider: str = "local", **claims: object) -> bool:
    verifier = TokenVerifier([Issuer(issuer.url, AUDIENCE, provider)], operators=operators)
    return verifier.verify(f"Bearer {issuer.mint('ann@example.com', sub='ann', **claims)}").operator


def test_nobody_operates_the_platform_unless_a_setting_says_so(issuer: LocalIssuer) -> None:
    assert not operator(issuer, Operators(), roles=["operator"], operator=True, email="root@example.com")


def test_operators_are_listed_as_admission_lists_callers(issuer: LocalIssuer) -> None:
    by_email = Operators(Admission(emails=frozenset({"ann@example.com"})))
    assert operator(issuer, by_email)
    assert not operator(issuer, by_email, email_verified=False)
    assert not operator(issuer, by_email, email="bob@example.com")
    by_subject = Operators(Admission(subjects=frozenset({"local:ann"})))
    assert operator(issuer, by_subject, email=None)
    assert not operator(issuer, by_subject, provider="other")


ROLE = OperatorClaim("roles", "jennah-operator", "local")


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ("jennah-operator", True),
        (["a", "jennah-operator"], True),
        (None, False),
        ("", False),
        ("jennah-operators", False),
        ("Jennah-Operator", False),
        ("a jennah-operator", False),
        ([], False),
        (["jennah"], False),
        ([["jennah-operator"]], False),
        ({"jennah-operator": True}, False),
        (True, False),
        (7, False),
    ],
    ids=str,
)
def test_a_claim_makes_an_operator(issuer: LocalIssuer, value: object, holds: bool) -> None:
    assert operator(issuer, Operators(claim=ROLE), roles=value) is holds
    # Another issuer may let everybody choose it.
    assert not operator(issuer, Operators(claim=ROLE), provider="other", roles=value)


def test_operators_are_admitted() -> None:
    assert admits(Admission(), Identity("local", "ann", operator=True))


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
