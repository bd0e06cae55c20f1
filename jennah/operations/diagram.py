"""The state diagram of the documentation, drawn from the table that the program executes.

    python -m jennah.operations.diagram
"""

from __future__ import annotations

from collections import defaultdict

from shared.events import Event, Scheduled, Started
from shared.lifecycle import TABLE, Refusal
from shared.model import JobStatus


def state_diagram() -> str:
    """Mermaid source: an arrow for each pair of states, labelled with the events that lead along it.

    Steps that only fill in what a late message left out are not drawn: their arrows are there anyway.
    """
    labels: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for status, row in TABLE.items():
        for event, cell in row.items():
            if isinstance(cell, Refusal):
                continue
            before = str(status or "[*]")
            for target in cell:
                if not _filled_in(target, event):
                    label = "retry" if before == JobStatus.FAILED else event.__name__
                    if label not in labels[before, target]:
                        labels[before, target].append(label)
                    before = str(target)
    lines = [f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in labels.items()]
    final = [f"    {status} --> [*]" for status in JobStatus if status.final]
    return "\n".join(["stateDiagram-v2", *lines, *final]) + "\n"


def _filled_in(target: JobStatus, event: type[Event]) -> bool:
    if target is JobStatus.SCHEDULED:
        return event is not Scheduled
    return target is JobStatus.RUNNING and event is not Started


if __name__ == "__main__":
    print(state_diagram(), end="")  # noqa: T201 - what it is for
