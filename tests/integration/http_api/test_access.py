"""Who is answered, at which path, by which method: and what a stranger can't tell."""

from __future__ import annotations

import uuid

import pytest

from shared.api.operations import OPERATIONS
from tests.integration.function_process import unchanged
from tests.integration.http_api.callers import BODY, Caller, Server, caller, refused

ROUTES = [
    (operation.method, operation.path.replace("{job_id}", str(uuid.UUID(int=0))))
    for operation in OPERATIONS
    if not operation.anonymous
]
OF_A_JOB = [
    (operation.method, operation.path.removeprefix("/v1/jobs/").replace("{job_id}", "{}"))
    for operation in OPERATIONS
    if "{job_id}" in operation.path
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_token_that_holds_nothing_is_answered(server: Server, method: str, path: str) -> None:
    tokens = [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Basic eDp5",
        f"Bearer {caller(server, exp=1).token}",
        f"Bearer {caller(server, aud='other').token}",
        f"Bearer {caller(server, iss='https://evil.example.com').token}",
        f"Bearer {caller(server).token[:-8]}AAAAAAAA",
    ]
    with unchanged(server.database):
        for token in tokens:
            headers = {} if token is None else {"Authorization": token}
            answer = server.client.request(method, path, headers=headers, json=BODY)
            refused(answer, 401, "UNAUTHENTICATED")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_who_is_not_admitted_gets_nothing_whatever_is_asked(server: Server, method: str, path: str) -> None:
    outsiders = [
        caller(server, "example.org"),
        caller(server, email_verified=False),
        caller(server, email=None),
    ]
    with unchanged(server.database):
        for outsider in outsiders:
            for body in (BODY, {"image_uri": 5}):
                refused(outsider.call(method, path, json=body), 403, "PERMISSION_DENIED")


def test_health_needs_no_token(server: Server) -> None:
    answer = server.client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_reading_makes_no_tenant(server: Server, ann: Caller) -> None:
    with unchanged(server.database):
        answer = ann.get("/v1/jobs")
        assert (answer.status_code, answer.json()) == (200, {"jobs": [], "next_page_token": None})
        for method, shape in OF_A_JOB:
            refused(ann.call(method, f"/v1/jobs/{shape.format(uuid.uuid4())}"), 404, "NOT_FOUND")
        for method in ("GET", "DELETE"):
            refused(ann.call(method, "/v1/tenant"), 404, "NOT_FOUND")


@pytest.mark.parametrize(("method", "shape"), OF_A_JOB)
def test_missing_foreign_and_malformed_ids_are_the_same_404(
    server: Server, ann: Caller, bob: Caller, method: str, shape: str
) -> None:
    newcomer = caller(server)
    foreign, own = ann.submitted()["job_id"], bob.submitted()["job_id"]
    ids = [
        str(uuid.uuid4()),
        foreign,
        own.upper(),
        f"{{{own}}}",
        f"{own}%20",
        f"{own}%00",
        "x",
        "a:b",
        "a%0Ab",
        "x:cancel%0A",
        "%FF",
        "é",
    ]
    with unchanged(server.database):
        answers = [bob.call(method, f"/v1/jobs/{shape.format(job_id)}") for job_id in ids]
        answers.append(newcomer.call(method, f"/v1/jobs/{shape.format(foreign)}"))
    refused(answers[0], 404, "NOT_FOUND")
    seen = {
        (
            answer.status_code,
            answer.content,
            *sorted((k, v) for k, v in answer.headers.items() if k != "date"),
        )
        for answer in answers
    }
    assert len(seen) == 1
    assert ann.get(f"/v1/jobs/{foreign}").json()["status"] == "PENDING"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
        ("PATCH", f"/v1/jobs/{uuid.UUID(int=0)}", "DELETE, GET, HEAD"),
        ("POST", f"/v1/jobs/{uuid.UUID(int=0)}", "DELETE, GET, HEAD"),
        ("POST", f"/v1/jobs/{uuid.UUID(int=0)}/transitions", "GET, HEAD"),
        ("GET", f"/v1/jobs/{uuid.UUID(int=0)}:cancel", "POST"),
        ("DELETE", f"/v1/jobs/{uuid.UUID(int=0)}:retry", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
    ],
)
def test_other_methods_are_told_what_is_allowed(ann: Caller, method: str, path: str, allowed: str) -> None:
    answer = ann.call(method, path)
    refused(answer, 405, "UNIMPLEMENTED")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/jobs",
        "/v1/job",
        "/v1/jobs/a/b",
        "/v1/jobs/a/transitions/b",
        "/v1/jobs/",
        "/v1/jobs/a/",
        "/v1/jobs/a:cancel/",
        "/v1/jobs/a/transitions/",
        "/v1/tenant/",
        "/health/",
        "/openapi.json/",
        "/%00",
        "/%0A",
        "/robots.txt",
    ],
)
def test_unknown_paths(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        refused(server.client.request(method, path), 404, "NOT_FOUND")


def test_head_is_get_without_its_body(ann: Caller) -> None:
    job_id = ann.submitted()["job_id"]
    for path in ("/health", "/v1/jobs", f"/v1/jobs/{job_id}", f"/v1/jobs/{uuid.uuid4()}", "/nowhere"):
        got, head = ann.call("GET", path), ann.call("HEAD", path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert head.headers["Content-Length"] == got.headers["Content-Length"]
