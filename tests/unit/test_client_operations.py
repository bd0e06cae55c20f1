"""What the client sends for each method of the API, and what it makes of the answers."""

from __future__ import annotations

import inspect
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from jennah import answers
from jennah.answers import StatusDetail
from jennah.client import ApiError, Client, ConnectionFailed, JobFields
from jennah.event_stream import Event
from shared.api.operations import OPERATIONS
from shared.api.spec import SubmitRequest

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer

JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
GONE = {"error": {"code": 404, "status": "NOT_FOUND", "message": "There is no such job.", "details": []}}
BUSY = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "later", "details": []}}
STREAM = {"Content-Type": "text/event-stream"}
ENTRY = {"timestamp": "2026-01-02T03:04:05Z", "task": 0, "stream": "stdout", "message": "hello"}


def client_of(server: ScriptedServer, *, retry_seconds: float = 5.0) -> Client:
    return Client(server.url, "a.b.c", retry_seconds=retry_seconds)


def sent(*events: Event, ids: bool = True) -> bytes:
    """Events as the server sends them, numbered from 1."""
    text = "retry: 10\n\n: still here\n\n"
    for number, event in enumerate(events, start=1):
        name = f"id: {number}\n" if ids and event.kind != "end" else ""
        text += f"{name}event: {event.kind}\ndata: {json.dumps(event.data)}\n\n"
    return text.encode()


def end(status: str | None) -> Event:
    return Event("end", {"status": status})


METHODS: dict[str, tuple[str, Callable[[Client], object]]] = {
    "health": ("GET /health", lambda client: client.health()),
    "get_openapi": ("GET /openapi.json", lambda client: client.get_openapi()),
    "submit_job": ("POST /v1/jobs", lambda client: client.submit_job("busybox")),
    "list_jobs": ("GET /v1/jobs", lambda client: list(client.list_jobs())),
    "batch_create_jobs": ("POST /v1/jobs:batchCreate", lambda client: client.submit_jobs([])),
    "get_job": ("GET /v1/jobs/J", lambda client: client.get_job("J")),
    "delete_job": ("DELETE /v1/jobs/J", lambda client: client.delete_job("J")),
    "list_transitions": ("GET /v1/jobs/J/transitions", lambda client: list(client.list_transitions("J"))),
    "stream_events": ("GET /v1/jobs/J/events", lambda client: list(client.follow_transitions("J"))),
    "read_logs": ("GET /v1/jobs/J/logs?task=0&page_size=1000", lambda client: list(client.read_logs("J"))),
    "cancel_job": ("POST /v1/jobs/J:cancel", lambda client: client.cancel_job("J")),
    "retry_job": ("POST /v1/jobs/J:retry", lambda client: client.retry_job("J")),
    "get_tenant": ("GET /v1/tenant", lambda client: client.get_tenant()),
    "delete_tenant": ("DELETE /v1/tenant", lambda client: client.delete_tenant()),
}


def test_every_operation_of_the_api_has_its_method(
    server: ScriptedServer, job: dict[str, Any], tenant: dict[str, Any]
) -> None:
    whole = {**tenant, **job, "jobs": [job], "transitions": [], "entries": []}
    server.reply(200, whole)
    assert METHODS.keys() == {operation.id for operation in OPERATIONS}
    for operation in OPERATIONS:
        expected, call = METHODS[operation.id]
        server.forget()
        server.reply(200, sent(end("COMPLETED")) if operation.id == "stream_events" else whole, STREAM)
        with client_of(server) as client:
            call(client)
        (asked,) = server.asked
        assert f"{asked.method} {asked.path}" == expected
        path = re.sub(r"\{job_id\}", "J", operation.path)
        assert (asked.method, asked.path.partition("?")[0]) == (operation.method, path)
        assert ("idempotency-key" in asked.headers) == operation.keyed


def test_the_fields_are_those_of_the_api() -> None:
    assert JobFields.__annotations__.keys() | {"image_uri", "commands"} == SubmitRequest.model_fields.keys()


def test_answers_are_read_to_their_last_field() -> None:
    by_id = {operation.id: operation for operation in OPERATIONS}
    pairs = (
        (by_id["get_job"].answers[200], answers.Job),
        (by_id["get_tenant"].answers[200], answers.Tenant),
        (by_id["stream_events"].events["transition"], answers.Transition),
        (by_id["read_logs"].events["log"], answers.LogEntry),
    )
    for shown, typed in pairs:
        assert shown is not None
        assert shown.model_fields.keys() <= inspect.signature(typed).parameters.keys()


def test_a_batch_is_one_request_under_one_key(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(201, {"jobs": [job, {**job, "job_id": "2"}]})
    requests: list[dict[str, Any]] = [
        {"image_uri": "busybox", "name": None},
        {"image_uri": "alpine", "env": {"A": "b"}},
    ]
    with client_of(server) as client:
        jobs = client.submit_jobs(requests)
        client.submit_jobs(requests, idempotency_key="mine")
    assert [found.job_id for found in jobs] == [JOB_ID, "2"]
    assert server.asked[0].body == {
        "requests": [{"image_uri": "busybox"}, {"image_uri": "alpine", "env": {"A": "b"}}]
    }
    assert uuid.UUID(server.asked[0].headers["idempotency-key"])
    assert server.asked[1].headers["idempotency-key"] == "mine"


def test_a_retry_names_its_origin(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(201, {**job, "job_id": "2", "origin_job_id": JOB_ID})
    with client_of(server) as client:
        assert client.retry_job(JOB_ID).origin_job_id == JOB_ID


def test_a_deletion_whose_answer_was_lost_is_done(server: ScriptedServer) -> None:
    server.hang_up()
    server.reply(404, GONE)
    with client_of(server) as client:
        client.delete_job(JOB_ID)
        with pytest.raises(ApiError, match="no such job"):
            client.delete_job(JOB_ID)


def test_a_tenants_deletion_whose_answer_was_lost_is_done(server: ScriptedServer) -> None:
    server.hang_up()
    server.reply(404, GONE)
    with client_of(server) as client:
        assert client.delete_tenant() is None
        with pytest.raises(ApiError, match="no such job"):
            client.delete_tenant()


def test_a_deletion_that_was_put_off_is_not_taken_for_done(server: ScriptedServer) -> None:
    server.reply(429, BUSY)
    server.reply(404, GONE)
    with client_of(server) as client, pytest.raises(ApiError, match="no such job"):
        client.delete_job(JOB_ID)


def test_a_listing_is_asked_for_what_is_wanted(server: ScriptedServer) -> None:
    server.reply(200, {"jobs": []})
    zone = timezone(timedelta(hours=2))
    with client_of(server) as client:
        list(client.list_jobs(created_after=datetime(2026, 7, 1, tzinfo=zone), tenant_id="-"))
    assert server.asked[0].path == "/v1/jobs?created_after=2026-07-01T00%3A00%3A00%2B02%3A00&tenant_id=-"


def test_the_tenant_is_read_and_may_not_be_there_yet(server: ScriptedServer, tenant: dict[str, Any]) -> None:
    server.reply(200, tenant)
    server.reply(404, GONE)
    server.reply(404, b"<html>")
    with client_of(server) as client:
        found = client.get_tenant()
        assert client.find_tenant() is None
        with pytest.raises(ApiError, match="HTTP 404"):
            client.find_tenant()
    assert (found.email, found.deleted_at, found.limits["open_jobs"]) == ("me@example.com", None, 5)
    assert found.created_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (None, None),
        ("waiting", StatusDetail("unknown", "waiting")),
        ({"code": "waiting_for_quota", "message": "No."}, StatusDetail("waiting_for_quota", "No.")),
    ],
)
def test_a_status_detail_has_a_code(
    server: ScriptedServer, job: dict[str, Any], shown: object, expected: StatusDetail | None
) -> None:
    server.reply(200, {**job, "status_detail": shown})
    with client_of(server) as client:
        assert client.get_job(JOB_ID).status_detail == expected


def test_a_log_is_read_up_to_what_is_there(server: ScriptedServer) -> None:
    server.reply(200, {"entries": [ENTRY] * 2, "next_page_token": "t/1"})
    server.reply(200, {"entries": [ENTRY], "next_page_token": "t2"})
    server.reply(200, {"entries": [], "next_page_token": "t2"})
    with client_of(server) as client:
        entries = list(client.read_logs(JOB_ID, attempt=2, task=3))
    assert [entry.message for entry in entries] == ["hello"] * 3
    assert [asked.path.partition("?")[2] for asked in server.asked] == [
        "attempt=2&task=3&page_size=1000",
        "attempt=2&task=3&page_size=1000&page_token=t%2F1",
        "attempt=2&task=3&page_size=1000&page_token=t2",
    ]


def test_a_stream_that_breaks_goes_on_after_its_last_event(
    server: ScriptedServer, transition: dict[str, Any]
) -> None:
    lines = [Event("transition", {**transition, "to_status": status}) for status in ("PENDING", "RUNNING")]
    whole = sent(*lines)
    server.reply(200, whole[: whole.rindex(b"\n\n")], STREAM)  # the last event is not all there
    server.hang_up()
    server.reply(503, BUSY)
    server.reply(200, sent(lines[1], end("COMPLETED")), STREAM)
    with client_of(server) as client:
        seen = list(client.follow_transitions(JOB_ID))
    assert [found.to_status for found in seen] == ["PENDING", "RUNNING"]
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "1", "1", "1"]


def test_a_stream_that_is_refused_or_foreign_is_an_error(server: ScriptedServer) -> None:
    replies: list[tuple[int, Any, dict[str, str]]] = [
        (404, GONE, {}),
        (200, {}, {}),
        (200, b"event: transition\ndata: [1]\n\n", STREAM),
        (200, b"event: transition\ndata: <html>\n\n", STREAM),
    ]
    for reply in replies:
        server.forget()
        server.reply(*reply)
        with client_of(server) as client, pytest.raises(ApiError):
            list(client.follow_transitions(JOB_ID))
        assert len(server.asked) == 1


def test_a_server_whose_streams_end_at_once_is_given_up(server: ScriptedServer) -> None:
    server.reply(200, b"", STREAM)
    with client_of(server, retry_seconds=0.3) as client, pytest.raises(ConnectionFailed, match="at once"):
        list(client.follow_transitions(JOB_ID))
    assert len(server.asked) > 1


def test_a_log_is_followed_through_the_attempts(server: ScriptedServer, job: dict[str, Any]) -> None:
    def decide(asked: Asked) -> tuple[int, Any]:
        if "/logs" not in asked.path:
            return 200, {**job, "attempt": 2}
        if "attempt=1" in asked.path:
            return 200, sent(Event("log", {**ENTRY, "message": "first"}), end("PENDING"))
        return 200, sent(Event("log", {**ENTRY, "message": "second"}), end("COMPLETED"))

    server.headers = STREAM
    server.decide = decide
    with client_of(server) as client:
        assert [entry.message for entry in client.follow_logs(JOB_ID, attempt=1)] == ["first"]
        assert [entry.message for entry in client.follow_logs(JOB_ID)] == ["second"]
        early = iter([1])
        server.decide = lambda asked: (
            (200, {**job, "attempt": next(early, 2)}) if "/logs" not in asked.path else decide(asked)
        )
        assert [entry.message for entry in client.follow_logs(JOB_ID)] == ["first", "second"]


def test_a_followed_log_ends_with_a_job_that_was_deleted(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(200, job)
    server.reply(200, sent(end(None)), STREAM)
    server.reply(404, GONE)
    with client_of(server) as client:
        assert list(client.follow_logs(JOB_ID)) == []


def test_a_token_that_is_refused_is_fetched_once_more(server: ScriptedServer, job: dict[str, Any]) -> None:
    tokens = iter(["first", "second", "third"])

    def decide(asked: Asked) -> tuple[int, Any]:
        fresh = asked.headers["authorization"] != "Bearer first" or len(server.asked) == 1
        refusal = {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "No.", "details": []}}
        return (200, job) if fresh and "third" not in asked.headers["authorization"] else (401, refusal)

    server.decide = decide
    with Client(server.url, lambda: next(tokens)) as client:
        client.get_job(JOB_ID)
        client.get_job(JOB_ID)
        client.get_job(JOB_ID)
        assert [asked.headers["authorization"].split()[1] for asked in server.asked] == [
            *("first", "first", "second", "second")
        ]
    with Client(server.url, lambda: "third") as client, pytest.raises(ApiError, match="No"):
        client.get_job(JOB_ID)
    assert len(server.asked) == 5  # a fresh one that is refused is not fetched again


def test_a_fetched_token_that_is_none_is_refused(server: ScriptedServer) -> None:
    with Client(server.url, lambda: "a\nb") as client, pytest.raises(ValueError, match="token"):
        client.get_job(JOB_ID)
    assert server.asked == []
