"""A typed client of Jennah's HTTP API.

    with Client("https://jobs.example.com", token) as client:
        job = client.submit_job("busybox", ["echo", "hello"])
        for job in client.watch_job(job.job_id):
            print(job.status)

Every request is idempotent (a submission always carries a key), so each may be repeated when the network or
the server fails for a moment. Fields that the client does not know are kept in `as_json` and otherwise
ignored: a newer server is no error.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from jennah.connection import ApiError, ClientError, Connection, ConnectionFailed, Json

__all__ = [
    "FINAL_STATUSES",
    "ApiError",
    "Attempt",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Job",
    "Transition",
]

FINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

_FIRST_POLL, _LONGEST_POLL = 0.2, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job, as Batch knew it. Attempts count from 1."""

    attempt: int
    gcp_batch_job_name: str | None = None
    batch_uid: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    as_json: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One line of a job's audit trail. `from_status` is None in the first."""

    transition_id: str
    from_status: str | None = None
    to_status: str
    transitioned_at: datetime | None = None
    reason: str | None = None
    actor: str | None = None
    attempt: int | None = None
    as_json: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server showed it; times are aware. Only `get_job` and `watch_job` fill `attempts`.

    A row from before this release, adopted, may lack what is None by default, its `created_at` too.
    `retry` has the shape that `Client.submit_job` takes.
    """

    job_id: str
    tenant_id: str
    status: str
    image_uri: str | None = None
    created_at: datetime | None = None
    name: str | None = None
    status_detail: str | None = None
    commands: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int | None = None
    max_retries: int = 0
    retry: Mapping[str, Any] = field(default_factory=dict)
    provisioning: str | None = None
    retry_count: int = 0
    infra_retry_count: int = 0
    attempt: int = 1
    version: int = 0
    updated_at: datetime | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error_message: str | None = None
    gcp_batch_job_name: str | None = None
    attempts: Sequence[Attempt] = ()
    as_json: Json = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether the status can't change any more: a failure that is retried shows as PENDING."""
        return self.status in FINAL_STATUSES


class Client:
    """Speaks for one tenant to one server. Threads may share it.

    Every method raises `ApiError` when the server refuses and `ConnectionFailed` when it can't be reached.

    Args:
        url: the server, e.g. `https://jobs.example.com`.
        token: an OpenID Connect ID token for the server's audience.
        retry_seconds: for how long a request may be repeated after connection failures and the answers
            429, 502, 503 and 504; at most 3 s for a server that never answered.

    Raises:
        ValueError: `url` is no http or https URL, or `token` can't stand in a header.
    """

    def __init__(self, url: str, token: str, *, retry_seconds: float = 30.0) -> None:
        self._connection = Connection(url, token, retry_seconds=retry_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def submit_job(
        self,
        image_uri: str,
        commands: Sequence[str] = (),
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        max_retries: int | None = None,
        retry: Mapping[str, Any] | None = None,
        provisioning: str | None = None,
        timeout_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job, or get the one that was submitted under the same key with the same content.

        What is None is left to the server's defaults, the key excepted: without one a new one is made.

        Args:
            image_uri: the container image.
            commands: its argv; empty runs the image's own.
            name: a name to know the job by.
            env: its environment variables.
            max_retries: how often a failure is tried again.
            retry: the rest of the retry policy: `backoff`, `rules` and `max_infrastructure_retries`, each of
                which may be left out, e.g. `{"rules": [{"exit_codes": [2], "action": "fail"}]}`.
            provisioning: `standard`, `spot` or `spot_then_standard`.
            timeout_seconds: how long one attempt may run.
            idempotency_key: what makes a repeated submission the same job.
        """
        given = {
            "commands": list(commands) or None,
            "name": name,
            "env": dict(env) if env else None,
            "max_retries": max_retries,
            "retry": dict(retry) if retry else None,
            "provisioning": provisioning,
            "timeout_seconds": timeout_seconds,
        }
        body = {"image_uri": image_uri} | {key: value for key, value in given.items() if value is not None}
        headers = {"Idempotency-Key": str(uuid.uuid4()) if idempotency_key is None else idempotency_key}
        return self._connection.ask(_job, "POST", "/v1/jobs", json=body, headers=headers)

    def get_job(self, job_id: str) -> Job:
        """Get one job with its attempts."""
        return self._connection.ask(_job, "GET", _path(job_id))

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job; a cancelled one stays as it is, a COMPLETED or FAILED one is an `ApiError` of 409."""
        return self._connection.ask(_job, "POST", f"{_path(job_id)}:cancel")

    def list_jobs(self, *, status: str | None = None, page_size: int | None = None) -> Iterator[Job]:
        """Go through the tenant's jobs, newest first; pages are fetched as they are needed."""
        query = {"status": status, "page_size": page_size}
        return self._pages("/v1/jobs", query, lambda page: [_job(job) for job in page["jobs"]])

    def list_transitions(self, job_id: str) -> Iterator[Transition]:
        """Go through a job's audit trail, oldest first."""
        path = f"{_path(job_id)}/transitions"
        return self._pages(path, {}, lambda page: [_parse(Transition, line) for line in page["transitions"]])

    def watch_job(self, job_id: str) -> Iterator[Job]:
        """Give the job as it is, again whenever it changed, and last in its final status.

        It asks again after 0.2 s, growing to 3 s while nothing changes.
        """
        previous, pause = None, _FIRST_POLL
        while True:
            job = self.get_job(job_id)
            if job != previous:
                previous, pause = job, _FIRST_POLL
                yield job
            if job.is_final:
                return
            time.sleep(pause)
            pause = min(pause * 1.3, _LONGEST_POLL)

    def _pages(self, path: str, query: Json, items: Callable[[Json], list[T]]) -> Iterator[T]:
        def parse(page: Json) -> tuple[list[T], str | None]:
            return items(page), page.get("next_page_token")

        token = None
        while True:
            asked = query | {"page_token": token}
            params = {key: value for key, value in asked.items() if value is not None}
            found, token = self._connection.ask(parse, "GET", path, params=params)
            yield from found
            if not token:
                return


T = TypeVar("T", Job, Attempt, Transition)


def _parse(kind: type[T], data: Json, **replaced: object) -> T:
    shown = {known.name: data.get(known.name) for known in fields(kind)}
    values: Json = {name: value for name, value in shown.items() if value is not None}
    for name, value in values.items():
        if name.endswith("_at"):
            values[name] = datetime.fromisoformat(value)
    return kind(**values | replaced | {"as_json": data})


def _job(data: Json) -> Job:
    return _parse(Job, data, attempts=tuple(_parse(Attempt, entry) for entry in data.get("attempts") or ()))


def _path(job_id: str) -> str:
    if not job_id.strip(".") or "/" in job_id:
        raise ValueError(f"{job_id!r} is no job id: take one that a submission or the list of jobs gave")
    return f"/v1/jobs/{quote(job_id, safe='')}"
