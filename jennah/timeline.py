"""An audit trail as a timeline: how long after the first change each came, how long each status lasted."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from jennah import render
from jennah.client import FINAL_STATUSES, Transition

_BAR = 20
ALL = ("TIME", "AFTER", "STATUS", "LASTED", "", "ATTEMPT", "ACTOR", "REASON")
SPARE = ("", "ACTOR", "TIME")
"""Those that go, in this order, where a terminal is too narrow for all."""


def table(transitions: Sequence[Transition], columns: Sequence[str] = ALL) -> Table:
    """One line for each change, with these of its columns."""
    shown = render.table(*columns)
    times = [transition.transitioned_at for transition in transitions]
    first, last = (times[0], times[-1]) if times else (None, None)
    whole = (last - first).total_seconds() if first and last else 0.0
    for index, transition in enumerate(transitions):
        at, end = times[index], times[index + 1] if index + 1 < len(times) else None
        lasted = (end - at).total_seconds() if at and end else None
        open_ended = index + 1 == len(times) and transition.to_status not in FINAL_STATUSES
        cells: tuple[str | Text, ...] = (
            render.timestamp(at, "milliseconds"),
            f"+{render.duration((at - first).total_seconds())}" if at and first else "-",
            render.status_text(transition.to_status),
            "..." if open_ended else "-" if lasted is None else render.duration(lasted),
            Text("=" * round(_BAR * lasted / whole) if lasted and whole > 0 else "", style="dim"),
            *_rest(transition),
        )
        shown.add_row(*(cell for name, cell in zip(ALL, cells, strict=True) if name in columns))
    return shown


def line(transition: Transition) -> Text:
    """One change by itself."""
    at = render.timestamp(transition.transitioned_at, "milliseconds")
    before = "-" if transition.from_status is None else render.status_text(transition.from_status)
    cells = (at, before, render.status_text(transition.to_status), *_rest(transition))
    return Text("  ").join(Text(cell) if isinstance(cell, str) else cell for cell in cells)


def _rest(transition: Transition) -> tuple[str, str, str]:
    return (
        "-" if transition.attempt is None else str(transition.attempt),
        render.text(transition.actor),
        render.text(transition.reason),
    )
