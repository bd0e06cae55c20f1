"""The plot: each measure's ratio to its floor, run by run, beside its goal. Needs the extra `bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.figures import Bound, Row


def write_plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write a PNG or an SVG, by the ending of the name.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.5 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        ratios = [sample.ratio for sample in row.samples]
        axes.plot(ratios, [place] * len(ratios), "o", color="tab:blue", alpha=0.4, markersize=5)
        axes.plot([row.ratio], [place], "|", color="tab:blue", markersize=16, markeredgewidth=2)
        goal = row.measure.goal
        if goal:
            limit = goal.limit / row.floor if goal.bound is Bound.VALUE_AT_MOST else goal.limit
            marker = ">" if goal.bound is Bound.RATIO_AT_LEAST else "<"
            axes.plot([limit], [place], marker, color="tab:green" if row.met else "tab:red", markersize=8)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.invert_yaxis()
    axes.axvline(1, color="0.7", linewidth=1)
    axes.set_xlim(left=0)
    axes.set_xlabel("multiple of the floor: runs, their median, and the goal (> at least, < at most)")
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _label(row: Row) -> str:
    measure = row.measure
    return f"{measure.figure}: {measure.name} / {measure.floor}"
