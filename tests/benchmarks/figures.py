"""What a benchmark says: samples, each with its floor from the same run, and what they amount to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Bound(Enum):
    """What a goal limits."""

    RATIO_AT_LEAST = "at least {limit:g} x its floor"
    RATIO_AT_MOST = "at most {limit:g} x its floor"
    VALUE_AT_MOST = "at most {limit:g}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach."""

    bound: Bound
    limit: float

    def met(self, value: float, ratio: float) -> bool:
        """Whether a value, and its ratio to the floor, do."""
        if self.bound is Bound.RATIO_AT_LEAST:
            return ratio >= self.limit
        return (ratio if self.bound is Bound.RATIO_AT_MOST else value) <= self.limit

    def __str__(self) -> str:
        return self.bound.value.format(limit=self.limit)


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that is measured.

    Attributes:
        figure: the name by which it is asked for.
        name: what of it.
        unit: of the value and of the floor.
        floor: what the value is held against.
        goal: what it should reach; None where nothing is asked.
    """

    figure: str
    name: str
    unit: str
    floor: str
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run measured, and the floor that the same run measured."""

    measure: Measure
    value: float
    floor: float

    @property
    def ratio(self) -> float:
        """The value as a multiple of its floor."""
        return self.value / self.floor


def percentile(values: list[float], percent: int) -> float:
    """Of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a figure.

    Attributes:
        samples: what it measured.
        details: what else is worth keeping: for the JSON file.
    """

    samples: list[Sample]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """All samples of a measure, in the order of their runs."""

    measure: Measure
    samples: list[Sample]

    @property
    def median(self) -> float:
        """Of the values."""
        return statistics.median(self.values)

    @property
    def values(self) -> list[float]:
        """One for each run."""
        return [sample.value for sample in self.samples]

    @property
    def floor(self) -> float:
        """The median of the floors."""
        return statistics.median(sample.floor for sample in self.samples)

    @property
    def ratio(self) -> float:
        """The median of the runs' ratios: whatever slows a run down meets its value and its floor alike."""
        return statistics.median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        """One for each run."""
        return [sample.ratio for sample in self.samples]

    @property
    def met(self) -> bool | None:
        """Whether the goal is; None without one."""
        goal = self.measure.goal
        return goal.met(self.median, self.ratio) if goal else None

    def to_json(self) -> dict[str, Any]:
        """Everything that is known of it, each single run included."""
        measure = self.measure
        return {
            "figure": measure.figure,
            "name": measure.name,
            "unit": measure.unit,
            "median": self.median,
            "lowest": min(self.values),
            "highest": max(self.values),
            "floor": {"name": measure.floor, "median": self.floor},
            "ratio": self.ratio,
            "lowest_ratio": min(self.ratios),
            "highest_ratio": max(self.ratios),
            "goal": str(measure.goal) if measure.goal else None,
            "met": self.met,
            "runs": [
                {"value": sample.value, "floor": sample.floor, "ratio": sample.ratio}
                for sample in self.samples
            ],
        }


def rows(runs: Iterable[Run]) -> list[Row]:
    """The samples by what they measure, in the order in which that first came."""
    by_measure: dict[Measure, list[Sample]] = {}
    for run in runs:
        for sample in run.samples:
            by_measure.setdefault(sample.measure, []).append(sample)
    return [Row(measure, samples) for measure, samples in by_measure.items()]


def headline(rows: list[Row]) -> str:
    """The first figure in words, and how many goals are met."""
    first, goals = rows[0], [row for row in rows if row.met is not None]
    measure = first.measure
    return (
        f"{measure.name} {first.median:.3g} {measure.unit}, {first.ratio:.2f} x {measure.floor}; "
        f"{sum(row.met is True for row in goals)} of {len(goals)} goals met"
    )
