"""The reader that rebuilds histories from lines: gaps are filled where one announcement fits, else named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.model import JobKey
from tests.chaos.books import unexplained
from tests.chaos.retold import Output, Retold, retell

KEY = JobKey("t", "j")
PATH = ("PENDING", "SCHEDULED", "RUNNING", "COMPLETED")


def line(
    version: int, commit: tuple[int, int] | None = None, *, to: str = "", event: str = "job_transition"
) -> Any:
    """A transition of a job that succeeds."""
    leads = commit or (version - 1, version)
    return {
        "severity": "INFO",
        "time": "2026-01-01T00:00:00+00:00",
        "message": "",
        "event": event,
        "logging.googleapis.com/labels": {"tenant": "t", "job": "j"},
        "transition": {
            "from": PATH[version - 2] if version > 1 else None,
            "to": to or PATH[version - 1],
            "version": version,
            "commit": leads,
            "attempt": 1,
            "reason": "accepted" if version == 1 else to or ("told" if version == leads[1] else "inferred"),
            "actor": "tenant" if version == 1 else "batch",
        },
    }


def ignored(version: int, status: str) -> Any:
    return {**line(1), "event": "event_ignored", "transition": None, "status": status, "version": version}


def announced(version: int, commit: tuple[int, int] | None = None, *, to: str = "") -> Any:
    return line(version, commit, to=to, event="job_transition_intended")


def forestalled(version: int, *, to: str = "") -> Any:
    return line(version, to=to, event="job_transition_forestalled")


def told(*lines: Any) -> Retold:
    return retell(Output(list(lines)))[KEY]


@pytest.mark.parametrize(
    ("lines", "filled"),
    [
        ([line(1), line(2), line(3), line(4)], 0),
        ([line(4), line(2), line(3), line(1), line(2)], 0),
        ([line(2), line(3), line(4)], 1),
        ([line(1), announced(2), line(3), line(4)], 1),
        ([line(1), line(2), line(3), announced(4)], 1),
        ([line(1), line(2), announced(3, (2, 4)), announced(4, (2, 4))], 2),
        ([line(1), line(2), line(3, (2, 4)), announced(3, (2, 4)), announced(4, (2, 4))], 1),
        ([line(1), announced(2), announced(3), announced(4)], 3),
        (
            [
                line(1),
                line(2),
                line(3),
                announced(4, to="CANCELLED"),
                announced(4),
                forestalled(4, to="CANCELLED"),
            ],
            1,
        ),
        ([line(1), line(2), line(3), announced(4), announced(4), forestalled(4)], 1),
        # Another's announcement came to nothing: the row was seen otherwise, or the next line began alone.
        ([line(1), line(2), line(3), announced(4, to="CANCELLED"), announced(4), ignored(4, "COMPLETED")], 1),
        ([line(1), line(2), announced(3, (2, 4)), announced(4, (2, 4)), announced(3), line(4)], 1),
    ],
)
def test_what_is_told_is_rebuilt(lines: list[Any], filled: int) -> None:
    history = told(*lines)
    assert tuple(step.to_status for step in history.steps) == PATH
    assert (history.filled, history.doubt) == (filled, None)


RIVALS = [line(1), line(2), announced(3, (2, 4)), announced(4, (2, 4)), announced(3)]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        # Nobody announced what would have led on from version 3: it was passed through.
        ([*RIVALS, ignored(4, "COMPLETED")], "inferred"),
        (RIVALS, "inferred"),
        # Somebody stood at version 3: nobody passed through it.
        ([*RIVALS, announced(4)], "told"),
        ([*RIVALS, announced(4, to="CANCELLED"), ignored(4, "CANCELLED")], "told"),
        ([*RIVALS, ignored(3, "RUNNING"), line(4)], "told"),
    ],
)
def test_of_two_announcements_the_one_that_leads_to_the_end_took_place(lines: list[Any], reason: str) -> None:
    history = told(*lines)
    assert (history.steps[2].reason, len(history.steps), history.doubt) == (reason, 4, None)


@pytest.mark.parametrize(
    "lines",
    [
        [line(1), line(3), line(4)],
        [line(1), line(2), line(3), announced(4, to="CANCELLED"), announced(4)],
        [line(1), line(2), line(2, to="CANCELLED")],
        [line(1), line(2), line(3), announced(4), forestalled(4), ignored(4, "COMPLETED")],
        [line(1), line(2), line(3), line(4), ignored(4, "COMPLETED"), ignored(4, "CANCELLED")],
        [line(1), line(2), line(3), line(4), ignored(4, "CANCELLED"), ignored(4, "COMPLETED")],
        [*RIVALS, announced(4), announced(4, to="CANCELLED")],
    ],
)
def test_what_may_be_otherwise_is_named(lines: list[Any]) -> None:
    assert told(*lines).doubt


def test_what_was_refused_is_no_part_of_it() -> None:
    history = told(line(1), line(2), line(3), announced(4, to="CANCELLED"), line(4))
    assert history.steps[-1].to_status == "COMPLETED"


def test_a_torn_line_is_counted_and_an_incomplete_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"sever\n' + json.dumps(line(1)) + "\n")
    output = Output.read([path])
    assert (len(output.lines), output.torn) == (1, ['{"sever'])
    assert [list(unexplained(output, kills)) for kills in (1, 2)] == [[], []]
    assert len(list(unexplained(output, 0))) == 1
    path.write_text('print from a bug\n{"severity": NaN}\n')
    said, no_number = Output.read([path]).torn
    assert (said, no_number) == ("print from a bug", '{"severity": NaN}')
    assert [offence.what for offence in unexplained(Output.read([path]), 9)] == [f"is no JSON: {said}"]
    path.write_text('{"severity": "INFO"}\n')
    with pytest.raises(AssertionError, match="without time"):
        Output.read([path])
