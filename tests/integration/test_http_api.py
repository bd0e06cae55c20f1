"""The Jobs API as clients meet it: the function in its own process, on the emulators."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.issuer import LocalIssuer, issuer_settings
from jennah.local.processes import Processes
from shared.api import MAX_BODY_BYTES
from shared.model import JobStatus
from shared.pages import encode_token
from tests.integration.function_process import PROJECT, running_function, schema_database, unchanged

JOB_FIELDS = [
    *("job_id", "tenant_id", "name", "status", "status_detail", "image_uri", "commands", "env"),
    *("timeout_seconds", "retry", "provisioning"),
    *("created_at", "updated_at", "scheduled_at", "started_at", "completed_at"),
    *("retry_count", "max_retries", "infra_retry_count", "attempt"),
    *("error_message", "gcp_batch_job_name", "version"),
]
TRANSITION_FIELDS = [
    *("transition_id", "from_status", "to_status", "transitioned_at", "reason", "actor", "attempt"),
]
BODY = {"image_uri": "busybox", "commands": ["true"]}


@dataclass(frozen=True)
class Server:
    """The function, and what it stands on."""

    client: httpx.Client
    issuer: LocalIssuer
    database: Database


@dataclass(frozen=True)
class Caller:
    """Somebody with a token."""

    server: Server
    token: str

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.server.client.request(method, path, headers=headers, **options)

    def get(self, path: str, **params: str) -> httpx.Response:
        return self.call("GET", path, params=params)

    def submit(self, body: object = BODY, key: str | bytes | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.call("POST", "/v1/jobs", json=body, headers=headers)

    def submitted(self, **fields: object) -> dict[str, Any]:
        answer = self.submit({**BODY, **fields})
        assert answer.status_code == 201
        job: dict[str, Any] = answer.json()
        return job

    def listed(self, **params: str) -> list[dict[str, Any]]:
        """Every job, page after page."""
        jobs: list[dict[str, Any]] = []
        while True:
            page = self.get("/v1/jobs", **params).json()
            jobs += page["jobs"]
            assert len(jobs) < 1000, "paging does not end"
            if page["next_page_token"] is None:
                return jobs
            params["page_token"] = page["next_page_token"]


@pytest.fixture(scope="module")
def server(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    topic = httpx.put(f"http://{pubsub_host}/v1/projects/{PROJECT}/topics/jobs", json={})
    assert topic.status_code in {200, 409}
    with schema_database(spanner_instance) as database, LocalIssuer() as issuer:
        threading.Thread(target=issuer.serve_forever, args=(0.05,), daemon=True).start()
        settings = {
            "SPANNER_EMULATOR_HOST": spanner_host,
            "SPANNER_INSTANCE": spanner_instance.instance_id,
            "SPANNER_DATABASE": database.database_id,
            "PUBSUB_EMULATOR_HOST": pubsub_host,
            "JENNAH_OIDC_ISSUERS": issuer_settings(issuer.url),
            "JENNAH_ADMIT": json.dumps({"domains": ["example.com"]}),
        }
        folder = tmp_path_factory.mktemp("api")
        try:
            with (
                running_function(processes, folder, "submission", settings) as url,
                httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
            ):
                yield Server(client, issuer, database)
        finally:
            issuer.shutdown()


def caller(server: Server, domain: str = "example.com", **claims: object) -> Caller:
    return Caller(server, server.issuer.mint(f"{uuid.uuid4().hex}@{domain}", **claims))


@pytest.fixture
def ann(server: Server) -> Caller:
    """Somebody admitted, who has no tenant yet."""
    return caller(server)


@pytest.fixture
def bob(server: Server) -> Caller:
    """Somebody else."""
    return caller(server)


def refused(answer: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """The error, which has the one shape that errors have."""
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["code", "status", "message", "details"]
    assert (answer.status_code, error["code"], error["status"]) == (status, status, code)
    assert error["message"]
    if field is not None:
        assert error["message"].startswith(f"{field}: ")
        assert error["details"][0]["field"] == field
    return error


ROUTES = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", f"/v1/jobs/{uuid.UUID(int=0)}"),
    ("GET", f"/v1/jobs/{uuid.UUID(int=0)}/transitions"),
    ("POST", f"/v1/jobs/{uuid.UUID(int=0)}:cancel"),
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


def test_a_submitted_job_is_shown_in_full(ann: Caller) -> None:
    retry = {
        "backoff": {"first_delay_seconds": 1, "factor": 1.1, "max_delay_seconds": 60},
        "rules": [{"exit_codes": [2], "action": "fail"}, {"reasons": ["timeout"], "action": "retry"}],
        "max_infrastructure_retries": 0,
    }
    asked = {**BODY, "name": "é", "env": {"A": "b"}, "max_retries": 1, "timeout_seconds": 9}
    asked |= {"retry": retry, "provisioning": "spot"}
    answer = ann.submit(asked)
    job = answer.json()
    assert answer.status_code == 201
    assert list(job) == JOB_FIELDS
    assert {name: job[name] for name in asked} == asked
    assert (job["status"], job["version"], job["attempt"], job["retry_count"]) == ("PENDING", 1, 1, 0)
    assert job["created_at"] == job["updated_at"]
    assert job["created_at"].endswith("Z")
    shown = ann.get(f"/v1/jobs/{job['job_id']}").json()
    assert list(shown) == [*JOB_FIELDS, "attempts"]
    assert shown == {**job, "attempts": []}
    assert ann.get("/v1/jobs").json() == {"jobs": [job], "next_page_token": None}
    trail = ann.get(f"/v1/jobs/{job['job_id']}/transitions").json()
    assert trail["next_page_token"] is None
    (first,) = trail["transitions"]
    assert list(first) == TRANSITION_FIELDS
    assert (first["from_status"], first["to_status"], first["actor"]) == (None, "PENDING", "tenant")
    assert first["transitioned_at"] == job["created_at"]


def test_reading_makes_no_tenant(server: Server, ann: Caller) -> None:
    with unchanged(server.database):
        answer = ann.get("/v1/jobs")
        assert (answer.status_code, answer.json()) == (200, {"jobs": [], "next_page_token": None})
        refused(ann.get(f"/v1/jobs/{uuid.uuid4()}"), 404, "NOT_FOUND")
        refused(ann.get(f"/v1/jobs/{uuid.uuid4()}/transitions"), 404, "NOT_FOUND")
        refused(ann.call("POST", f"/v1/jobs/{uuid.uuid4()}:cancel"), 404, "NOT_FOUND")


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
    ("method", "shape"), [("GET", "{}"), ("GET", "{}/transitions"), ("POST", "{}:cancel")]
)
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


def put_job(server: Server, tenant_id: str, status: str, created_at: datetime | None = None) -> str:
    """A row as it would be found later."""
    job_id = str(uuid.uuid4())
    columns = ("TenantId", "JobId", "Status", "ImageUri", "Version", "CreatedAt")
    with server.database.batch() as batch:
        batch.insert("Jobs", columns, [(tenant_id, job_id, status, "busybox", 1, created_at)])
    return job_id


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_what_has_ended_is_not_cancelled(server: Server, ann: Caller, status: str) -> None:
    job_id = put_job(server, ann.submitted()["tenant_id"], status)
    with unchanged(server.database):
        error = refused(ann.call("POST", f"/v1/jobs/{job_id}:cancel"), 409, "FAILED_PRECONDITION")
    assert status in error["message"]


def test_a_cancel_is_done_once(server: Server, ann: Caller) -> None:
    job_id = ann.submitted()["job_id"]
    first = ann.call("POST", f"/v1/jobs/{job_id}:cancel")
    assert (first.status_code, first.json()["status"], first.json()["version"]) == (200, "CANCELLED", 2)
    assert list(first.json()) == JOB_FIELDS
    with unchanged(server.database):
        again = ann.call("POST", f"/v1/jobs/{job_id}:cancel", content=b"{not read")
        assert (again.status_code, again.json()) == (200, first.json())


def test_a_key_brings_the_same_job_again(server: Server, ann: Caller) -> None:
    first = ann.submit(key="k")
    assert first.status_code == 201
    with unchanged(server.database):
        for same in (BODY, {"commands": ["true"], "image_uri": "busybox", "max_retries": 3, "env": {}}):
            again = ann.submit(same, key="k")
            assert (again.status_code, again.json()) == (200, first.json())
        for other in ({**BODY, "commands": ["false"]}, {**BODY, "max_retries": 0}, {**BODY, "name": "x"}):
            refused(ann.submit(other, key="k"), 409, "ALREADY_EXISTS", "Idempotency-Key")


def test_keys_of_two_tenants_never_meet(ann: Caller, bob: Caller) -> None:
    one, other = ann.submit(key="k"), bob.submit({**BODY, "commands": ["false"]}, key="k")
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.json()["job_id"] != other.json()["job_id"]
    assert one.json()["tenant_id"] != other.json()["tenant_id"]


@pytest.mark.parametrize("key", ["k", "k" * 255, "a b", "~!@#$%^&*()_+|'\"\\"])
def test_keys_that_are_taken(ann: Caller, key: str) -> None:
    assert [ann.submit(key=key).status_code for _ in range(2)] == [201, 200]
    assert ann.submit(key=key + "x" if len(key) < 255 else "other").status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "é".encode(), "é".encode("latin-1"), b"\xff"])
def test_keys_that_are_refused(server: Server, ann: Caller, key: str | bytes) -> None:
    with unchanged(server.database):
        refused(ann.submit(key=key), 400, "INVALID_ARGUMENT", "Idempotency-Key")


def test_pages_are_complete_and_stable_while_jobs_arrive(ann: Caller) -> None:
    expected = [ann.submitted()["job_id"] for _ in range(7)][::-1]
    found: list[str] = []
    token: str | None = ""
    sizes = []
    while token is not None:
        page = ann.get("/v1/jobs", page_size="3", page_token=token).json()
        found += [job["job_id"] for job in page["jobs"]]
        sizes.append(len(page["jobs"]))
        token = page["next_page_token"]
        ann.submitted()
    assert found == expected
    assert sizes == [3, 3, 1]


def test_a_page_that_ends_exactly_has_no_next(ann: Caller) -> None:
    for _ in range(2):
        ann.submitted()
    assert ann.get("/v1/jobs", page_size="2").json()["next_page_token"] is None
    assert ann.get("/v1/jobs", page_size="1").json()["next_page_token"] is not None


def test_jobs_of_one_moment_or_of_none_are_listed_once(server: Server, ann: Caller) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    moment = datetime.now(UTC) - timedelta(days=1)
    put = [put_job(server, tenant_id, "COMPLETED", at) for at in [moment] * 4 + [None] * 3]
    for filtered in ({}, {"status": "COMPLETED"}):
        for page_size in ("1", "2", "3", "100"):
            listed = [job["job_id"] for job in ann.listed(page_size=page_size, **filtered)]
            assert listed[-7:] == sorted(put[:4]) + sorted(put[4:])
            assert len(listed) == (7 if filtered else 8)


def test_a_status_lists_its_jobs_only(server: Server, ann: Caller) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    ids = {status: [put_job(server, tenant_id, status) for _ in range(2)] for status in JobStatus}
    for status in JobStatus:
        listed = ann.listed(status=status, page_size="1")
        assert {job["status"] for job in listed} == {status}
        assert {job["job_id"] for job in listed} >= set(ids[status])
        assert len(listed) == len({job["job_id"] for job in listed}) == 2 + (status == "PENDING")


def test_tokens_hold_for_their_own_listing_and_tenant(ann: Caller, bob: Caller) -> None:
    for _ in range(2):
        job = ann.submitted()
        bob.submitted()
    token = ann.get("/v1/jobs", page_size="1").json()["next_page_token"]
    refused(bob.get("/v1/jobs", page_token=token), 400, "INVALID_ARGUMENT", "page_token")
    refused(ann.get("/v1/jobs", status="PENDING", page_token=token), 400, "INVALID_ARGUMENT", "page_token")
    path = f"/v1/jobs/{job['job_id']}/transitions"
    refused(ann.get(path, page_token=token), 400, "INVALID_ARGUMENT", "page_token")
    assert ann.get("/v1/jobs", page_token=token, page_size="100").status_code == 200


@pytest.mark.parametrize(
    "position",
    [
        ["0001-01-01T00:00:00+14:00", "x"],
        ["9999-12-31T23:59:59-14:00", "x"],
        ["2026-01-01T00:00:00", "x"],
        ["yesterday", "x"],
        ["2026-01-01T00:00:00+00:00", "\ud800"],
        ["2026-01-01T00:00:00+00:00", "a\0"],
    ],
)
def test_tokens_that_a_tenant_makes_up_are_refused(ann: Caller, position: list[str]) -> None:
    tenant_id = ann.submitted()["tenant_id"]
    token = encode_token(position, query=("jobs", tenant_id, None))
    refused(ann.get("/v1/jobs", page_token=token), 400, "INVALID_ARGUMENT", "page_token")


def test_the_trail_comes_in_pages_oldest_first(ann: Caller) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    ann.call("POST", f"{path}:cancel")
    first = ann.get(f"{path}/transitions", page_size="1").json()
    second = ann.get(f"{path}/transitions", page_size="1", page_token=first["next_page_token"]).json()
    rows = first["transitions"] + second["transitions"]
    assert [(row["from_status"], row["to_status"]) for row in rows] == [
        (None, "PENDING"),
        ("PENDING", "CANCELLED"),
    ]
    assert second["next_page_token"] is None
    assert rows == ann.get(f"{path}/transitions").json()["transitions"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
        ("PATCH", f"/v1/jobs/{uuid.UUID(int=0)}", "GET, HEAD"),
        ("POST", f"/v1/jobs/{uuid.UUID(int=0)}", "GET, HEAD"),
        ("POST", f"/v1/jobs/{uuid.UUID(int=0)}/transitions", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
    ],
)
def test_other_methods_are_told_what_is_allowed(ann: Caller, method: str, path: str, allowed: str) -> None:
    answer = ann.call(method, path)
    refused(answer, 405, "UNIMPLEMENTED")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/jobs", "/v1/job", "/v1/jobs/a/b", "/v1/jobs/a/transitions/b", "/%00"]
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
