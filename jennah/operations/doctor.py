"""What a deployment looks like from outside: many checks side by side, each with what would put it right.

Nothing is changed. A check that fails or hangs stops no other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from typing import Final

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from jennah.operations.reach import unanswered
from shared.config import Settings

CALL_SECONDS: Final = 10.0
"""How long one call may take."""

_CHECK_SECONDS: Final = 30.0


class Verdict(StrEnum):
    """What a finding means. INFORMATION and NOT_APPLICABLE ask for nothing."""

    WELL = "ok"
    TO_FIX = "fix"
    UNREACHABLE = "unreachable"
    INFORMATION = "info"
    NOT_APPLICABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and the command that puts it right where something is wrong."""

    check: str
    verdict: Verdict
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is examined. Topic of ticks and address of the API (None: unknown) are no settings."""

    settings: Settings
    ticks_topic: str
    pubsub_emulator_host: str | None
    url: str | None = None

    @property
    def on_emulators(self) -> bool:
        """Whether nothing of it is Google's."""
        settings = self.settings
        return bool(
            settings.spanner_emulator_host and settings.batch_emulator_host and self.pubsub_emulator_host
        )

    @property
    def emulated(self) -> bool:
        """Whether something of it is not Google's: then nobody's rights are judged."""
        settings = self.settings
        return bool(
            settings.spanner_emulator_host or settings.batch_emulator_host or self.pubsub_emulator_host
        )


@dataclass(frozen=True, slots=True)
class Service:
    """A service that checks call: the role that lets an operator do so, and its emulator, if one is named."""

    name: str
    api: str
    role: str
    project: str
    emulator: tuple[str, str] | None = None

    def fix(self, command: str) -> str:
        """The command, or what puts the local cloud right, where the command would reach Google's cloud."""
        return "make up (again: the local cloud makes it at its start)" if self.emulator else command

    def failure(self, check: str, error: Exception) -> Finding:
        """What it means that a call failed."""
        reason = _one_line(error)
        # gRPC wraps what google.auth raises during a call.
        if (
            isinstance(error, (GoogleAuthError, exceptions.Unauthenticated))
            or "metadata from plugin" in reason
        ):
            return no_credentials(check, reason)
        if isinstance(error, exceptions.Forbidden):
            if "quota project" in reason:
                command = f"gcloud auth application-default set-quota-project {self.project}"
                return Finding(check, Verdict.TO_FIX, "your login names no project for its calls", command)
            if is_off(error):
                command = f"gcloud services enable {self.api} --project={self.project}"
                return Finding(
                    check, Verdict.TO_FIX, f"{self.name} is not enabled in {self.project}", command
                )
            return Finding(
                check, Verdict.TO_FIX, f"your account may not look at it ({reason})", self.grant(self.role)
            )
        if self.emulator and (problem := unanswered(*self.emulator)):
            return Finding(check, Verdict.UNREACHABLE, problem.partition(": ")[0], "make up")
        again = (
            "make up (again)" if self.emulator else "jennah doctor (again; https://status.cloud.google.com)"
        )
        if isinstance(error, exceptions.ClientError):
            return Finding(check, Verdict.TO_FIX, f"{self.name} refuses to tell ({reason})", again)
        return Finding(check, Verdict.UNREACHABLE, f"{self.name} does not answer ({reason})", again)

    def grant(self, role: str) -> str:
        """The command that gives an operator a role."""
        return f"gcloud projects add-iam-policy-binding {self.project} --member=user:YOU --role={role}"


def is_off(error: Exception) -> bool:
    """Whether a call was refused for what is no right of the caller's: nobody has enabled the API for it."""
    # All three are Google's texts.
    texts = ("SERVICE_DISABLED", "has not been used in project", "quota project")
    return any(text in str(error) for text in texts)


Check = Callable[[], Iterable[Finding]]


def examine(checks: Sequence[tuple[str, Service | None, Check]]) -> list[Finding]:
    """Run all checks side by side, and give what they found in the order of the checks.

    Args:
        checks: the name of each, the service that it calls, and what it does. A check may raise the errors of
            Google's clients.
    """
    running = [_started(check) for _, _, check in checks]
    wait(running, timeout=_CHECK_SECONDS)
    found: list[Finding] = []
    for (name, service, _), future in zip(checks, running, strict=True):
        found += _findings(name, service, future)
    return found


def exit_code(findings: Iterable[Finding], codes: Mapping[Verdict, int]) -> int:
    """The largest of the findings' codes; 0 where none has one."""
    return max((codes.get(finding.verdict, 0) for finding in findings), default=0)


def no_credentials(check: str, reason: str) -> Finding:
    """Nothing of Google's can be asked."""
    found = f"Google credentials are missing or refused ({reason})"
    return Finding(check, Verdict.UNREACHABLE, found, "gcloud auth application-default login")


def _findings(name: str, service: Service | None, future: Future[list[Finding]]) -> list[Finding]:
    if not future.done():
        late = f"no answer within {_CHECK_SECONDS:.0f} s"
        return [
            Finding(
                name,
                Verdict.UNREACHABLE,
                late,
                "make up" if service and service.emulator else "jennah doctor (again)",
            )
        ]
    error = future.exception()
    if error is None:
        return future.result()
    if service is None or not isinstance(error, (exceptions.GoogleAPIError, GoogleAuthError)):
        raise error
    return [service.failure(name, error)]


def _started(check: Check) -> Future[list[Finding]]:
    """Run it in a thread of its own, which keeps no process alive: a call may hang for long."""
    future: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            future.set_result(list(check()))
        except Exception as error:  # noqa: BLE001 - raised again, or told, by who asks for the result
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
