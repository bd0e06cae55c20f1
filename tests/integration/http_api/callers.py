"""Who calls the Jobs API in these tests, and what an answer must look like."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from google.cloud.spanner_v1.database import Database

from jennah.local.issuer import LocalIssuer

JOB_FIELDS = [
    *("job_id", "tenant_id", "origin_job_id", "name", "status", "status_detail", "image_uri", "entrypoint"),
    *("commands", "env", "secret_env", "timeout_seconds", "retry", "provisioning", "resources", "profile"),
    *("machine_type", "gpus", "boot_disk_gib", "labels", "mounts", "task_count", "parallelism", "priority"),
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


def caller(server: Server, domain: str = "example.com", **claims: object) -> Caller:
    return Caller(server, server.issuer.mint(f"{uuid.uuid4().hex}@{domain}", **claims))


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


def put_jobs(
    server: Server, tenant_id: str, status: str, times: Sequence[datetime | None], **columns: object
) -> list[str]:
    """Rows as they would be found later, one for each time of creation."""
    names = ("TenantId", "JobId", "Status", "ImageUri", "Version", "CreatedAt", *columns)
    ids = [str(uuid.uuid4()) for _ in times]
    with server.database.batch() as batch:
        batch.insert(
            "Jobs",
            names,
            [
                (tenant_id, job_id, status, "busybox", 1, at, *columns.values())
                for job_id, at in zip(ids, times, strict=True)
            ],
        )
    return ids


def put_job(
    server: Server, tenant_id: str, status: str, created_at: datetime | None = None, **columns: object
) -> str:
    """A row as it would be found later."""
    return put_jobs(server, tenant_id, status, [created_at], **columns)[0]
