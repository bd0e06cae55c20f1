"""A typed client of Jennah's HTTP API.

    with Client("https://jobs.example.com", token) as client:
        job = client.submit_job("busybox", ["echo", "hello"])
        for job in client.watch_job(job.job_id):
            print(job.status)

Every request is idempotent (a submission always carries a key), so each may be repeated when the network or
the server fails for a moment. A newer server is no error: what it shows beyond what is known here stands in
`as_json`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack
from urllib.parse import quote

from jennah import answers
from jennah.answers import FINAL_STATUSES, Attempt, Job, LogEntry, StatusDetail, Tenant, Transition
from jennah.connection import ApiError, ClientError, Connection, ConnectionFailed, Json
from jennah.endpoint import Token
from jennah.event_stream import events
from jennah.job_fields import JobFields, checked_id, checked_key
from jennah.job_watch import watched

__all__ = [
    "FINAL_STATUSES",
    "ApiError",
    "Attempt",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Job",
    "JobFields",
    "LogEntry",
    "StatusDetail",
    "Tenant",
    "Transition",
]

_JOBS = "/v1/jobs"
_TENANT = "/v1/tenant"
_LOG_PAGE = 1000

T = TypeVar("T")


class Client:
    """Speaks for one tenant to one server. Threads may share it.

    Every method raises `ApiError` when the server refuses and `ConnectionFailed` when it can't be reached;
    `ValueError` for a job id or an idempotency key that can't be one.

    Args:
        url: the server, e.g. `https://jobs.example.com`.
        token: an OpenID Connect ID token for the server's audience; or what gives one, which is asked at the
            first request, and again when the server refuses the token that it gave before.
        retry_seconds: for how long a request may be repeated after connection failures and the answers
            429, 502, 503 and 504; at most 3 s for a server that never answered.
        insecure: let the token go to another machine over plain http, where it can be read on its way.

    Raises:
        ValueError: `url` is no http or https URL or not `insecure`, `token` can't stand in a header, or the
            environment names a proxy or certificates that can't be used.
    """

    def __init__(
        self, url: str, token: Token, *, retry_seconds: float = 30.0, insecure: bool = False
    ) -> None:
        self._connection = Connection(url, token, retry_seconds=retry_seconds, insecure=insecure)

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
        idempotency_key: str | None = None,
        **asked: Unpack[JobFields],
    ) -> Job:
        """Submit a job, or get the one that was submitted under the same key with the same content.

        Args:
            image_uri: the container image.
            commands: its argv; empty runs the image's own.
            idempotency_key: what makes a repeated submission the same job; None makes a new one.
            asked: whatever else `JobFields` names.
        """
        given = {"image_uri": image_uri, "commands": list(commands) or None} | asked
        return self.submit_request(given, idempotency_key=idempotency_key)

    def submit_request(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """The same with the request as the API takes it, such as a file may hold it."""
        return self._connection.ask(
            answers.job, "POST", _JOBS, json=_given(request), headers=_key(idempotency_key)
        )

    def submit_jobs(
        self, requests: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[Job]:
        """Submit up to 100 jobs, all or none; the jobs stand in the order of the requests.

        Args:
            requests: each as `submit_request` takes it.
            idempotency_key: names them all.
        """
        body = {"requests": [_given(request) for request in requests]}
        return self._connection.ask(
            lambda data: [answers.job(entry) for entry in data["jobs"]],
            *("POST", f"{_JOBS}:batchCreate"),
            json=body,
            headers=_key(idempotency_key),
        )

    def retry_job(self, job_id: str, *, idempotency_key: str | None = None) -> Job:
        """Submit a job that FAILED or was CANCELLED again, as a new one that names it in `origin_job_id`.

        Any other is an `ApiError` of 409.
        """
        path = f"{_path(job_id)}:retry"
        return self._connection.ask(answers.job, "POST", path, headers=_key(idempotency_key))

    def get_job(self, job_id: str, *, tenant_id: str | None = None) -> Job:
        """Get one job with its attempts; operators may name whose it is."""
        return self._connection.ask(
            answers.job, "GET", _path(job_id), params=_given({"tenant_id": tenant_id})
        )

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job; a cancelled one stays as it is, a COMPLETED or FAILED one is an `ApiError` of 409."""
        return self._connection.ask(answers.job, "POST", f"{_path(job_id)}:cancel")

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended, with its audit trail; any other is an `ApiError` of 409."""
        try:
            self._connection.ask(lambda _: None, "DELETE", _path(job_id))
        except ApiError as error:
            if error.status != 404 or not error.repeated:
                raise  # else the try whose answer was lost has deleted it

    def list_jobs(
        self,
        *,
        status: str | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
        tenant_id: str | None = None,
    ) -> Iterator[Job]:
        """Go through the tenant's jobs, newest first; pages are fetched as they are needed.

        Args:
            status: only those in this status.
            created_after: only those that are younger; an aware time.
            page_size: how many to fetch at once.
            tenant_id: for operators: whose; `-` is everybody's.
        """
        since = created_after.isoformat() if created_after else None
        query = {"status": status, "created_after": since, "page_size": page_size, "tenant_id": tenant_id}
        return self._pages(_JOBS, query, lambda page: [answers.job(entry) for entry in page["jobs"]])

    def list_transitions(self, job_id: str, *, tenant_id: str | None = None) -> Iterator[Transition]:
        """Go through a job's audit trail, oldest first; operators may name whose it is."""
        path = f"{_path(job_id)}/transitions"
        return self._pages(path, {"tenant_id": tenant_id}, answers.transitions)

    def follow_transitions(self, job_id: str) -> Iterator[Transition]:
        """Go through a job's audit trail as it grows, to the job's end."""
        for event in events(self._connection, f"{_path(job_id)}/events"):
            if event.kind == "transition":
                yield answers.read(Transition, event.data)

    def read_logs(self, job_id: str, *, attempt: int | None = None, task: int = 0) -> Iterator[LogEntry]:
        """Go through what a task has written so far, oldest first.

        Args:
            job_id: the job.
            attempt: which attempt; None is the current one.
            task: the index of the task.
        """
        path, token = f"{_path(job_id)}/logs", None
        while True:
            query = {"attempt": attempt, "task": task, "page_size": _LOG_PAGE, "page_token": token}
            entries, token = self._connection.ask(answers.log_page, "GET", path, params=_given(query))
            yield from entries
            if not entries or token is None:  # while the attempt runs, there is always a token
                return

    def follow_logs(self, job_id: str, *, attempt: int | None = None, task: int = 0) -> Iterator[LogEntry]:
        """Go through what a task writes as it writes it, to the end of the attempt.

        Args:
            job_id: the job.
            attempt: which attempt; None is the current one and those that follow it, to the job's end.
            task: the index of the task.
        """
        number, gone = attempt or self.get_job(job_id).attempt, False
        while True:
            query = {"attempt": number, "task": task, "follow": "true"}
            for event in events(self._connection, f"{_path(job_id)}/logs", query):
                if event.kind == "log":
                    yield answers.read(LogEntry, event.data)
                gone = event.kind == "end" and event.data.get("status") is None
            if attempt or gone or number >= self.get_job(job_id).attempt:
                return
            number += 1

    def watch_job(self, job_id: str) -> Iterator[Job]:
        """Give the job as it is, again whenever it changed, and last in its final status.

        It asks again after 0.2 s, growing to 3 s while nothing changes.
        """
        return self.watch_jobs([job_id])

    def watch_jobs(
        self, job_ids: Sequence[str], *, on_missing: Callable[[str, ApiError], None] | None = None
    ) -> Iterator[Job]:
        """The same for several jobs, until all are final.

        Args:
            job_ids: the jobs.
            on_missing: is told of a job that there is not, or no longer, and of the 404; the others are
                followed further. Without it the `ApiError` is raised.
        """
        return watched(self.get_job, job_ids, on_missing)

    def get_tenant(self) -> Tenant:
        """Who you are there. The first accepted submission makes you: an `ApiError` of 404 till then."""
        return self._connection.ask(answers.tenant, "GET", _TENANT)

    def find_tenant(self) -> Tenant | None:
        """The same; None before the first accepted submission."""
        try:
            return self.get_tenant()
        except ApiError as error:
            if error.code != "NOT_FOUND":
                raise
            return None

    def delete_tenant(self) -> Tenant | None:
        """Delete the tenant with all its jobs: no new ones are taken, and those that live are cancelled.

        None: the answer was lost, and when the request was repeated the tenant was gone already.
        """
        try:
            return self._connection.ask(answers.tenant, "DELETE", _TENANT)
        except ApiError as error:
            if error.code != "NOT_FOUND" or not error.repeated:
                raise
            return None

    def get_openapi(self) -> Json:
        """The server's OpenAPI document."""
        return self._connection.ask(dict, "GET", "/openapi.json")

    def health(self) -> str:
        """What the server says of itself: `ok`."""
        return self._connection.ask(lambda data: str(data["status"]), "GET", "/health")

    def _pages(self, path: str, query: Json, items: Callable[[Json], list[T]]) -> Iterator[T]:
        def parse(page: Json) -> tuple[list[T], str | None]:
            return items(page), page.get("next_page_token")

        token = None
        while True:
            params = _given(query | {"page_token": token})
            found, token = self._connection.ask(parse, "GET", path, params=params)
            yield from found
            if not token:
                return


def _given(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _key(idempotency_key: str | None) -> dict[str, str]:
    key = str(uuid.uuid4()) if idempotency_key is None else checked_key(idempotency_key)
    return {"Idempotency-Key": key}


def _path(job_id: str) -> str:
    return f"{_JOBS}/{quote(checked_id(job_id), safe='')}"
