"""What a tenant may have at a time. Approximate by design: nothing is asked beyond this process for long.

Submissions are counted by a token bucket of this process. Open jobs, and the vCPUs that they ask for, are
counted in the database at most every `COUNT_SECONDS`; what this process accepted since is added. So with one
process a limit is kept to the job, and with n of them at most n times the limit is open.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from threading import Lock

from shared.buckets import Bucket
from shared.config import Limits, is_limit
from shared.errors import FailedPrecondition, PermissionDenied, ResourceExhausted, Unavailable
from shared.resources import DEFAULT_PROFILE, PROFILES, vcpus
from shared.semantics import LogEvent
from shared.spec import JobSpec
from shared.telemetry import emit

COUNT_SECONDS = 10.0
"""For so long a count of open jobs is used."""
REMEMBERED = 10_000
"""So many tenants, those that submitted last."""
LEAST_CPU_MILLI = 250
"""A job counts for no less: so many jobs at most need reading to know that a limit is reached."""

_FIRST_COUNT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is open, or asked for: jobs, and thousandths of vCPUs."""

    jobs: int = 0
    cpu_milli: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.jobs + other.jobs, self.cpu_milli + other.cpu_milli)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.jobs - other.jobs, self.cpu_milli - other.cpu_milli)


Count = Callable[[str, Limits], Usage]
"""What a tenant has open. It may stop counting where a limit is passed."""


@dataclass(slots=True)
class _State:
    """What this process knows of one tenant's use.

    Attributes:
        pending: what is being submitted now.
        settled: what was accepted since the last count began.
    """

    lock: Lock = field(default_factory=Lock)
    counting: Lock = field(default_factory=Lock)
    counted: Usage | None = None
    counted_at: float = 0.0
    pending: Usage = Usage()
    settled: Usage = Usage()
    bucket: Bucket = field(default_factory=Bucket)

    @property
    def open(self) -> Usage:
        return (self.counted or Usage()) + self.settled + self.pending

    def settle(self, asked: Usage, *, used: bool) -> None:
        with self.lock:
            self.pending -= asked
            if used:
                self.settled += asked

    def refresh(self, count: Callable[[], Usage], clock: Callable[[], float]) -> None:
        """Count anew if it is time. While one thread counts, the others go on with the count before.

        Raises:
            Unavailable: there is none before, and it takes too long.
        """
        if self._fresh(clock()):
            return
        if not self.counting.acquire(timeout=_FIRST_COUNT_SECONDS if self.counted is None else 0):
            if self.counted is None:
                raise Unavailable("This tenant's jobs are being counted: try again.")
            return
        try:
            began = clock()
            if self._fresh(began):
                return
            with self.lock:
                included = self.settled
            counted = count()
            with self.lock:
                self.counted, self.counted_at = counted, began
                self.settled -= included
        finally:
            self.counting.release()

    def _fresh(self, now: float) -> bool:
        return self.counted is not None and now - self.counted_at < COUNT_SECONDS


class Taken:
    """What a submission took of its tenant's limits."""

    def __init__(self) -> None:
        self.used = True

    def release(self) -> None:
        """Give it back: no new job came of it."""
        self.used = False


class Allowance:
    """One tenant's limits, in this process.

    Args:
        limits: the tenant's.
        state: what is known of its use.
        count: what it has open.
        clock: seconds that never go back.
    """

    def __init__(
        self, limits: Limits, state: _State, count: Callable[[], Usage], clock: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._state = state
        self._count = count
        self._clock = clock

    @contextmanager
    def take(self, specs: Sequence[JobSpec], *, known: Callable[[], bool]) -> Iterator[Taken]:
        """Take room for jobs while they are submitted, and keep it unless it is released.

        Args:
            specs: the jobs, all or none of which are submitted.
            known: whether the submission was done before. Asked only where it would be refused: to hear again
                what was accepted needs no room.

        Raises:
            ResourceExhausted: there is no room now.
            FailedPrecondition: there never is so much.
            PermissionDenied: there never is any.
        """
        taken = Taken()
        self._take_tokens(len(specs))
        if self._limits.open_jobs is None and self._limits.vcpu_in_flight is None:
            yield taken
            return
        asked = Usage(len(specs), sum(cpu_milli(spec) for spec in specs))
        try:
            self._require_possible(asked)
            self._reserve(asked)
        except (ResourceExhausted, FailedPrecondition, PermissionDenied):
            if not known():
                raise
            yield taken
            return
        try:
            yield taken
        finally:
            self._state.settle(asked, used=taken.used)

    def usage(self) -> tuple[int | None, float | None]:
        """Open jobs and their vCPUs as they are counted here, each None where no limit needs it.

        Raises:
            Unavailable: it takes too long to count.
        """
        limits, state = self._limits, self._state
        if limits.open_jobs is None and limits.vcpu_in_flight is None:
            return None, None
        state.refresh(self._count, self._clock)
        with state.lock:
            found = state.open
        return (
            None if limits.open_jobs is None else found.jobs,
            None if limits.vcpu_in_flight is None else found.cpu_milli / 1000,
        )

    def _take_tokens(self, jobs: int) -> None:
        limit = self._limits.submissions_per_minute
        if limit is None:
            return
        if limit == 0:
            raise _nothing("submissions_per_minute")
        wait = self._state.bucket.take(jobs, limit, self._clock())
        if wait is not None:
            raise ResourceExhausted(
                "submissions_per_minute",
                wait,
                f"This tenant may submit {limit} jobs a minute: try again in {wait} s.",
            )

    def _compared(self, use: Usage) -> Iterator[tuple[str, int, float]]:
        """Each limit that counts what is open: its name, the most, and what this use has of it."""
        limits = self._limits
        if limits.open_jobs is not None:
            yield "open_jobs", limits.open_jobs, use.jobs
        if limits.vcpu_in_flight is not None:
            yield "vcpu_in_flight", limits.vcpu_in_flight, use.cpu_milli / 1000

    def _require_possible(self, asked: Usage) -> None:
        """Refuse what no waiting helps."""
        for name, most, wanted in self._compared(asked):
            if most == 0:
                raise _nothing(name)
            if wanted > most:
                raise FailedPrecondition(
                    f"This tenant's limit {name} is {most}, and this alone would make it {wanted:g}: "
                    "ask for less, waiting does not help.",
                    {"limit": name},
                )

    def _reserve(self, asked: Usage) -> None:
        state = self._state
        state.refresh(self._count, self._clock)
        with state.lock:
            for name, most, would_be in self._compared(state.open + asked):
                if would_be > most:
                    wait = max(1, math.ceil(state.counted_at + COUNT_SECONDS - self._clock()))
                    raise ResourceExhausted(
                        name,
                        wait,
                        f"This tenant's limit {name} is {most}, and this would make it {would_be:g}: "
                        "wait until jobs end, or cancel some.",
                    )
            state.pending += asked


def _nothing(limit: str) -> PermissionDenied:
    return PermissionDenied(
        f"This tenant may submit nothing: its limit {limit} is 0, which its operator can change.",
        {"limit": limit},
    )


UNLIMITED = Allowance(Limits(), _State(), Usage, time.monotonic)
"""The allowance of a tenant without limits."""


class Limiter:
    """Every tenant's limits, in this process. Safe to share between threads.

    Args:
        defaults: the limits of a tenant whose row says nothing else.
        count: what a tenant has open, asked at most every `COUNT_SECONDS` and only where a limit needs it.
        clock: seconds that never go back.
    """

    def __init__(
        self, defaults: Limits, count: Count, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._defaults = defaults
        self._count = count
        self._clock = clock
        self._lock = Lock()
        self._states: OrderedDict[str, _State] = OrderedDict()

    def limits(self, own: Mapping[str, object] | None) -> Limits:
        """The limits of a tenant whose row says `own`: null there is no limit, what is left out the default.

        What can't be read is left out, and logged.
        """
        if not own:
            return self._defaults
        known = {limit.name for limit in fields(Limits)}
        changed = {name: own[name] for name in known & own.keys()}
        for name, value in list(changed.items()):
            if value is not None and not is_limit(value):
                _complain(name, repr(value)[:100])
                del changed[name]
        return replace(self._defaults, **changed)  # type: ignore[arg-type]  # is_limit saw to it

    def of(self, tenant_id: str, own: Mapping[str, object] | None) -> Allowance:
        """What the tenant may still submit here."""
        limits = self.limits(own)
        if limits == Limits():
            return UNLIMITED
        with self._lock:
            state = self._states.setdefault(tenant_id, _State())
            self._states.move_to_end(tenant_id)
            if len(self._states) > REMEMBERED:
                self._states.popitem(last=False)
        return Allowance(limits, state, lambda: self._count(tenant_id, limits), self._clock)


@lru_cache(maxsize=1000)  # once, not with every submission
def _complain(name: str, value: str) -> None:
    why = "a tenant's limit can't be read, the default holds: %s is %s"
    emit(LogEvent.LIMIT_UNREADABLE, why, name, value)


def cpu_milli(spec: JobSpec) -> int:
    """How many thousandths of a vCPU a job asks for, all its tasks that may run at once together."""
    tasks = min(spec.task_count, spec.parallelism or spec.task_count)
    if spec.machine_type is not None:
        return tasks * max(1000 * vcpus(spec.machine_type), LEAST_CPU_MILLI)
    size = spec.resources or PROFILES.get(spec.profile or "", PROFILES[DEFAULT_PROFILE])
    return tasks * max(size.cpu_milli, LEAST_CPU_MILLI)
