"""Make the local Batch service misbehave, on demand and deterministically, and see what it was asked to do.

    faults = BatchFaults("127.0.0.1:8443")
    with faults.hold("CreateJob", job="j-*", moment="before") as held:
        ...                                  # start what creates the job
        held.wait()                          # CreateJob has arrived, and has had no effect so far
    assert faults.calls("CreateJob").effective == 1

A fault applies to the jobs whose id matches a glob, `times` times or until it is released; where it has a
`share`, on that share of its occasions, the same ones for the same seed. Where several of one kind apply, the
oldest acts. Faults that hold something back are released by `release`, by leaving the
`with` block, or by `clear`; what was held then goes on. No test needs to sleep: `wait` returns when something
is held, `wait_for_state` when a job has been in a state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Any, Literal, Self

import grpc

from jennah.local.batch_jobs import JobState, TaskState

SERVICE = "jennah.local.BatchFaults"


class Action(StrEnum):
    """What a rule makes the service do."""

    HOLD_BEFORE = "hold before"
    HOLD_AFTER = "hold after"
    TIME_OUT = "time out"
    ANSWER = "answer"
    PAUSE = "pause"
    SKIP_RUNNING = "skip running"
    DROP = "drop"
    DOUBLE = "double"
    DELAY = "delay"
    WITHHOLD = "withhold"
    REORDER = "reorder"


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault as it travels to the service; the methods of `BatchFaults` make it.

    `states` are names of job or task states, empty for all; `times` None is until released; `seconds` belongs
    to DELAY, `code` (the name of a gRPC status) to ANSWER. It acts on `share` of its occasions, from 0 to 1;
    `seed` says on which.
    """

    action: Action
    job: str
    times: int | None = None
    method: str = ""
    states: tuple[str, ...] = ()
    seconds: float = 0
    code: str = ""
    share: float = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Calls:
    """How many calls have arrived, and how many of them took effect.

    A CreateJob that is answered from its request_id has no effect of its own, nor has any call that was
    refused.
    """

    received: int
    effective: int


class Fault:
    """A fault in force."""

    def __init__(self, faults: BatchFaults, number: int) -> None:
        self._faults = faults
        self._number = number

    def wait(self, count: int = 1, *, seconds: float = 10) -> None:
        """Wait until it has held back `count` calls, messages or jobs, counted from its start.

        Raises:
            TimeoutError: that took longer than `seconds`.
        """
        self._faults.command("WaitHeld", seconds, number=self._number, count=count)

    def acted(self) -> int:
        """How often it has acted so far.

        Raises:
            RuntimeError: it was released.
        """
        return int(self._faults.command("Acted", number=self._number)["count"])

    def occasions(self) -> int:
        """How often it could have acted so far: it does on its `share` of them.

        Raises:
            RuntimeError: it was released.
        """
        return int(self._faults.command("Acted", number=self._number)["occasions"])

    def release(self) -> None:
        """End it; what it holds back goes on. Doing it again does nothing."""
        self._faults.command("Release", number=self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class BatchFaults:
    """The fault controls of the local Batch service at `address` ("127.0.0.1:port").

    `seed` chooses the occasions of faults that have a `share`.
    """

    def __init__(self, address: str, *, seed: int = 0) -> None:
        self._seed = seed
        self._channel = grpc.insecure_channel(address)

    def close(self) -> None:
        """Close the connection; faults stay in force."""
        self._channel.close()

    # Calls

    def hold(
        self, method: str, *, job: str = "*", moment: Literal["before", "after"], times: int | None = None
    ) -> Fault:
        """Hold a method's calls back before they take effect, or after it and before the answer.

        A call that has been held before its effect has it upon release, also if the caller has meanwhile
        given up.
        """
        action = Action.HOLD_BEFORE if moment == "before" else Action.HOLD_AFTER
        return self._add(Rule(action, job, times, method))

    def time_out(
        self, method: str = "CreateJob", *, job: str = "*", times: int | None = 1, share: float = 1
    ) -> Fault:
        """Let calls take effect and answer DEADLINE_EXCEEDED."""
        return self._add(Rule(Action.TIME_OUT, job, times, method, share=share))

    def answer(
        self,
        method: str,
        code: grpc.StatusCode,
        *,
        job: str = "*",
        times: int | None = None,
        share: float = 1,
    ) -> Fault:
        """Answer calls with an error status, without effect."""
        return self._add(Rule(Action.ANSWER, job, times, method, code=code.name, share=share))

    def calls(self, method: str, *, job: str = "*") -> Calls:
        """The calls of a method so far, for the jobs whose id matches (ListJobs has the empty id)."""
        return Calls(**self.command("Calls", method=method, job=job))

    # Jobs

    def pause(self, state: JobState, *, job: str = "*", times: int | None = None) -> Fault:
        """Keep jobs in QUEUED, SCHEDULED or RUNNING once they have entered it.

        In RUNNING no process has been started yet. Paused jobs can be cancelled, deleted and preempted; in
        SCHEDULED and RUNNING they occupy one of the places that `--parallel` allows.
        """
        return self._add(Rule(Action.PAUSE, job, times, states=(state.name,)))

    def skip_running(self, *, job: str = "*", times: int | None = None) -> Fault:
        """Let jobs go from SCHEDULED to their end: no RUNNING in their events, none sent."""
        return self._add(Rule(Action.SKIP_RUNNING, job, times))

    def preempt(self, job: str) -> int:
        """End the running tasks of matching jobs with exit code 50001; return how many there were."""
        return int(self.command("Preempt", job=job)["count"])

    def vanish(self, job: str) -> int:
        """Discard the records of matching jobs, kill what runs, send nothing; return how many there were."""
        return int(self.command("Vanish", job=job)["count"])

    def wait_for_state(self, job: str, *states: JobState, seconds: float = 10) -> None:
        """Wait until a job whose id matches is, or has been, in one of the states.

        Raises:
            TimeoutError: that took longer than `seconds`.
        """
        self.command("WaitState", seconds, job=job, states=_names(states))

    # Notifications. States are names to choose by (`JobState` or `TaskState`); none means all.

    def drop(
        self, *states: JobState | TaskState, job: str = "*", times: int | None = None, share: float = 1
    ) -> Fault:
        """Never send notifications."""
        return self._add(Rule(Action.DROP, job, times, states=_names(states), share=share))

    def double(
        self, *states: JobState | TaskState, job: str = "*", times: int | None = None, share: float = 1
    ) -> Fault:
        """Send notifications twice."""
        return self._add(Rule(Action.DOUBLE, job, times, states=_names(states), share=share))

    def delay(
        self,
        *states: JobState | TaskState,
        by: float,
        job: str = "*",
        times: int | None = None,
        share: float = 1,
    ) -> Fault:
        """Send notifications `by` seconds late; later ones of the job do not wait for them."""
        return self._add(Rule(Action.DELAY, job, times, states=_names(states), seconds=by, share=share))

    def withhold(self, *states: JobState | TaskState, job: str = "*", times: int | None = None) -> Fault:
        """Send notifications when released; later ones of the job do not wait for them."""
        return self._add(Rule(Action.WITHHOLD, job, times, states=_names(states)))

    def reorder(
        self, *states: JobState | TaskState, job: str = "*", times: int | None = 1, share: float = 1
    ) -> Fault:
        """Send a notification after the job's next one (never, if there is none)."""
        return self._add(Rule(Action.REORDER, job, times, states=_names(states), share=share))

    def clear(self) -> None:
        """End every fault in force."""
        self.command("Clear")

    def command(self, name: str, seconds: float = 10, **values: Any) -> dict[str, Any]:
        """Send one command; `seconds` is how long it may wait inside the service.

        Raises:
            TimeoutError: what it waits for did not happen.
            RuntimeError: the service refuses it; the message says why.
        """
        call = self._channel.unary_unary(
            f"/{SERVICE}/{name}", request_serializer=encode, response_deserializer=decode
        )
        try:
            answer: dict[str, Any] = call({**values, "seconds": seconds}, timeout=seconds + 10)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(f"{name} {values}: {error.details()}") from None
            raise RuntimeError(f"{name} {values}: {error.code().name}: {error.details()}") from None
        return answer

    def _add(self, rule: Rule) -> Fault:
        rule = replace(rule, seed=self._seed)
        return Fault(self, self.command("Add", rule=asdict(rule))["number"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encode(value: dict[str, Any]) -> bytes:
    """A message of this service: JSON, so that it needs no generated code."""
    return json.dumps(value).encode()


def decode(data: bytes) -> dict[str, Any]:
    """The reverse of `encode`."""
    value: dict[str, Any] = json.loads(data)
    return value


def _names(states: Sequence[JobState | TaskState]) -> tuple[str, ...]:
    return tuple(state.name for state in states)
