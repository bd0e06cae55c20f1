"""The options of `jennah submit`, and the request that they make.

What is allowed is the server's to say: only the shape of the request is made here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

_RETRIES = "Retries and machines"

Name = Annotated[str | None, typer.Option(help="A name to know it by.")]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="For its environment; repeatable.")
]
Timeout = Annotated[int | None, typer.Option(min=1, help="Seconds that one attempt may run.")]
IdempotencyKey = Annotated[
    str | None, typer.Option(help="Submitting again under the same key gives the same job.")
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
        rich_help_panel=_RETRIES,
    ),
]


def environment(texts: Sequence[str]) -> dict[str, str]:
    """The variables that KEY=VALUE texts name.

    Raises:
        BadParameter: one is none.
    """
    variables = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--env")
        variables[name] = value
    return variables


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
    backoff = _given(first_delay_seconds=delay, factor=factor, max_delay_seconds=max_delay)
    codes = [int(cause) for cause in fail_on if re.fullmatch("[0-9]{1,9}", cause)]
    reasons = [cause for cause in fail_on if not re.fullmatch("[0-9]{1,9}", cause)]
    kinds = {"exit_codes": codes, "reasons": reasons}
    rules = [{kind: causes, "action": "fail"} for kind, causes in kinds.items() if causes]
    return _given(
        backoff=backoff or None, rules=rules or None, max_infrastructure_retries=max_infrastructure_retries
    )


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
