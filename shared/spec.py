"""What a tenant asks of a job, with the policy of its retries and the reasons that it speaks of.

Plain values, as they are stored. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from shared.resources import DEFAULT_PROFILE, Gpus, Mount, Resources


class FailureReason(StrEnum):
    """Why an attempt failed."""

    USER_EXIT = "user_exit"
    TIMEOUT = "timeout"
    SPOT_PREEMPTION = "spot_preemption"
    VM_LOST = "vm_lost"
    VANISHED = "vanished"
    QUEUE_TIMEOUT = "queue_timeout"
    UNKNOWN_END = "unknown_end"
    REJECTED = "rejected"
    NAME_TAKEN = "name_taken"
    PLATFORM_FAULT = "platform_fault"
    UNKNOWN = "unknown"

    @property
    def infrastructure(self) -> bool:
        """True where neither the tenant's program nor its request is to blame: it spends the other budget."""
        return self in {
            FailureReason.SPOT_PREEMPTION,
            FailureReason.VM_LOST,
            FailureReason.VANISHED,
            FailureReason.QUEUE_TIMEOUT,
        }

    @property
    def retryable(self) -> bool:
        """False where another attempt could only meet the same refusal, or might do a work twice.

        No rule makes such a failure be tried again.
        """
        return self not in {
            FailureReason.REJECTED,
            FailureReason.NAME_TAKEN,
            FailureReason.PLATFORM_FAULT,
            FailureReason.UNKNOWN_END,
        }


class RetryAction(StrEnum):
    """What a retry rule asks for."""

    RETRY = "retry"
    FAIL = "fail"


class Provisioning(StrEnum):
    """The machines that attempts run on. Spot VMs are cheap, and Google may take them away at any time.

    `SPOT_THEN_STANDARD` takes an ordinary VM once no infrastructure retry is left.
    """

    STANDARD = "standard"
    SPOT = "spot"
    SPOT_THEN_STANDARD = "spot_then_standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long retries wait at most: each `factor` times as long as the one before, up to a limit."""

    first_delay_seconds: int = 10
    factor: float = 2
    max_delay_seconds: int = 600

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is the API's as well."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """What follows a failure with one of these exit codes, or for one of these reasons; it names one kind."""

    exit_codes: tuple[int, ...] = ()
    reasons: tuple[FailureReason, ...] = ()
    action: RetryAction

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is the API's as well."""
        kinds = {"exit_codes": list(self.exit_codes), "reasons": [reason.value for reason in self.reasons]}
        return {name: kind for name, kind in kinds.items() if kind} | {"action": self.action.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        return cls(
            exit_codes=tuple(value.get("exit_codes", ())),
            reasons=tuple(FailureReason(reason) for reason in value.get("reasons", ())),
            action=RetryAction(value["action"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is tried again, apart from `Job.max_retries`.

    Attributes:
        backoff: None is the deployment's own (`Timing.retry_base`).
        rules: the first that matches decides; where none does, the budget of the cause does.
        max_infrastructure_retries: for causes that are neither the program's nor the request's.
    """

    backoff: Backoff | None = None
    rules: tuple[RetryRule, ...] = ()
    max_infrastructure_retries: int = 5

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is the API's as well."""
        return {
            "backoff": self.backoff.to_json() if self.backoff else None,
            "rules": [rule.to_json() for rule in self.rules],
            "max_infrastructure_retries": self.max_infrastructure_retries,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the stored form; what a row from before a field lacks takes the default."""
        known = _known(cls, value)
        if known.get("backoff") is not None:
            known["backoff"] = Backoff(**_known(Backoff, known["backoff"]))
        known["rules"] = tuple(RetryRule.from_json(rule) for rule in known.get("rules", ()))
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the tenant asked for beside the image and the command. Stored as `Jobs.Spec`.

    Attributes:
        profile: the size of a task by name; None where `resources` or `machine_type` says it.
        parallelism: how many tasks may run at once; None is all of them.
        service_account: the tenant's own job account, as the operator had set it at submission. Never the
            request's, and never shown.
        origin_job_id: the job that this one does again.
        siblings: of the first job of a batch, the ids of the others, in their order. Never shown.
    """

    name: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = 3600
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    provisioning: Provisioning = Provisioning.STANDARD
    entrypoint: str | None = None
    secret_env: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = DEFAULT_PROFILE
    resources: Resources | None = None
    machine_type: str | None = None
    gpus: Gpus | None = None
    boot_disk_gib: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    task_count: int = 1
    parallelism: int | None = None
    priority: int = 0
    service_account: str | None = None
    origin_job_id: str | None = None
    siblings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return asdict(self) | {"retry": self.retry.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self:
        """Read the stored form; what a row from before a field lacks takes the default."""
        value = value or {}
        known = _known(cls, value)
        # Before there was a retry policy, its one field stood here.
        known["retry"] = RetryPolicy.from_json({**value, **known.get("retry", {})})
        known["provisioning"] = Provisioning(known.get("provisioning", Provisioning.STANDARD))
        if known.get("resources"):
            known["resources"] = Resources(**_known(Resources, known["resources"]))
        if known.get("gpus"):
            known["gpus"] = Gpus(**_known(Gpus, known["gpus"]))
        known["siblings"] = tuple(known.get("siblings", ()))
        known["mounts"] = tuple(Mount(**_known(Mount, mount)) for mount in known.get("mounts", ()))
        return cls(**known)


def _known(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that this release knows: what a newer one stored beside them does not stop this one."""
    return {known.name: value[known.name] for known in fields(kind) if known.name in value}
