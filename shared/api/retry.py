"""When a failed attempt is tried again, as a tenant asks for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from shared.api.shapes import WHOLE, Shape
from shared.spec import Backoff, FailureReason, RetryAction, RetryPolicy, RetryRule

# The reasons that a rule may name: the others are never tried again, whatever a rule says.
RetryReason = Literal[
    "user_exit", "timeout", "spot_preemption", "vm_lost", "vanished", "queue_timeout", "unknown"
]
_Seconds = Annotated[int, Field(ge=0, le=86_400), WHOLE]


class BackoffRequest(Shape):
    """How long retries wait: each a random share of a delay that grows up to a limit."""

    first_delay_seconds: _Seconds = 10
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    max_delay_seconds: _Seconds = 600


def _kind(name: str, other: str) -> dict[str, Any]:
    given = {"type": "array"}
    return {"required": [name], "properties": {name: given, other: {"type": "null"}}}


class RetryRuleRequest(Shape):
    """What follows a failure of these kinds: either exit codes, or reasons."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [_kind("exit_codes", "reasons"), _kind("reasons", "exit_codes")]}
    )

    exit_codes: (
        Annotated[list[Annotated[int, Field(ge=1, le=65_535), WHOLE]], Field(min_length=1, max_length=100)]
        | None
    ) = None
    reasons: Annotated[list[RetryReason], Field(min_length=1, max_length=100)] | None = None
    action: Literal["retry", "fail"]

    @model_validator(mode="after")
    def _names_one_kind(self) -> Self:
        if (self.exit_codes is None) == (self.reasons is None):
            raise ValueError("must name exit_codes or reasons, one of the two")
        return self

    def rule(self) -> RetryRule:
        """The rule as it is stored."""
        return RetryRule(
            exit_codes=tuple(self.exit_codes or ()),
            reasons=tuple(FailureReason(reason) for reason in self.reasons or ()),
            action=RetryAction(self.action),
        )


class RetryRequest(Shape):
    """When a failed attempt is tried again, apart from `max_retries`."""

    backoff: BackoffRequest | None = None
    rules: Annotated[list[RetryRuleRequest], Field(max_length=20)] = []
    max_infrastructure_retries: Annotated[int, Field(ge=0, le=20), WHOLE] = 5

    def policy(self) -> RetryPolicy:
        """The policy as it is stored."""
        return RetryPolicy(
            backoff=Backoff(**self.backoff.model_dump()) if self.backoff else None,
            rules=tuple(rule.rule() for rule in self.rules),
            max_infrastructure_retries=self.max_infrastructure_retries,
        )
