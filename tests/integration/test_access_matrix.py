"""Who may do what: every operation of the served document, every kind of caller; own, foreign, missing jobs.

A new operation has no cells here, and fails until somebody has thought about them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.issuer import LocalIssuer
from jennah.local.processes import Processes
from shared.api.operations import OPERATIONS
from tests.integration.api_process import ApiProcess, running_api
from tests.integration.function_process import unchanged
from tests.token_mutants import mutants

BODY: dict[str, Any] = {"image_uri": "busybox", "commands": ["true"]}

# What each operation answers to somebody who may: on the caller's own job, which is CANCELLED since a moment.
GRANTED: Mapping[str, int] = {
    "submit_job": 201,
    "batch_create_jobs": 201,
    "list_jobs": 200,
    "get_job": 200,
    "list_transitions": 200,
    "stream_events": 200,
    "read_logs": 200,
    "cancel_job": 200,
    "retry_job": 201,
    "delete_job": 409,
    "get_tenant": 200,
    "delete_tenant": 202,
}
# What is asked in two ways, each with cells of its own.
VARIANTS: Sequence[tuple[str, Mapping[str, str]]] = [
    *((operation, {}) for operation in sorted(GRANTED)),
    ("read_logs", {"follow": "true"}),
]
# What is answered to whoever asks.
ANONYMOUS = {"health", "get_openapi"}
# What operators may ask of other tenants.
ACROSS = {"list_jobs", "get_job", "list_transitions"}
# What is there for whoever has a tenant only.
OF_A_TENANT = {"get_tenant", "delete_tenant"}

BODIES: Mapping[str, Any] = {"submit_job": BODY, "batch_create_jobs": {"requests": [BODY]}}

UNPROVED = ("nobody", "expired", "wrong audience", "wrong issuer", "wrong key", "no algorithm")
STRANGERS = ("not admitted",)
NEWCOMERS = ("no tenant yet",)
TENANTS = ("other tenant", "same subject elsewhere", "owner", "operator")
PRINCIPALS = (*UNPROVED, *STRANGERS, *NEWCOMERS, *TENANTS)

MALFORMED = ("x", "-", "%00", "a" * 300, "%F0%9F%99%82", "0" * 36)


@dataclass(frozen=True)
class Route:
    """An operation of the document."""

    id: str
    method: str
    path: str
    parameters: frozenset[str]

    @property
    def of_a_job(self) -> bool:
        return "{job_id}" in self.path


def routes(document: Mapping[str, Any]) -> dict[str, Route]:
    return {
        operation["operationId"]: Route(
            operation["operationId"],
            method.upper(),
            path,
            frozenset(parameter["name"] for parameter in operation.get("parameters", ())),
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@dataclass
class Scene:
    """One operation, and everybody who may try it, each with a job of their own where they have a tenant."""

    api: ApiProcess
    route: Route
    tokens: dict[str, str | None] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    tenant_id: str = ""
    canary: str = field(default_factory=lambda: f"canary{uuid.uuid4().hex}")
    params: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        local, elsewhere = self.api.issuers
        subject, unknown = uuid.uuid4().hex, LocalIssuer()
        unknown.server_close()
        operator = {"roles": ["jennah-operator"]}
        owner = partial(local.mint, "owner@example.com", sub=subject)
        bad = mutants(local)
        self.tokens = {
            "nobody": None,
            "expired": owner(exp=1),
            "wrong audience": owner(aud="another-program"),
            "wrong issuer": unknown.mint("owner@example.com", sub=subject),
            "wrong key": bad["another's key"].removeprefix("Bearer "),
            "no algorithm": bad["alg 'none', no signature"].removeprefix("Bearer "),
            "not admitted": local.mint("owner@example.org", sub=uuid.uuid4().hex),
            "no tenant yet": local.mint("new@example.com", sub=uuid.uuid4().hex),
            "other tenant": local.mint("other@example.com", sub=uuid.uuid4().hex),
            # Who is an operator elsewhere is none here.
            "same subject elsewhere": elsewhere.mint("owner@example.com", sub=subject, **operator),
            "owner": owner(),
            "operator": local.mint("root@example.org", sub=uuid.uuid4().hex, **operator),
        }
        assert tuple(self.tokens) == PRINCIPALS
        for principal in TENANTS:
            named = {"name": self.canary, "env": {"CANARY": self.canary}} if principal == "owner" else {}
            job = self.send(principal, "POST", "/v1/jobs", {**BODY, **named}).json()
            self.jobs[principal] = job["job_id"]
            cancelled = self.send(principal, "POST", f"/v1/jobs/{job['job_id']}:cancel")
            assert cancelled.json()["status"] == "CANCELLED"
            if principal == "owner":
                self.tenant_id = job["tenant_id"]

    def send(
        self, principal: str, method: str, path: str, body: object = None, **params: str
    ) -> httpx.Response:
        token = self.tokens[principal]
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.api.client.request(method, path, json=body, headers=headers, params=params)

    def ask(self, principal: str, job_id: str = "", **params: str) -> httpx.Response:
        """Try the operation."""
        return self.ask_as(self.route.method, principal, job_id, **params)

    def ask_as(self, method: str, principal: str, job_id: str = "", **params: str) -> httpx.Response:
        """Try it with this method."""
        path = self.route.path.replace("{job_id}", job_id)
        body = None if method == "HEAD" else BODIES.get(self.route.id)
        answer = self.send(principal, method, path, body, **self.params, **params)
        assert answer.status_code < 500, (principal, job_id, params, answer.text)
        if principal != "owner" and "tenant_id" not in params:
            self.assert_nothing_leaks(answer)
        return answer

    def assert_nothing_leaks(self, answer: httpx.Response) -> None:
        shown = f"{answer.headers} {answer.text}"
        for secret in (self.canary, self.tenant_id, self.jobs["owner"]):
            assert secret not in shown

    def same(self, principal: str, *job_ids: str, status: int) -> None:
        """These jobs are answered alike, to the last byte."""
        seen = {seen_of(self.ask(principal, job_id)) for job_id in job_ids}
        assert len(seen) == 1, (principal, seen)
        assert next(iter(seen))[0] == status, (principal, seen)


def seen_of(answer: httpx.Response) -> tuple[int, bytes, tuple[tuple[str, str], ...]]:
    """All that a client sees, but the time."""
    headers = tuple(sorted((name, value) for name, value in answer.headers.items() if name != "date"))
    return answer.status_code, answer.content, headers


@pytest.fixture(scope="module")
def api(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ApiProcess]:
    hosts = {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host}
    claim = {"name": "roles", "value": "jennah-operator", "provider": "local"}
    settings = {
        "JENNAH_ADMIT": json.dumps({"domains": ["example.com"]}),
        "JENNAH_OPERATORS": json.dumps({"claim": claim}),
        "JENNAH_STREAM_SECONDS": "0.1",
    }
    folder = tmp_path_factory.mktemp("matrix")
    providers = ("local", "elsewhere")
    with running_api(
        spanner_instance, processes, folder, hosts, providers=providers, settings=settings
    ) as running:
        yield running


@pytest.fixture(scope="module")
def served(api: ApiProcess) -> dict[str, Route]:
    return routes(api.client.get("/openapi.json").json())


def test_every_operation_has_its_cells(served: dict[str, Route]) -> None:
    assert served.keys() == GRANTED.keys() | ANONYMOUS == {operation.id for operation in OPERATIONS}
    assert {name for name, route in served.items() if "tenant_id" in route.parameters} == ACROSS


@pytest.mark.parametrize("operation", sorted(ANONYMOUS))
def test_what_is_public_is_the_same_for_everybody(
    api: ApiProcess, served: dict[str, Route], operation: str
) -> None:
    scene = Scene(api, served[operation])
    scene.same("nobody", "", status=200)
    assert len({seen_of(scene.ask(principal)) for principal in PRINCIPALS}) == 1


@pytest.mark.parametrize(("operation", "params"), VARIANTS, ids=str)
def test_who_may(
    api: ApiProcess, served: dict[str, Route], operation: str, params: Mapping[str, str]
) -> None:
    scene = Scene(api, served[operation], params=params)
    foreign, missing = scene.jobs["owner"], str(uuid.uuid4())
    targets = (foreign, missing, *MALFORMED) if scene.route.of_a_job else ("",)
    with unchanged(api.database):
        for principal in UNPROVED:
            scene.same(principal, *targets, status=401)
        for principal in STRANGERS:
            scene.same(principal, *targets, status=403)
        if scene.route.of_a_job:
            for principal in (*NEWCOMERS, *TENANTS):
                of_another = scene.jobs["other tenant" if principal == "owner" else "owner"]
                scene.same(principal, of_another, of_another.upper(), missing, *MALFORMED, status=404)
            # And to everybody alike.
            assert len({seen_of(scene.ask(principal, missing)) for principal in (*NEWCOMERS, *TENANTS)}) == 1
    for principal in TENANTS:
        assert scene.ask(principal, scene.jobs[principal]).status_code == GRANTED[operation], principal
    if not scene.route.of_a_job:
        expected = 404 if operation in OF_A_TENANT else GRANTED[operation]
        with unchanged(api.database) if operation not in BODIES else nullcontext():
            assert scene.ask("no tenant yet").status_code == expected


@pytest.mark.parametrize(
    ("operation", "params"), [*VARIANTS, *((operation, {}) for operation in sorted(ANONYMOUS))], ids=str
)
def test_head_is_get_without_the_body(
    api: ApiProcess, served: dict[str, Route], operation: str, params: Mapping[str, str]
) -> None:
    """For everybody alike; and where GET is not answered, HEAD is not."""
    scene = Scene(api, served[operation], params=params)
    with unchanged(api.database):
        for principal in PRINCIPALS:
            own = [scene.jobs[principal]] if principal in TENANTS else []
            targets = (*own, scene.jobs["owner"], str(uuid.uuid4()), *MALFORMED)
            for job_id in targets if scene.route.of_a_job else ("",):
                head, get = (scene.ask_as(method, principal, job_id) for method in ("HEAD", "GET"))
                assert head.content == b""
                get.headers.pop("Transfer-Encoding", None)  # of a body that is not there
                assert seen_of(head)[::2] == seen_of(get)[::2], (principal, job_id)


@pytest.mark.parametrize("operation", sorted(ACROSS))
def test_only_operators_ask_of_other_tenants(
    api: ApiProcess, served: dict[str, Route], operation: str
) -> None:
    scene = Scene(api, served[operation])
    job_id = scene.jobs["owner"] if scene.route.of_a_job else ""
    nobodys = str(uuid.uuid4())
    tenants = [scene.tenant_id, nobodys, *([] if scene.route.of_a_job else ["-"])]
    with unchanged(api.database):
        for principal in PRINCIPALS[:-1]:
            refused = 401 if principal in UNPROVED else 403
            seen = {seen_of(scene.ask(principal, job_id, tenant_id=tenant)) for tenant in tenants}
            assert {status for status, _, _ in seen} == {refused}
            assert len(seen) == 1
            assert scene.canary not in str(seen)
        shown = scene.ask("operator", job_id, tenant_id=scene.tenant_id)
        assert shown.status_code == 200
        if operation != "list_transitions":
            assert scene.canary in shown.text
        if scene.route.of_a_job:
            assert scene.ask("operator", job_id, tenant_id=nobodys).status_code == 404
            strange = scene.ask("operator", str(uuid.uuid4()), tenant_id=scene.tenant_id)
            assert strange.status_code == 404


def test_a_listing_shows_its_callers_jobs_only(api: ApiProcess, served: dict[str, Route]) -> None:
    scene = Scene(api, served["list_jobs"])
    for principal in TENANTS:
        jobs = scene.ask(principal).json()["jobs"]
        assert [job["job_id"] for job in jobs] == [scene.jobs[principal]]


@pytest.mark.parametrize("operation", ["list_jobs", "list_transitions"])
def test_a_page_token_is_its_callers_own(api: ApiProcess, served: dict[str, Route], operation: str) -> None:
    scene = Scene(api, served[operation])
    scene.send("owner", "POST", "/v1/jobs", BODY)
    job_id = scene.jobs["owner"] if scene.route.of_a_job else ""
    token = scene.ask("owner", job_id, page_size="1").json()["next_page_token"]
    assert scene.ask("owner", job_id, page_size="1", page_token=token).status_code == 200
    for principal in (*NEWCOMERS, *TENANTS):
        if principal != "owner":
            own = scene.jobs.get(principal, str(uuid.uuid4())) if scene.route.of_a_job else ""
            answer = scene.ask(principal, own, page_size="1", page_token=token)
            assert answer.status_code == (400 if principal in TENANTS or not own else 404)


def test_an_idempotency_key_is_its_callers_own(api: ApiProcess, served: dict[str, Route]) -> None:
    scene = Scene(api, served["submit_job"])
    key = {"Idempotency-Key": uuid.uuid4().hex}
    jobs = set()
    for principal in (*NEWCOMERS, *TENANTS):
        headers = {"Authorization": f"Bearer {scene.tokens[principal]}", **key}
        answers = [api.client.post("/v1/jobs", json=BODY, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 200]
        jobs |= {answer.json()["job_id"] for answer in answers}
    assert len(jobs) == 1 + len(TENANTS)
