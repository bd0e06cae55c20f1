"""The machines that a tenant asks for, and what is mounted into its containers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.api.shapes import WHOLE, Shape
from shared.api.texts import Matches

MachineType = Annotated[
    str,
    Field(max_length=63),
    Matches(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+", "must be a machine type, such as e2-standard-4"),
]


class ResourcesRequest(Shape):
    """What one task is given. The most are those of Compute Engine's largest machines."""

    cpu_milli: Annotated[int, Field(ge=250, le=416_000, description="Thousandths of a vCPU."), WHOLE]
    memory_mib: Annotated[int, Field(ge=256, le=12_058_624, description="MiB of memory."), WHOLE]


class GpusRequest(Shape):
    """The GPUs of each machine. Their drivers are installed."""

    type: Annotated[
        str,
        Field(max_length=63),
        Matches(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", "must be a type of GPU, such as nvidia-tesla-t4"),
    ]
    count: Annotated[int, Field(ge=1, le=16), WHOLE]


class MountRequest(Shape):
    """A Cloud Storage bucket as a folder of the container. Of two at the same place the later one counts."""

    bucket: Annotated[
        str, Matches(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", "must be the name of a bucket, without gs://")
    ]
    path: (
        Annotated[
            str,
            Field(max_length=512, description="Only the objects below this folder of the bucket."),
            Matches(
                r"[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]*(?:/[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]*)*/?",
                "must be a folder of the bucket, such as data/2026: letters, digits and ._=+@-, "
                "with no name that begins with a dot",
            ),
        ]
        | None
    ) = None
    mount_path: Annotated[
        str,
        Field(max_length=255),
        Matches(
            r"(?!/(?:proc|sys|dev)(?:/|$))(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+",
            "must be an absolute path of letters, digits and ._-, such as /mnt/data, "
            "and not in /proc, /sys or /dev",
        ),
    ]
    read_only: bool = True
