"""The HTTP client against a real server that misbehaves as it is told."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from jennah.client import ApiError, Attempt, Client, ConnectionFailed, Job

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer

JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
BUSY = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "later", "details": []}}

REQUESTS: dict[str, Callable[[Client], object]] = {
    "submit": lambda client: client.submit_job("busybox", ["true"]),
    "batch": lambda client: client.submit_jobs([{"image_uri": "busybox"}]),
    "retry": lambda client: client.retry_job(JOB_ID),
    "delete": lambda client: client.delete_job(JOB_ID),
    "logs": lambda client: list(client.read_logs(JOB_ID)),
    "tenant": lambda client: client.get_tenant(),
    "delete tenant": lambda client: client.delete_tenant(),
    "document": lambda client: client.get_openapi(),
    "get": lambda client: client.get_job(JOB_ID),
    "cancel": lambda client: client.cancel_job(JOB_ID),
    "list": lambda client: list(client.list_jobs()),
    "transitions": lambda client: list(client.list_transitions(JOB_ID)),
}
every_request = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def client_of(server: ScriptedServer, *, retry_seconds: float = 5.0) -> Client:
    return Client(server.url, "a.b.c", retry_seconds=retry_seconds)


def success(job: dict[str, Any], transition: dict[str, Any]) -> dict[str, Any]:
    """One answer that is right for every request."""
    return {**job, "jobs": [job], "transitions": [transition], "entries": []}


def test_submission_sends_what_was_given_and_nothing_else(
    server: ScriptedServer, job: dict[str, Any]
) -> None:
    server.reply(201, job)
    with client_of(server) as client:
        client.submit_job("busybox")
        client.submit_job(
            "busybox",
            ["sh", "-c", "true"],
            name="n",
            env={"A": "b"},
            max_retries=0,
            retry={"rules": [{"exit_codes": [2], "action": "fail"}]},
            provisioning="spot",
            timeout_seconds=9,
            idempotency_key="mine",
        )
    least, most = server.asked
    assert (least.method, least.path, least.body) == ("POST", "/v1/jobs", {"image_uri": "busybox"})
    assert most.body == {
        "image_uri": "busybox",
        "commands": ["sh", "-c", "true"],
        "name": "n",
        "env": {"A": "b"},
        "max_retries": 0,
        "retry": {"rules": [{"exit_codes": [2], "action": "fail"}]},
        "provisioning": "spot",
        "timeout_seconds": 9,
    }
    assert most.headers["idempotency-key"] == "mine"
    assert most.headers["authorization"] == "Bearer a.b.c"


def test_every_submission_has_a_key_of_its_own(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(201, job)
    with client_of(server) as client:
        for _ in range(3):
            client.submit_job("busybox")
    assert len({uuid.UUID(asked.headers["idempotency-key"]) for asked in server.asked}) == 3


@every_request
def test_a_short_failure_is_repeated_with_the_same_request(
    server: ScriptedServer,
    job: dict[str, Any],
    transition: dict[str, Any],
    request_: Callable[[Client], object],
) -> None:
    server.hang_up()
    server.reply(503, BUSY)
    server.reply(200, success(job, transition))
    with client_of(server) as client:
        request_(client)
    assert len(server.asked) == 3
    assert len({(asked.method, asked.path) for asked in server.asked}) == 1
    assert len({asked.headers.get("idempotency-key") for asked in server.asked}) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_says_later_is_repeated(server: ScriptedServer, job: dict[str, Any], status: int) -> None:
    server.reply(status, BUSY)
    server.reply(200, job)
    with client_of(server) as client:
        client.get_job(JOB_ID)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 500])
@every_request
def test_a_refusal_is_raised_at_once(
    server: ScriptedServer, request_: Callable[[Client], object], status: int
) -> None:
    details = [{"field": "commands", "reason": "too long"}]
    server.reply(status, {"error": {"code": status, "status": "X", "message": "No.", "details": details}})
    with client_of(server) as client, pytest.raises(ApiError) as raised:
        request_(client)
    refusal = raised.value
    assert (refusal.status, refusal.code, str(refusal)) == (status, "X", "No.")
    assert refusal.details == tuple(details)
    assert len(server.asked) == 1


def test_the_last_busy_answer_is_raised_when_the_time_for_retries_is_over(server: ScriptedServer) -> None:
    server.reply(503, BUSY)
    began = time.monotonic()
    with client_of(server, retry_seconds=0.5) as client, pytest.raises(ApiError, match="later"):
        client.get_job(JOB_ID)
    assert time.monotonic() - began < 2
    assert len(server.asked) > 1


def test_the_server_says_how_long_to_wait(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(429, BUSY, {"Retry-After": "1"})
    server.reply(200, job)
    began = time.monotonic()
    with client_of(server) as client:
        client.get_job(JOB_ID)
    assert 1 <= time.monotonic() - began < 3


@pytest.mark.parametrize("wait", ["3600", "Wed, 21 Oct 2099 07:28:00 GMT", "-1", "²"])
def test_a_wait_that_is_too_long_or_unreadable_does_not_hang(server: ScriptedServer, wait: str) -> None:
    server.reply(503, BUSY, {"Retry-After": wait.encode().decode("latin-1")})
    began = time.monotonic()
    with client_of(server, retry_seconds=0.3) as client, pytest.raises(ApiError):
        client.get_job(JOB_ID)
    assert time.monotonic() - began < 2


def test_a_server_that_never_answered_is_given_up_soon() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        began = time.monotonic()
        with Client(url, "t", retry_seconds=600) as client, pytest.raises(ConnectionFailed) as raised:
            client.get_job(JOB_ID)
    assert raised.value.url == url
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", [], "text", 1, None, {}, {"error": "x"}])
@pytest.mark.parametrize("status", [200, 301, 404, 500])
def test_an_answer_of_something_else_is_named_so(server: ScriptedServer, status: int, body: object) -> None:
    server.reply(status, body)
    with client_of(server) as client, pytest.raises(ApiError, match=f"HTTP {status}") as raised:
        client.get_job(JOB_ID)
    assert (raised.value.status, raised.value.code) == (status, "UNKNOWN")


def test_pages_are_fetched_as_they_are_needed(server: ScriptedServer, job: dict[str, Any]) -> None:
    def page(asked: Asked) -> tuple[int, Any]:
        number = len(server.asked)
        jobs = [{**job, "job_id": f"{number}-{index}"} for index in range(2)]
        return 200, {"jobs": jobs, "next_page_token": f"t/{number}" if number < 3 else None}

    server.decide = page
    with client_of(server) as client:
        jobs = client.list_jobs(status="FAILED", page_size=2)
        assert server.asked == []
        assert next(jobs).job_id == "1-0"
        assert len(server.asked) == 1
        assert [found.job_id for found in jobs] == ["1-1", "2-0", "2-1", "3-0", "3-1"]
    assert [asked.path for asked in server.asked] == [
        "/v1/jobs?status=FAILED&page_size=2",
        "/v1/jobs?status=FAILED&page_size=2&page_token=t%2F1",
        "/v1/jobs?status=FAILED&page_size=2&page_token=t%2F2",
    ]


def test_a_job_is_read_with_its_attempts_and_unknown_fields_are_kept(
    server: ScriptedServer, job: dict[str, Any]
) -> None:
    attempt = {"attempt": 1, "exit_code": 7, "finished_at": "2026-01-02T03:04:06Z", "zone": "b"}
    shown = {**job, "attempts": [attempt], "priority": 5}
    server.reply(200, shown)
    with client_of(server) as client:
        found = client.get_job(JOB_ID)
    assert found.created_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert found.attempts[0].exit_code == 7
    assert found.attempts[0].finished_at == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert found.as_json == shown


def test_watching_gives_each_change_and_ends_with_the_final_one(
    server: ScriptedServer, job: dict[str, Any]
) -> None:
    for status in ("PENDING", "PENDING", "RUNNING", "RUNNING", "COMPLETED"):
        server.reply(200, {**job, "status": status})
    with client_of(server) as client:
        seen: list[Job] = list(client.watch_job(JOB_ID))
    assert [found.status for found in seen] == ["PENDING", "RUNNING", "COMPLETED"]
    assert len(server.asked) == 5


def test_what_an_adopted_row_lacks_may_be_null(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    required = {"job_id", "tenant_id", "status", "transition_id", "to_status"}
    bare_job, bare_transition = (
        {name: value if name in required else None for name, value in shown.items()}
        for shown in (job, transition)
    )
    attempt = dict.fromkeys(known.name for known in fields(Attempt)) | {"attempt": 1}
    server.reply(200, success({**bare_job, "attempts": [attempt]}, bare_transition))
    with client_of(server) as client:
        found = client.get_job(JOB_ID)
        assert (found.created_at, found.commands, found.env, found.attempts[0].attempt) == (None, (), {}, 1)
        assert next(client.list_jobs()).created_at is None
        assert next(client.list_transitions(JOB_ID)).transitioned_at is None


@pytest.mark.parametrize("job_id", ["", ".", "..", "../../health", "a/b"])
def test_an_id_that_would_be_another_path_is_refused(server: ScriptedServer, job_id: str) -> None:
    with client_of(server) as client, pytest.raises(ValueError, match="no job id"):
        client.get_job(job_id)
    assert server.asked == []


def test_an_id_stays_within_its_path_segment(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(200, job)
    with client_of(server) as client:
        client.get_job("..a b?c#d%é")
    assert server.asked[0].path == "/v1/jobs/..a%20b%3Fc%23d%25%C3%A9"


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://a", "http://", "http://a:b", "http://[", "http://[::"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Client(url, "t")


@pytest.mark.parametrize(
    "url", ["http://jobs.example.com", "http://10.0.0.1:8080", "HTTP://a", "http://[::2]"]
)
def test_plain_http_to_another_machine_has_to_be_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="plain http"):
        Client(url, "t")
    Client(url, "t", insecure=True).close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost", "http://[::1]:1", "https://a"])
def test_this_machine_and_https_need_no_leave(url: str) -> None:
    Client(url, "t").close()


@pytest.mark.parametrize("token", ["", "a\nb", "a\r\nX-Evil: 1", "ä", "a\0"])
def test_a_token_that_can_not_stand_in_a_header_is_refused(server: ScriptedServer, token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Client(server.url, token)


def test_this_machine_is_reached_past_a_proxy(
    server: ScriptedServer, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.reply(200, job)
    with client_of(server) as client:
        client.get_job(JOB_ID)


def test_the_package_offers_the_client_without_loading_it() -> None:
    program = (
        "import sys, jennah; assert 'httpx' not in sys.modules; "
        "from jennah import Client; assert Client.__module__ == 'jennah.client'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
