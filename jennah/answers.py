"""What the server shows, typed. Fields that are not known here are kept in `as_json`, and else ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from jennah.connection import Json

FINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class StatusDetail:
    """Why a job stands as it does: a code for programs and a sentence for people."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


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
    last_ignored: str | None = None
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
class LogEntry:
    """A line that a task wrote, to `stdout` or `stderr`; without its line break."""

    timestamp: datetime | None = None
    task: int = 0
    stream: str = "stdout"
    message: str = ""
    as_json: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who one is on a server. `deleted_at`: since when the tenant is being deleted.

    `limits` are those that hold for it, by name, None is without one; `usage` is how much of them is used.
    """

    tenant_id: str
    email: str | None = None
    provider: str | None = None
    subject: str | None = None
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)
    usage: Mapping[str, float | None] = field(default_factory=dict)
    as_json: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server showed it; times are aware. Only `get_job` and what watches fill `attempts`.

    A row from before this release, adopted, may lack what is None by default, its `created_at` too. What was
    asked for has the shapes that `JobFields` names.
    """

    job_id: str
    tenant_id: str
    status: str
    origin_job_id: str | None = None
    image_uri: str | None = None
    created_at: datetime | None = None
    name: str | None = None
    status_detail: StatusDetail | None = None
    entrypoint: str | None = None
    commands: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int | None = None
    max_retries: int = 0
    retry: Mapping[str, Any] = field(default_factory=dict)
    provisioning: str | None = None
    resources: Mapping[str, int] | None = None
    profile: str | None = None
    machine_type: str | None = None
    gpus: Mapping[str, Any] | None = None
    boot_disk_gib: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mapping[str, Any]] = ()
    task_count: int = 1
    parallelism: int | None = None
    priority: int = 0
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


T = TypeVar("T", Job, Attempt, Transition, LogEntry, Tenant)


def job(data: Json) -> Job:
    """A job, with its attempts if they are shown.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    attempts = tuple(read(Attempt, entry) for entry in data.get("attempts") or ())
    return read(Job, data, attempts=attempts, status_detail=_detail(data.get("status_detail")))


def tenant(data: Json) -> Tenant:
    """A tenant; raises as `job`."""
    return read(Tenant, data)


def transitions(page: Json) -> list[Transition]:
    """A page of an audit trail; raises as `job`."""
    return [read(Transition, line) for line in page["transitions"]]


def log_page(page: Json) -> tuple[list[LogEntry], str | None]:
    """A page of a log, and the token of the next; raises as `job`."""
    return [read(LogEntry, line) for line in page["entries"]], page.get("next_page_token")


def read(kind: type[T], data: Json, **replaced: object) -> T:
    """Anything that has no parts of its own.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    shown = {known.name: data.get(known.name) for known in fields(kind)}
    values: Json = {name: value for name, value in shown.items() if value is not None}
    for name, value in values.items():
        if name.endswith("_at") or name == "timestamp":
            values[name] = datetime.fromisoformat(value)
    return kind(**values | replaced | {"as_json": data})


def _detail(shown: str | Json | None) -> StatusDetail | None:
    if isinstance(shown, str):  # of a server from before there were codes
        return StatusDetail("unknown", shown)
    return StatusDetail(shown["code"], shown["message"]) if shown else None
