"""The options of `jennah submit`, and the request that they make.

What is allowed is the server's to say: only the shape of the request is made here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from jennah.job_fields import checked_key

_RETRIES = "Retries"
_MACHINES = "Machines"


def _key(text: str | None) -> str | None:
    try:
        return None if text is None else checked_key(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Name = Annotated[str | None, typer.Option(help="A name to know it by.")]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="For its environment; repeatable.")
]
SecretEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--secret-env",
        metavar="KEY=VERSION",
        help="The same from Secret Manager: projects/P/secrets/S/versions/V; repeatable.",
    ),
]
Label = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")]
Mount = Annotated[
    list[str] | None,
    typer.Option(
        "--mount",
        metavar="BUCKET[/FOLDER]:PATH[:rw]",
        help="A Cloud Storage bucket as a folder, read-only without :rw; repeatable.",
    ),
]
Entrypoint = Annotated[str | None, typer.Option(help="Run this instead of the image's entrypoint.")]
Priority = Annotated[int | None, typer.Option(min=0, help="Higher ones are scheduled first, 0 to 99.")]
Tasks = Annotated[int | None, typer.Option(min=1, help="How many tasks: more than one is an array job.")]
Parallelism = Annotated[int | None, typer.Option(min=1, help="How many of them run at a time.")]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="PROFILE",
        help="What a task is given: small, medium, large or xlarge.",
        rich_help_panel=_MACHINES,
    ),
]
CpuMilli = Annotated[
    int | None,
    typer.Option(min=1, help="The same in numbers: thousandths of a vCPU,", rich_help_panel=_MACHINES),
]
MemoryMib = Annotated[int | None, typer.Option(min=1, help="and MiB of memory.", rich_help_panel=_MACHINES)]
MachineType = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="A whole machine, e.g. e2-standard-4.", rich_help_panel=_MACHINES),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE[:COUNT]",
        help="GPUs of each machine, e.g. nvidia-tesla-t4:2.",
        rich_help_panel=_MACHINES,
    ),
]
BootDisk = Annotated[
    int | None,
    typer.Option(metavar="GIB", min=1, help="GiB of its boot disk.", rich_help_panel=_MACHINES),
]
Timeout = Annotated[int | None, typer.Option(min=1, help="Seconds that one attempt may run.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(help="Submitting again under the same key gives the same job.", callback=_key),
]
MaxRetries = Annotated[
    int | None,
    typer.Option(min=0, help="How often a failure is tried again.", rich_help_panel=_RETRIES),
]
MaxInfrastructureRetries = Annotated[
    int | None,
    typer.Option(min=0, help="The same for a preemption, a lost VM and the like.", rich_help_panel=_RETRIES),
]
RetryDelay = Annotated[
    int | None,
    typer.Option(min=0, help="Seconds that the first retry waits at most.", rich_help_panel=_RETRIES),
]
RetryFactor = Annotated[
    float | None,
    typer.Option(help="How many times as long the next one waits.", rich_help_panel=_RETRIES),
]
RetryMaxDelay = Annotated[
    int | None,
    typer.Option(min=0, help="Seconds that any retry waits at most.", rich_help_panel=_RETRIES),
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CODE|REASON",
        help="Never tried again after this exit code or reason, e.g. 2 or timeout; repeatable.",
        rich_help_panel=_RETRIES,
    ),
]
Provisioning = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="standard, spot, or spot_then_standard: spot but for the last infrastructure retry.",
        rich_help_panel=_MACHINES,
    ),
]

# Ways to say the same, of which a request has one at most.
_SIZES = ("resources", "profile", "machine_type")


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str] | None:
    """What KEY=VALUE texts name.

    Raises:
        BadParameter: one is none.
    """
    if not texts:
        return None
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        found[name] = value
    return found


def mounts(texts: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """What BUCKET[/FOLDER]:PATH[:rw] texts name.

    Raises:
        BadParameter: one is none.
    """
    return [_mount(text) for text in texts] if texts else None


def _mount(text: str) -> dict[str, Any]:
    source, *rest = text.removeprefix("gs://").split(":")
    bucket, _, folder = source.partition("/")
    if not bucket or len(rest) not in {1, 2} or not rest[0] or rest[1:] not in ([], ["rw"], ["ro"]):
        raise typer.BadParameter(f"{text!r} is not BUCKET[/FOLDER]:PATH[:rw]", param_hint="--mount")
    writable = {"read_only": False} if rest[1:] == ["rw"] else {}
    return given(bucket=bucket, path=folder or None, mount_path=rest[0]) | writable


def gpus(text: str | None) -> dict[str, Any] | None:
    """What TYPE[:COUNT] names.

    Raises:
        BadParameter: it is none.
    """
    if text is None:
        return None
    kind, colon, count = text.partition(":")
    if not kind or (colon and not re.fullmatch("[0-9]{1,4}", count)):
        raise typer.BadParameter(f"{text!r} is not TYPE[:COUNT]", param_hint="--gpus")
    return {"type": kind, "count": int(count or 1)}


def merged(request: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A request with what options say: they add to its mappings and its mounts, and replace the rest."""
    made = dict(request)
    if any(name in options for name in _SIZES):
        made = {name: value for name, value in made.items() if name not in _SIZES}
    for name, value in options.items():
        before = made.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and name != "gpus":
            made[name] = before | value
        elif name == "mounts" and isinstance(before, list):
            made[name] = before + value
        else:
            made[name] = value
    return made


def retry_policy(
    *,
    delay: int | None,
    factor: float | None,
    max_delay: int | None,
    fail_on: Sequence[str],
    max_infrastructure_retries: int | None,
) -> dict[str, Any]:
    """The `retry` field of a submission; what was not asked for is left out.

    Raises:
        BadParameter: the factor is no number that JSON has.
    """
    if factor is not None and not math.isfinite(factor):
        raise typer.BadParameter(f"{factor} is no finite number", param_hint="--retry-factor")
    backoff = given(first_delay_seconds=delay, factor=factor, max_delay_seconds=max_delay)
    codes = [int(cause) for cause in fail_on if re.fullmatch("[0-9]{1,9}", cause)]
    reasons = [cause for cause in fail_on if not re.fullmatch("[0-9]{1,9}", cause)]
    kinds = {"exit_codes": codes, "reasons": reasons}
    rules = [{kind: causes, "action": "fail"} for kind, causes in kinds.items() if causes]
    return given(
        backoff=backoff or None, rules=rules or None, max_infrastructure_retries=max_infrastructure_retries
    )


def given(**fields: object) -> dict[str, Any]:
    """What was asked for."""
    return {name: value for name, value in fields.items() if value is not None}
