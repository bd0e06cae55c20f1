"""What the platform itself costs and needs, by arithmetic. `cost_tables` prints it.

Without free tiers, discounts, taxes, and the tenants' own machines. What goes in stands in `cost_inputs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from jennah.operations.cost_inputs import INPUTS
from shared.config import Timing

MONTH_HOURS = 730
MONTH_SECONDS = MONTH_HOURS * 3600
RATES = (1, 10, 100)
"""Jobs a second."""

_GIB, _TIB = 2**30, 2**40

# Dollars, or whatever else a table shows, at a rate of jobs a second.
_ByRate = Callable[[float], float]


def _is(name: str) -> float:
    return INPUTS[name].value


@dataclass(frozen=True, slots=True)
class Function:
    """One of the functions that a job's messages and requests reach."""

    name: str
    invocations: int
    seconds: float
    memory_gib: float = INPUTS["memory_gib"].value
    concurrency: float = INPUTS["concurrency"].value
    least: int = 0
    """Instances that are kept warm."""

    @property
    def second_price(self) -> float:
        """Dollars for a second of an instance that is billed."""
        return _is("vcpus") * _is("vcpu_price") + self.memory_gib * _is("gib_price")

    @property
    def idle_price(self) -> float:
        """Dollars for a second of an instance that is kept warm and has no request."""
        return _is("vcpus") * _is("idle_price") + self.memory_gib * _is("gib_price")

    def busy(self, rate: float) -> float:
        """How many requests are under way on average."""
        return rate * self.invocations * self.seconds

    def load(self, rate: float) -> float:
        """How many instances the autoscaler's targets ask for, as a fraction."""
        by_cpu = rate * self.invocations * _is("cpu_seconds") / _is("vcpus")
        return max(self.busy(rate) / self.concurrency, by_cpu) / _is("target")

    def instances(self, rate: float) -> int:
        """How many instances there are."""
        return max(1, math.ceil(self.load(rate)))

    def billed(self, rate: float) -> float:
        """How many instances are billed on average: one is while at least one request is under way."""
        return max(1 - math.exp(-self.busy(rate)), self.load(rate))


FUNCTIONS = (
    Function("submission", 1, _is("submission_seconds")),
    Function("scheduling", 1, _is("scheduling_seconds")),
    Function("notification", 2, _is("notification_seconds")),
)
RECONCILIATION = Function("reconciliation", 0, 0)
_INVOCATIONS = sum(function.invocations for function in FUNCTIONS)
TICKING = INPUTS["tick_seconds"].value / 60
"""The share of the time in which a tick works, at the most."""


def looks(seconds: float, timing: Timing = Timing()) -> int:  # noqa: B008 - a constant: it is frozen
    """How often reconciliation looks at a job that stays in one state for so long, if it keeps up."""
    first, longest = timing.live_check.total_seconds(), timing.live_check_limit.total_seconds()
    at, found = first, 0
    while at < seconds:
        found += 1
        at += min(max(at, first), longest)
    return found


def _looks_of_a_job(timing: Timing = Timing()) -> int:  # noqa: B008
    return looks(_is("queued_seconds"), timing) + looks(_is("run_seconds"), timing)


def _checks(rate: float, timing: Timing = Timing()) -> float:  # noqa: B008
    """Checks a second, as many as ticks may do."""
    return min(rate * _looks_of_a_job(timing), _is("most_checks") / 60)


def _writes(rate: float, timing: Timing = Timing()) -> float:  # noqa: B008
    return rate * _is("row_writes") + _checks(rate, timing) * _is("touch_writes")


def processing_units(rate: float, timing: Timing = Timing()) -> int:  # noqa: B008
    """What Spanner needs. Each row and index entry counts as a write, which is more than it is."""
    share = _writes(rate, timing) / _is("node_writes") + rate * _is("spanner_reads") / _is("node_reads")
    units = 1000 * share / _is("spanner_cpu")
    step = 100 if units <= 1000 else 1000
    return max(100, math.ceil(units / step) * step)


def running(
    rate: float,
    functions: Sequence[Function] = FUNCTIONS,
    reconciliation: Function = RECONCILIATION,
) -> float:
    """Dollars for the functions' requests and for the time of those."""
    time = sum(function.billed(rate) * function.second_price for function in functions)
    requests = MONTH_SECONDS * (rate * _INVOCATIONS + 1 / 60)
    return (time + TICKING * reconciliation.second_price) * MONTH_SECONDS + (
        requests / 1e6 * _is("million_price")
    )


def stored_gib(rate: float) -> float:
    """GiB that a month's jobs leave."""
    return rate * MONTH_SECONDS * _is("stored_bytes") / _GIB


def _logs(bytes_of_a_job: float) -> _ByRate:
    return lambda rate: rate * MONTH_SECONDS * bytes_of_a_job / _GIB * _is("log_price")


_OUR_LOGS = _is("log_lines") * _is("log_line_bytes") + _INVOCATIONS * _is("request_log_bytes")


def _pubsub(rate: float) -> float:
    # Each message is published once and pushed once.
    billed = 2 * rate * MONTH_SECONDS * _is("messages") * _is("pubsub_least_bytes")
    return billed / _TIB * _is("pubsub_price")


def capacity(units: float, price: str = "node_price") -> float:
    """Dollars for so many processing units of Spanner."""
    return units / 1000 * _is(price) * MONTH_HOURS


_FIXED = _is("scheduler_price") + 4 * _is("image_gib") * _is("registry_price")

ITEMS: Mapping[str, _ByRate] = MappingProxyType(
    {
        "Spanner, processing units": lambda rate: capacity(processing_units(rate)),
        "Spanner, the month's jobs stored": lambda rate: stored_gib(rate) * _is("storage_price"),
        "functions": running,
        "Pub/Sub": _pubsub,
        "Cloud Logging, the platform's": _logs(_OUR_LOGS),
        "Cloud Logging, tasks and Batch's agent": _logs(_is("task_log_bytes")),
        "answers to clients": lambda rate: (
            rate * MONTH_SECONDS * _is("answer_bytes") / _GIB * _is("egress_price")
        ),
        "tick, images": lambda _: _FIXED,
    }
)
"""What is paid in a month."""


def _with_all(rows: Mapping[str, _ByRate]) -> dict[str, _ByRate]:
    return {**rows, "all": lambda rate: sum(row(rate) for row in rows.values())}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as pages have it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _by_rate(header: str, rows: Mapping[str, tuple[_ByRate, str]]) -> str:
    """A column for each rate; each row with the format of its values."""
    rates = [f"{rate} job{'s' if rate > 1 else ''}/s" for rate in RATES]
    cells = [[name, *(format(row(rate), shape) for rate in RATES)] for name, (row, shape) in rows.items()]
    return table([header, *rates], cells)


def inputs() -> str:
    """Every number that goes in."""
    rows = [
        [entry.meaning, f"{entry.value:,.7f}".rstrip("0").rstrip("."), entry.source]
        for entry in INPUTS.values()
    ]
    return table(["input", "value", "from"], rows)


def monthly() -> str:
    """Dollars a month."""
    jobs: _ByRate = lambda rate: rate * MONTH_SECONDS  # noqa: E731 - a row like the others
    rows = {name: (row, ",.2f") for name, row in _with_all(ITEMS).items()}
    return _by_rate("dollars a month", {"jobs": (jobs, ",.0f")} | rows)


def per_thousand() -> str:
    """Dollars per 1,000 jobs."""

    def share(row: _ByRate) -> _ByRate:
        return lambda rate: 1000 * row(rate) / (rate * MONTH_SECONDS)

    rows = {name: (share(row), ".4f") for name, row in _with_all(ITEMS).items()}
    return _by_rate("dollars per 1,000 jobs", rows)


def extras() -> str:
    """Dollars for what a deployment may have besides, and what it costs when nothing runs."""
    submission = FUNCTIONS[0]
    request = (
        submission.seconds * submission.second_price
        + _is("million_price") / 1e6
        + (_is("log_line_bytes") + _is("request_log_bytes")) / _GIB * _is("log_price")
        + _is("answer_bytes") / _GIB * _is("egress_price")
    )
    return _by_rate(
        "dollars, besides",
        {
            "storage of a month, after a year in which nothing is deleted": (
                lambda rate: 12 * stored_gib(rate) * _is("storage_price"),
                ",.2f",
            ),
            "each full backup of one month's jobs, kept for a month": (
                lambda rate: stored_gib(rate) * _is("backup_price"),
                ",.2f",
            ),
            "each instance kept warm for a month": (
                lambda _: submission.idle_price * MONTH_SECONDS,
                ",.2f",
            ),
            "the same processing units in the edition ENTERPRISE": (
                lambda rate: capacity(processing_units(rate), "enterprise_price"),
                ",.2f",
            ),
            "1,000 jobs that each exchange 100 MiB with the internet by Cloud NAT": (
                lambda _: 1000 * 100 / 1024 * _is("nat_gib_price"),
                ",.2f",
            ),
            "1,000 further requests to the API": (lambda _: 1000 * request, ".4f"),
            "a month in which nothing runs: Spanner's least, tick, images": (
                lambda _: capacity(100) + _FIXED,
                ",.2f",
            ),
        },
    )


def needs() -> str:
    """What a rate of jobs asks of each part."""
    in_flight = _is("queued_seconds") + _is("run_seconds")
    creates, gets = 60 * _is("batch_creates"), 60 * _is("batch_gets")
    return _by_rate(
        "need",
        {
            "jobs in flight": (lambda rate: rate * in_flight, ",.0f"),
            "vCPUs in flight": (lambda rate: rate * in_flight * _is("job_vcpus"), ",.0f"),
            "Batch creates, of the region's quota": (
                lambda rate: rate * creates / _is("batch_mutations"),
                ".0%",
            ),
            "Batch reads by notifications, of the region's quota": (
                lambda rate: rate * gets / _is("batch_reads"),
                ".1%",
            ),
            **{f"instances of {function.name}": (function.instances, ",.0f") for function in FUNCTIONS},
            "messages published a second": (lambda rate: rate * _is("messages"), ",.0f"),
            "Spanner commits a second": (lambda rate: rate * _is("spanner_commits"), ",.0f"),
            "Spanner rows and index entries written a second": (_writes, ",.0f"),
            "Spanner processing units": (processing_units, ",.0f"),
            "checks wanted a minute": (lambda rate: 60 * rate * _looks_of_a_job(), ",.0f"),
            "checks done a minute, at most": (lambda rate: 60 * _checks(rate), ",.0f"),
            "jobs submitted within so many seconds are in a tick's listing": (
                lambda rate: _is("listed_jobs") / rate,
                ",.0f",
            ),
        },
    )
