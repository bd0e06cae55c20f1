"""Bodies and queries that are wrong: each is refused by name, and nothing changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.api.operations import MAX_BODY_BYTES
from tests.integration.function_process import unchanged
from tests.integration.http_api.callers import BODY, Caller, Server, refused


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**BODY, "tenant_id": "x"}, "tenant_id"),
        ({**BODY, "service_account": "x"}, "service_account"),
        ({"commands": []}, "image_uri"),
        ({"image_uri": ""}, "image_uri"),
        ({"image_uri": 5}, "image_uri"),
        ({**BODY, "commands": "true"}, "commands"),
        ({**BODY, "commands": ["x"] * 101}, "commands"),
        ({**BODY, "commands": ["sh", "\0"]}, "commands[1]"),
        ({**BODY, "env": {"NAME": "\0"}}, "env.NAME"),
        ({**BODY, "env": {"JENNAH_JOB_ID": "x"}}, "env"),
        ({**BODY, "name": "a\0"}, "name"),
        ({**BODY, "max_retries": True}, "max_retries"),
        ({**BODY, "max_retries": 11}, "max_retries"),
        ({**BODY, "timeout_seconds": "60"}, "timeout_seconds"),
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b'{"image_uri": "\\ud800"}', "body"),
        (b"[" * 100_000, "body"),
    ],
    ids=lambda value: str(value)[:40].replace("\0", "NUL"),
)
def test_a_bad_body_names_its_field_and_changes_nothing(
    server: Server, ann: Caller, body: bytes | dict[str, Any], field: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with unchanged(server.database):
        refused(ann.call("POST", "/v1/jobs", content=content), 400, "INVALID_ARGUMENT", field)


def padded(size: int) -> bytes:
    return json.dumps(BODY).encode().ljust(size)


def test_a_body_may_be_256_kib(server: Server, ann: Caller) -> None:
    assert ann.call("POST", "/v1/jobs", content=padded(MAX_BODY_BYTES)).status_code == 201
    in_parts = iter([padded(MAX_BODY_BYTES // 2), b" " * (MAX_BODY_BYTES // 2)])
    assert ann.call("POST", "/v1/jobs", content=in_parts).status_code == 201  # chunked, without a length
    with unchanged(server.database):
        refused(
            ann.call("POST", "/v1/jobs", content=padded(MAX_BODY_BYTES + 1)), 413, "INVALID_ARGUMENT", "body"
        )
        in_parts = iter([padded(MAX_BODY_BYTES // 2), b" " * (MAX_BODY_BYTES // 2), b" "])
        refused(ann.call("POST", "/v1/jobs", content=in_parts), 413, "INVALID_ARGUMENT", "body")


def test_a_body_that_is_too_large_makes_no_tenant(server: Server, ann: Caller) -> None:
    with unchanged(server.database):
        refused(
            ann.call("POST", "/v1/jobs", content=padded(MAX_BODY_BYTES + 1)), 413, "INVALID_ARGUMENT", "body"
        )


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", ""])
def test_a_body_is_json_whatever_it_is_called(ann: Caller, kind: str) -> None:
    answer = ann.call("POST", "/v1/jobs", content=json.dumps(BODY), headers={"Content-Type": kind})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=101", "page_size"),
        ("page_size=", "page_size"),
        ("page_size=x", "page_size"),
        ("page_size=1.0", "page_size"),
        ("page_size=%2B1", "page_size"),
        ("page_size=%D9%A1", "page_size"),  # a digit, but not of ASCII
        ("page_size=1&page_size=2", "page_size"),
        ("page_token=x", "page_token"),
        ("page_token=%00", "page_token"),
        ("page_token=%FF", "page_token"),
        ("page_token=" + "A" * 3000, "page_token"),
        ("status=", "status"),
        ("status=running", "status"),
        ("status=DONE", "status"),
        ("status=RUNNING&status=FAILED", "status"),
        ("tenant_id=x", "tenant_id"),
        ("tenant_id=", "tenant_id"),
        ("created_after=", "created_after"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-01-01", "created_after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),
        ("created_after=2026-02-29T00:00:00Z", "created_after"),
        ("created_after=2026-01-01T00:00:00+00:00", "created_after"),  # a space, as it was sent
        ("created_after=2026-01-01T00:00:00.Z", "created_after"),
        ("created_after=2026-01-01T00:00:00Z%0A", "created_after"),
    ],
)
def test_a_bad_query_names_its_parameter(ann: Caller, query: str, field: str) -> None:
    refused(ann.call("GET", f"/v1/jobs?{query}"), 400, "INVALID_ARGUMENT", field)
    job = ann.submitted()
    refused(ann.call("GET", f"/v1/jobs?{query}"), 400, "INVALID_ARGUMENT", field)
    if field.startswith("page"):
        path = f"/v1/jobs/{job['job_id']}/transitions"
        refused(ann.call("GET", f"{path}?{query}"), 400, "INVALID_ARGUMENT", field)


def test_methods_without_parameters_take_none(server: Server, ann: Caller) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    with unchanged(server.database):
        refused(ann.get(path, force="1"), 400, "INVALID_ARGUMENT", "force")
        refused(ann.call("POST", f"{path}:cancel?force=1"), 400, "INVALID_ARGUMENT", "force")
        refused(ann.call("POST", "/v1/jobs?dry_run=1", json=BODY), 400, "INVALID_ARGUMENT", "dry_run")


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b'{"max_retries": 9}', 400, "max_retries"),
        (b"[]", 400, "body"),
        (b"{", 400, "body"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "body"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_takes_no_body_refuses_one_that_says_something(
    server: Server, ann: Caller, content: bytes, status: int, field: str
) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    asked = [
        ("POST", f"{path}:cancel"),
        ("POST", f"{path}:retry"),
        ("DELETE", path),
        ("DELETE", "/v1/tenant"),
    ]
    with unchanged(server.database):
        for method, target in asked:
            refused(ann.call(method, target, content=content), status, "INVALID_ARGUMENT", field)


@pytest.mark.parametrize("content", [b"", b"{}", b" { } "])
def test_a_body_that_says_nothing_is_none(ann: Caller, content: bytes) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    assert ann.call("POST", f"{path}:cancel", content=content).status_code == 200
    assert ann.call("POST", f"{path}:retry", content=content).status_code == 201
    refused(ann.call("DELETE", path, content=content), 409, "FAILED_PRECONDITION")
    assert ann.call("DELETE", "/v1/tenant", content=content).status_code == 202


def test_two_keys_are_none(server: Server, ann: Caller) -> None:
    ann.submitted()
    names = [("Authorization", f"Bearer {ann.token}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    with unchanged(server.database):
        answer = server.client.post("/v1/jobs", json=BODY, headers=names)
        refused(answer, 400, "INVALID_ARGUMENT", "Idempotency-Key")
        refused(ann.submit(key="a,b"), 400, "INVALID_ARGUMENT", "Idempotency-Key")
    assert ann.submit(key="a+b-c ~!").status_code == 201
