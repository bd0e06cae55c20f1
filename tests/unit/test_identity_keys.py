"""An issuer's keys: asked for seldom, whatever arrives, and kept through its outages."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from jennah.local.issuer import LocalIssuer, SigningKey, claims_for
from shared.callers import Issuer
from shared.errors import Unauthenticated, Unavailable
from shared.identity import TokenVerifier
from shared.signing_keys import (
    FETCH_SPACING_SECONDS,
    FIRST_FETCH_SPACING_SECONDS,
    FRESH_SECONDS,
    USABLE_SECONDS,
)

AUDIENCE = "jennah-local"
STRANGER = SigningKey.generate()

unhurried = settings(deadline=None)  # the machine may be busy

Server = TypeVar("Server", bound=ThreadingHTTPServer)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingIssuer(LocalIssuer):
    """Counts requests, and holds them while `open` is not set."""

    def __init__(self, port: int = 0, *keys: SigningKey) -> None:
        super().__init__(port, *keys)
        self.served = 0
        self.arrival = threading.Condition()
        self.open = threading.Event()
        self.open.set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.arrival:
            self.served += 1
            self.arrival.notify_all()
        self.open.wait(20)
        super().process_request(request, client_address)

    @property
    def fetches(self) -> int:
        """A fetch is two requests: the discovery document and the keys."""
        return (self.served + 1) // 2


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def issuer() -> Iterator[CountingIssuer]:
    with serving(CountingIssuer()) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def verifier_of(issuer: LocalIssuer, clock: Clock) -> TokenVerifier:
    return TokenVerifier([Issuer(issuer.url, AUDIENCE, "local")], clock=clock)


def accept(verifier: TokenVerifier, token: str) -> None:
    assert verifier.verify(f"Bearer {token}").provider == "local"


def unknown_key(issuer: LocalIssuer) -> str:
    return STRANGER.sign(claims_for("ann@example.com", issuer=issuer.url))


def test_keys_are_fetched_once_an_hour(issuer: CountingIssuer, clock: Clock) -> None:
    verifier = verifier_of(issuer, clock)
    assert issuer.fetches == 0  # starting needs no issuer
    token = issuer.mint("ann@example.com")
    for _ in range(30):
        accept(verifier, token)
        clock.now += FRESH_SECONDS / 30
    assert issuer.fetches == 1
    accept(verifier, token)
    assert issuer.fetches == 2


def test_threads_that_start_together_fetch_once(issuer: CountingIssuer, clock: Clock) -> None:
    verifier, token = verifier_of(issuer, clock), issuer.mint("ann@example.com")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: accept(verifier, token), range(64)))
    assert issuer.fetches == 1


def test_unknown_keys_do_not_flood_the_issuer(issuer: CountingIssuer, clock: Clock) -> None:
    verifier = verifier_of(issuer, clock)
    minutes = 5
    for _ in range(minutes):
        for at in range(60):
            token = STRANGER.sign(claims_for("a@b.c", issuer=issuer.url), {"kid": f"{clock.now}.{at}"})
            with pytest.raises(Unauthenticated, match="does not publish"):
                verifier.verify(f"Bearer {token}")
            clock.now += FETCH_SPACING_SECONDS / 60
    assert issuer.fetches <= minutes + 1


def test_strange_issuers_and_algorithms_are_refused_without_a_fetch(
    issuer: CountingIssuer, clock: Clock
) -> None:
    verifier = verifier_of(issuer, clock)
    for token in (
        issuer.mint("a@b.c", iss="https://elsewhere.example.com"),
        issuer.mint("a@b.c", aud="other"),
        jwt.encode(claims_for("a@b.c", issuer=issuer.url), "s" * 32, "HS256", {"kid": "k"}),
        jwt.encode(claims_for("a@b.c", issuer=issuer.url), "", "none", {"kid": "k"}),
    ):
        with pytest.raises(Unauthenticated):
            verifier.verify(f"Bearer {token}")
    assert issuer.fetches == 0


def test_a_new_key_is_found_and_an_old_one_forgotten(issuer: CountingIssuer, clock: Clock) -> None:
    verifier, old = verifier_of(issuer, clock), issuer.mint("ann@example.com")
    accept(verifier, old)
    clock.now += FETCH_SPACING_SECONDS
    issuer.keys.append(SigningKey.generate())
    accept(verifier, issuer.mint("ann@example.com"))
    accept(verifier, old)  # still published
    del issuer.keys[0]
    clock.now += FRESH_SECONDS
    accept(verifier, issuer.mint("ann@example.com"))
    with pytest.raises(Unauthenticated, match="does not publish"):
        verifier.verify(f"Bearer {old}")


def test_known_keys_serve_through_an_outage_for_a_day(clock: Clock) -> None:
    with serving(CountingIssuer()) as issuer:
        verifier, token = verifier_of(issuer, clock), issuer.mint("ann@example.com", exp=2**40)
        accept(verifier, token)
    clock.now += FRESH_SECONDS + 1
    accept(verifier, token)
    clock.now += USABLE_SECONDS - FRESH_SECONDS - 2
    accept(verifier, token)
    with pytest.raises(Unauthenticated):
        verifier.verify(f"Bearer {unknown_key(issuer)}")
    clock.now += 2
    with pytest.raises(Unavailable):
        verifier.verify(f"Bearer {token}")
    clock.now += FETCH_SPACING_SECONDS
    with serving(CountingIssuer(issuer.server_port, *issuer.keys)) as back:
        accept(verifier, back.mint("ann@example.com"))


def test_an_issuer_down_from_the_start_is_asked_again_soon(clock: Clock) -> None:
    with serving(CountingIssuer()) as issuer:
        verifier, token = verifier_of(issuer, clock), issuer.mint("ann@example.com")
    for _ in range(3):
        with pytest.raises(Unavailable):
            verifier.verify(f"Bearer {token}")
    with serving(CountingIssuer(issuer.server_port, *issuer.keys)) as back:
        with pytest.raises(Unavailable):  # not yet
            verifier.verify(f"Bearer {token}")
        assert back.fetches == 0
        clock.now += FIRST_FETCH_SPACING_SECONDS
        accept(verifier, token)


def test_a_hanging_issuer_holds_one_thread_only(issuer: CountingIssuer, clock: Clock) -> None:
    verifier, token = verifier_of(issuer, clock), issuer.mint("ann@example.com")
    accept(verifier, token)
    clock.now += FETCH_SPACING_SECONDS
    issuer.open.clear()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(verifier.verify, f"Bearer {unknown_key(issuer)}")
        with issuer.arrival:
            assert issuer.arrival.wait_for(lambda: issuer.served == 3, 10)  # the fetch has begun
        accept(verifier, token)
        with pytest.raises(Unavailable, match="being fetched"):
            verifier.verify(f"Bearer {unknown_key(issuer)}")
        assert not held.done()
        issuer.open.set()
        with pytest.raises(Unauthenticated):
            held.result(10)


class Trickling(ThreadingHTTPServer):
    """Sends one byte after the other, and never all: of its head, or of its body."""

    daemon_threads = True

    def __init__(self, beginning: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Trickle)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.beginning = beginning
        self.over = threading.Event()


class _Trickle(BaseHTTPRequestHandler):
    server: Trickling

    def do_GET(self) -> None:
        self.wfile.write(self.server.beginning)
        with suppress(OSError):
            while not self.server.over.wait(0.1):
                self.wfile.write(b" ")


def refused_after(verifier: TokenVerifier, token: str) -> float:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        verifier.verify(f"Bearer {token}")
    return time.monotonic() - began


@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"]
)
def test_an_issuer_that_sends_a_byte_now_and_then_is_given_up(beginning: bytes, clock: Clock) -> None:
    with serving(Trickling(beginning)) as issuer:
        verifier = TokenVerifier([Issuer(issuer.url, AUDIENCE, "local")], clock=clock)
        token = STRANGER.sign(claims_for("ann@example.com", issuer=issuer.url))
        assert refused_after(verifier, token) < 8
        issuer.over.set()


def test_a_cold_issuer_that_hangs_holds_one_thread_and_no_other_issuers(
    issuer: CountingIssuer, clock: Clock
) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # takes calls, answers none
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        issuers = [Issuer(url, AUDIENCE, "silent"), Issuer(issuer.url, AUDIENCE, "local")]
        verifier = TokenVerifier(issuers, clock=clock)
        flood = STRANGER.sign(claims_for("ann@example.com", issuer=url))
        pool = stack.enter_context(ThreadPoolExecutor(16))
        refused = [pool.submit(refused_after, verifier, flood) for _ in range(16)]
        ours = pool.submit(
            accept, verifier, issuer.mint("ann@example.com")
        )  # it gets the first thread that is free
        began = time.monotonic()
        ours.result(20)
        assert time.monotonic() - began < 3
        seconds = sorted(held.result(20) for held in refused)
    assert seconds[-2] < 3
    assert seconds[-1] < 8  # who asks the issuer


# ---- what an issuer may answer -----------------------------------------------------------------------------


class Documents(ThreadingHTTPServer):
    """Serves whatever a test puts there: path to status, headers and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Document)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.discover(issuer=self.url, jwks_uri=f"{self.url}/jwks")

    def discover(self, **document: object) -> None:
        self.put("/.well-known/openid-configuration", document)

    def put(self, path: str, document: object, status: int = 200, **headers: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers[path] = (status, headers, body)


class _Document(BaseHTTPRequestHandler):
    server: Documents

    def do_GET(self) -> None:
        status, headers, body = self.server.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def module_documents() -> Iterator[Documents]:
    with serving(Documents()) as server:
        yield server


@pytest.fixture
def documents(module_documents: Documents) -> Documents:
    module_documents.answers.clear()
    module_documents.discover(issuer=module_documents.url, jwks_uri=f"{module_documents.url}/jwks")
    return module_documents


def verify(documents: Documents, key: SigningKey = STRANGER, jwks_uri: str | None = None) -> None:
    token = key.sign(claims_for("ann@example.com", issuer=documents.url))
    accept(TokenVerifier([Issuer(documents.url, AUDIENCE, "local", jwks_uri)]), token)


def test_a_jwks_uri_spares_discovery(documents: Documents) -> None:
    documents.answers.clear()
    documents.put("/jwks", {"keys": [STRANGER.jwk]})
    verify(documents, jwks_uri=f"{documents.url}/jwks")


def test_unusable_keys_beside_a_good_one_do_no_harm(documents: Documents) -> None:
    oct_key = {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric"}
    junk: list[object] = [
        None,
        7,
        [],
        {},
        {"kty": "XX"},
        {"kty": "RSA", "alg": []},
        {"kty": "RSA", "n": 5},
        oct_key,
    ]
    encryption = {**SigningKey.generate().jwk, "use": "enc"}
    nameless = {name: value for name, value in SigningKey.generate().jwk.items() if name != "kid"}
    documents.put("/jwks", {"keys": [*junk, encryption, nameless, STRANGER.jwk, *junk]})
    verify(documents)


def test_a_symmetric_key_that_is_published_signs_nothing(documents: Documents) -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0" * 6, "kid": "symmetric", "alg": "HS256"}
    claims = claims_for("ann@example.com", issuer=documents.url)
    token = jwt.encode(claims, jwt.PyJWK.from_dict(secret).key, "HS256", {"kid": "symmetric"})
    documents.put("/jwks", {"keys": [secret, STRANGER.jwk]})
    with pytest.raises(Unauthenticated):
        TokenVerifier([Issuer(documents.url, AUDIENCE, "local")]).verify(f"Bearer {token}")
    documents.put("/jwks", {"keys": [secret]})  # as good as none
    with pytest.raises(Unavailable):
        verify(documents)


def test_a_key_for_encryption_signs_nothing(documents: Documents) -> None:
    key = SigningKey.generate()
    documents.put("/jwks", {"keys": [{**key.jwk, "use": "enc"}, STRANGER.jwk]})
    with pytest.raises(Unauthenticated):
        verify(documents, key)


@pytest.mark.parametrize("bits", [1024, 2048])
def test_rsa_keys_have_2048_bits(documents: Documents, bits: int) -> None:
    private = rsa.generate_private_key(65537, bits)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    documents.put("/jwks", {"keys": [{**public, "kid": "rsa"}]})
    algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
    content = unsigned(claims_for("ann@example.com", issuer=documents.url), {"alg": "RS256", "kid": "rsa"})
    token = f"{content}.{jwt.utils.base64url_encode(algorithm.sign(content.encode(), private)).decode()}"
    verifier = TokenVerifier([Issuer(documents.url, AUDIENCE, "local")])
    if bits == 2048:
        accept(verifier, token)
    else:
        with pytest.raises(Unauthenticated):
            verifier.verify(f"Bearer {token}")


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = (jwt.utils.base64url_encode(json.dumps(part).encode()).decode() for part in (header, claims))
    return ".".join(parts)


@pytest.mark.parametrize(
    "discovery",
    [
        {},
        {"issuer": "https://accounts.example.com", "jwks_uri": "{url}/jwks"},
        {"issuer": "{url}/", "jwks_uri": "{url}/jwks"},
        {"issuer": "{url}"},
        {"issuer": "{url}", "jwks_uri": 7},
        {"issuer": "{url}", "jwks_uri": "http://keys.example.com/jwks"},
        {"issuer": "{url}", "jwks_uri": f"data:application/json,{json.dumps({'keys': [STRANGER.jwk]})}"},
    ],
    ids=lambda discovery: "-".join(discovery) or "empty",
)
def test_keys_come_from_no_other_place(documents: Documents, discovery: dict[str, Any]) -> None:
    documents.put("/jwks", {"keys": [STRANGER.jwk]})
    documents.discover(
        **{
            name: value.replace("{url}", documents.url) if isinstance(value, str) else value
            for name, value in discovery.items()
        }
    )
    with pytest.raises(Unavailable):
        verify(documents)


def test_redirects_are_not_followed(documents: Documents) -> None:
    documents.put("/elsewhere", {"keys": [STRANGER.jwk]})
    documents.put("/jwks", b"", 302, Location=f"{documents.url}/elsewhere")
    with pytest.raises(Unavailable):
        verify(documents)


def test_an_endless_answer_is_cut(documents: Documents) -> None:
    documents.put("/jwks", {"keys": [STRANGER.jwk], "padding": "x" * 2**21})
    with pytest.raises(Unavailable):
        verify(documents)


@given(body=st.binary() | st.sampled_from([b"[]", b"7", b'{"keys": {}}', b'{"keys": "RSA"}']))
@unhurried
def test_no_answer_breaks_the_verifier(module_documents: Documents, body: bytes) -> None:
    module_documents.put("/jwks", body)
    with pytest.raises(Unavailable):
        verify(module_documents)


def test_an_answer_nested_too_deep_is_refused(documents: Documents) -> None:
    documents.put("/jwks", b"[" * 100_000)
    with pytest.raises(Unavailable):
        verify(documents)


members = st.sampled_from(["kty", "alg", "use", "kid", "crv", "x", "y", "n", "e", "d", "k"])
values = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "RS256", "ES256", "EdDSA", "P-256", "Ed25519", "AQAB", "sig"]
)
odd = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)


@given(st.lists(st.dictionaries(members, values | odd, min_size=1), max_size=5))
@unhurried
def test_no_key_breaks_the_good_one(module_documents: Documents, keys: list[dict[str, object]]) -> None:
    module_documents.put("/jwks", {"keys": [*keys, STRANGER.jwk]})
    verify(module_documents)


def test_a_proxy_is_not_asked_for_loopback(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        documents.put("/jwks", {"keys": [STRANGER.jwk]})
        verify(documents)
