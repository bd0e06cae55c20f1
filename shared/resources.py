"""What a job asks of the machines that run it, as plain values. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one task is given: thousandths of a vCPU, and MiB of memory."""

    cpu_milli: int
    memory_mib: int


# Sizes by name. What a name means never changes: jobs are stored with the name.
PROFILES: Mapping[str, Resources] = {
    "small": Resources(cpu_milli=1000, memory_mib=2048),
    "medium": Resources(cpu_milli=2000, memory_mib=4096),
    "large": Resources(cpu_milli=4000, memory_mib=8192),
    "xlarge": Resources(cpu_milli=8000, memory_mib=16_384),
}
DEFAULT_PROFILE = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The GPUs of each machine: Compute Engine's name for their type, and how many."""

    type: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A Cloud Storage bucket, or the objects below `path` in it, as a folder of the container."""

    bucket: str
    path: str | None = None
    mount_path: str
    read_only: bool = True
