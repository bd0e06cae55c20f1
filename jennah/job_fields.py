"""What a submission may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


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
