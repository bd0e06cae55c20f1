"""What a job asks of the machines that run it, as plain values. Standard library only."""

from __future__ import annotations

import re
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


# Of a type that is named by its accelerators (a3-highgpu-8g, ct5p-hightpu-4t) the vCPUs of one of them.
_VCPUS_OF_ACCELERATOR: Mapping[str, int] = {
    "a2-megagpu": 6,
    "a2-highgpu": 12,
    "a2-ultragpu": 12,
    "a3-edgegpu": 26,
    "a3-highgpu": 26,
    "a3-megagpu": 26,
    "a3-ultragpu": 28,
    "a4-highgpu": 28,
    "a4x-highgpu": 35,
}
# What is not known yet counts as much as any does: a new type must not slip through a limit.
_MOST_VCPUS_OF_ACCELERATOR = 52
_SHARED_CORES = 2


def vcpus(machine_type: str) -> int:
    """The vCPUs in a machine type's name: e2-standard-4, n2-custom-4-8192, a3-highgpu-8g, e2-small."""
    number = re.search(r"-(\d+)([gt]?)(?:-|$)", machine_type)
    if number is None:
        return _SHARED_CORES
    if not number[2]:
        return int(number[1])
    series = machine_type[: number.start()]
    return int(number[1]) * _VCPUS_OF_ACCELERATOR.get(series, _MOST_VCPUS_OF_ACCELERATOR)
