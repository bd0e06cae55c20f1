"""The test issuer as its own process: what it serves, to whom, and how it starts and ends."""

from __future__ import annotations

import http.client
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from jennah.local.issuer import DEFAULT_AUDIENCE, issuer_settings
from jennah.local.processes import PortTaken, Process, Processes, free_port, wait_until_listening
from jennah.local.tokens import fetch_token
from shared.callers import Identity
from shared.config import Settings
from shared.errors import Unauthenticated
from shared.identity import TokenVerifier


def start(processes: Processes, directory: Path, port: int) -> Process:
    module = [sys.executable, "-m", "jennah.local.issuer"]
    return processes.start("issuer", [*module, f"--port={port}", f"--directory={directory}"])


@contextmanager
def running(processes: Processes, directory: Path, port: int) -> Iterator[Process]:
    process = start(processes, directory, port)
    try:
        wait_until_listening(process, port)
        yield process
    finally:
        process.kill()


@pytest.fixture(scope="module")
def port(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    chosen = free_port()
    with running(processes, tmp_path_factory.mktemp("issuer"), chosen):
        yield chosen


def verifier_for(port: int) -> TokenVerifier:
    environ = {
        "GOOGLE_CLOUD_PROJECT": "p",
        "SPANNER_INSTANCE": "i",
        "JENNAH_OIDC_ISSUERS": issuer_settings(f"http://127.0.0.1:{port}"),
    }
    return TokenVerifier(Settings.from_env(environ).issuers)


def token(port: int, email: str = "ann@example.com", audience: str = DEFAULT_AUDIENCE) -> str:
    return fetch_token(f"http://127.0.0.1:{port}", email, audience)


def post(port: int, body: object, path: str = "/token", **headers: str) -> tuple[int, dict[str, str | int]]:
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): headers[name] for name in headers}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), sent)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_its_tokens_are_accepted(port: int) -> None:
    identity = verifier_for(port).verify(f"Bearer {token(port)}")
    assert identity == Identity("local", identity.subject, "ann@example.com", email_verified=True)
    assert identity.subject == verifier_for(port).verify(f"Bearer {token(port, 'Ann@example.com')}").subject
    assert identity.subject != verifier_for(port).verify(f"Bearer {token(port, 'bob@example.com')}").subject


def test_expired_and_foreign_tokens_can_be_had_to_test_with(port: int) -> None:
    status, answer = post(port, {"email": "ann@example.com", "lifetime_seconds": -60})
    assert (status, answer["token_type"]) == (200, "Bearer")
    with pytest.raises(Unauthenticated, match="expired"):
        verifier_for(port).verify(f"Bearer {answer['id_token']}")
    with pytest.raises(Unauthenticated, match="another program"):
        verifier_for(port).verify(f"Bearer {token(port, audience='other')}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 50_000,
        b"x" * 70_000,
        [],
        {},
        {"email": 7},
        {"email": ""},
        {"email": "nobody"},
        {"email": "a@b.c", "admin": True},
        {"email": "a\0@b.c"},
        {"email": f"{'x' * 255}@b.c"},
        {"email": "a@b.c", "audience": ""},
        {"email": "a@b.c", "audience": ["x"]},
        {"email": "a@b.c", "lifetime_seconds": "60"},
        {"email": "a@b.c", "lifetime_seconds": True},
        {"email": "a@b.c", "lifetime_seconds": 10**12},
    ],
    ids=lambda body: str(body)[:30].encode().hex()[:16],
)
def test_bad_requests_are_named(port: int, body: object) -> None:
    status, answer = post(port, body)
    assert (status, answer["error"]) == (400, "invalid_request")


def test_other_sites_and_forms_get_no_token(port: int) -> None:
    request = {"email": "ann@example.com"}
    assert post(port, request, Host=f"evil.example.com:{port}")[0] == 403
    assert post(port, request, Host="")[0] == 403
    assert post(port, request, Host=f"localhost:{port}")[0] == 200
    assert post(port, request, Content_Type="text/plain")[0] == 400
    assert post(port, request, path="/tokens")[0] == 404


def test_a_refusal_reaches_the_caller(port: int) -> None:
    with pytest.raises(HTTPError, match="400") as refusal:
        token(port, "nobody")
    refusal.value.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_quietly_and_keeps_its_key(
    processes: Processes, tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    with running(processes, tmp_path / "issuer", port) as process:
        before = token(port)
        process.signal(number)
        assert process.wait(10)
        assert process.log.read_text() == ""
    assert (tmp_path / "issuer" / "issuer-key.pem").stat().st_mode & 0o077 == 0
    with running(processes, tmp_path / "issuer", port):
        assert verifier_for(port).verify(f"Bearer {before}").email == "ann@example.com"


def test_a_port_in_use_is_one_sentence(processes: Processes, tmp_path: Path, port: int) -> None:
    process = start(processes, tmp_path, port)
    assert process.wait(20)
    with pytest.raises(PortTaken):
        wait_until_listening(process, port)
    said = process.log.read_text()
    assert said.count("\n") == 1
    assert f"port {port}" in said


def test_a_damaged_key_is_one_sentence(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "issuer-key.pem").write_text("no key")
    process = start(processes, tmp_path, free_port())
    assert process.wait(20)
    assert "Traceback" not in process.log.read_text()
    assert str(tmp_path) in process.last_words
