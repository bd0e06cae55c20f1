"""What the platform itself costs and needs, by arithmetic: the tables of docs/costs.md and docs/scaling.md.

python -m jennah.operations.costs

Without free tiers, discounts, taxes, and the tenants' own machines. What goes in stands in `cost_inputs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from jennah.operations.cost_inputs import INPUTS
from shared.config import Timing

MONTH_SECONDS = 730 * 3600
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

    def busy(self, rate: float) -> float:
        """How many requests are under way on average."""
        return rate * self.invocations * self.seconds

    def load(self, rate: float) -> float:
        """How many instances the autoscaler's targets ask for, as a fraction."""
        by_cpu = rate * self.invocations * _is("cpu_seconds") / _is("vcpus")
        return max(self.busy(rate) / _is("concurrency"), by_cpu) / _is("target")

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
_INVOCATIONS = sum(function.invocations for function in FUNCTIONS)


def looks(seconds: float, timing: Timing = Timing()) -> int:  # noqa: B008 - a constant: it is frozen
    """How often reconciliation looks at a job that stays in one state for so long, if it keeps up."""
    first, longest = timing.live_check.total_seconds(), timing.live_check_limit.total_seconds()
    at, found = first, 0
    while at < seconds:
        found += 1
        at += min(max(at, first), longest)
    return found


def _looks_of_a_job() -> int:
    return looks(_is("queued_seconds")) + looks(_is("run_seconds"))


def _checks(rate: float) -> float:
    """Checks a second, as many as ticks may do."""
    return min(rate * _looks_of_a_job(), _is("most_checks") / 60)


def _writes(rate: float) -> float:
    return rate * _is("row_writes") + _checks(rate) * _is("touch_writes")


def processing_units(rate: float) -> int:
    """What Spanner needs. Each row and index entry counts as a write, which is more than it is."""
    share = _writes(rate) / _is("node_writes") + rate * _is("spanner_reads") / _is("node_reads")
    units = 1000 * share / _is("spanner_cpu")
    step = 100 if units <= 1000 else 1000
    return max(100, math.ceil(units / step) * step)


def _instance_price() -> float:
    return _is("vcpus") * _is("vcpu_price") + _is("memory_gib") * _is("gib_price")


def _functions(rate: float) -> float:
    billed = sum(function.billed(rate) for function in FUNCTIONS) + _is("tick_seconds") / 60
    requests = MONTH_SECONDS * (rate * _INVOCATIONS + 1 / 60)
    return billed * MONTH_SECONDS * _instance_price() + requests / 1e6 * _is("million_price")


def _stored_gib(rate: float) -> float:
    """What a month's jobs leave."""
    return rate * MONTH_SECONDS * _is("stored_bytes") / _GIB


def _logs(bytes_of_a_job: float) -> _ByRate:
    return lambda rate: rate * MONTH_SECONDS * bytes_of_a_job / _GIB * _is("log_price")


_OUR_LOGS = _is("log_lines") * _is("log_line_bytes") + _INVOCATIONS * _is("request_log_bytes")


def _pubsub(rate: float) -> float:
    # Each message is published once and pushed once.
    billed = 2 * rate * MONTH_SECONDS * _is("messages") * _is("pubsub_least_bytes")
    return billed / _TIB * _is("pubsub_price")


def _spanner(units: float) -> float:
    return units / 1000 * _is("node_price") * MONTH_SECONDS / 3600


_FIXED = _is("scheduler_price") + 4 * _is("image_gib") * _is("registry_price")

ITEMS: Mapping[str, _ByRate] = MappingProxyType(
    {
        "Spanner, processing units": lambda rate: _spanner(processing_units(rate)),
        "Spanner, the month's jobs stored": lambda rate: _stored_gib(rate) * _is("storage_price"),
        "functions": _functions,
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


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _by_rate(header: str, rows: Mapping[str, tuple[_ByRate, str]]) -> str:
    """A column for each rate; each row with the format of its values."""
    rates = [f"{rate} job{'s' if rate > 1 else ''}/s" for rate in RATES]
    cells = [[name, *(format(row(rate), shape) for rate in RATES)] for name, (row, shape) in rows.items()]
    return _table([header, *rates], cells)


def inputs() -> str:
    """Every number that goes in."""
    rows = [
        [entry.meaning, f"{entry.value:,.7f}".rstrip("0").rstrip("."), entry.source]
        for entry in INPUTS.values()
    ]
    return _table(["input", "value", "from"], rows)


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
    idle = (_is("vcpus") * _is("idle_price") + _is("memory_gib") * _is("gib_price")) * MONTH_SECONDS
    request = (
        _is("submission_seconds") * _instance_price()
        + _is("million_price") / 1e6
        + (_is("log_line_bytes") + _is("request_log_bytes")) / _GIB * _is("log_price")
        + _is("answer_bytes") / _GIB * _is("egress_price")
    )
    return _by_rate(
        "dollars, besides",
        {
            "storage of a month, after a year in which nothing is deleted": (
                lambda rate: 12 * _stored_gib(rate) * _is("storage_price"),
                ",.2f",
            ),
            "each full backup of one month's jobs, kept for a month": (
                lambda rate: _stored_gib(rate) * _is("backup_price"),
                ",.2f",
            ),
            "each instance kept warm for a month": (lambda _: idle, ",.2f"),
            "1,000 further requests to the API": (lambda _: 1000 * request, ".4f"),
            "a month in which nothing runs: Spanner's least, tick, images": (
                lambda _: _spanner(100) + _FIXED,
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


TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "docs/costs.md: inputs": inputs,
        "docs/costs.md: a month": monthly,
        "docs/costs.md: per 1,000 jobs": per_thousand,
        "docs/costs.md: besides": extras,
        "docs/scaling.md: needs": needs,
    }
)

if __name__ == "__main__":
    print("\n\n".join(f"{name}\n\n{made()}" for name, made in TABLES.items()))  # noqa: T201 - what it is for
