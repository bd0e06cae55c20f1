"""What a submission may ask for, by which key it may be named, and by which id its job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

_LONGEST_KEY = 255


def checked_key(idempotency_key: str) -> str:
    """An idempotency key, once it is known that the server takes it and that it can stand in a header.

    Raises:
        ValueError: it can't.
    """
    key = idempotency_key
    printable = key.isascii() and key.isprintable() and "," not in key
    if 1 <= len(key) <= _LONGEST_KEY and printable and key == key.strip():
        return key
    raise ValueError(
        f"an idempotency key is 1 to {_LONGEST_KEY} printable ASCII characters without a comma, "
        "and with no blank at its ends"
    )


def checked_id(job_id: str) -> str:
    """A job's id, once it is known that it can stand in a path.

    Raises:
        ValueError: it can't.
    """
    if not job_id.strip(".") or "/" in job_id:
        raise ValueError(f"{job_id!r} is no job id: take one that a submission or the list of jobs gave")
    return job_id


class JobFields(TypedDict, total=False):
    """What a submission may ask for beside image and commands. What is None is left to the server's default.

    docs/jobs.md tells what each means and which values there are.
    """

    entrypoint: str | None
    name: str | None
    env: Mapping[str, str] | None
    secret_env: Mapping[str, str] | None
    max_retries: int | None
    timeout_seconds: int | None
    retry: Mapping[str, Any] | None
    provisioning: str | None
    resources: Mapping[str, int] | None
    profile: str | None
    machine_type: str | None
    gpus: Mapping[str, Any] | None
    boot_disk_gib: int | None
    labels: Mapping[str, str] | None
    mounts: Sequence[Mapping[str, Any]] | None
    task_count: int | None
    parallelism: int | None
    priority: int | None
