"""The state diagram of the documentation, drawn from the table that the program executes.

python -m jennah.operations.diagram
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from shared.events import AttemptFailed, Event, Scheduled, Started
from shared.lifecycle import TABLE, Path, Refusal
from shared.model import JobStatus


def state_diagram() -> str:
    """Mermaid source: an arrow for each step that a history may contain, labelled with its events.

    A step that fills in what a late message left out is not named: its arrow is there with its own event.
    """
    labels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for status, row in TABLE.items():
        for event, cell in row.items():
            for path in _paths(event, cell):
                for before, after in pairwise([str(status or "[*]"), *path]):
                    name = "retry" if before == JobStatus.FAILED else event.__name__
                    if not _filled_in(after, event) and name not in labels.get((before, after), ()):
                        labels[before, after].append(name)
    lines = [f"    {before} --> {after}: {', '.join(names)}" for (before, after), names in labels.items()]
    final = [f"    {status} --> [*]" for status in JobStatus if status.final]
    return "\n".join(["stateDiagram-v2", *lines, *final]) + "\n"


def _paths(event: type[Event], cell: Path | Refusal) -> list[Path]:
    if isinstance(cell, Refusal):
        return []
    if event is AttemptFailed:  # RUNNING is left out of it where the attempt never ran
        return [cell, tuple(status for status in cell if status is not JobStatus.RUNNING)]
    return [cell]


def _filled_in(after: str, event: type[Event]) -> bool:
    if after == JobStatus.SCHEDULED:
        return event is not Scheduled
    return after == JobStatus.RUNNING and event is not Started


if __name__ == "__main__":
    print(state_diagram(), end="")  # noqa: T201 - what it is for
