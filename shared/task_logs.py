"""What tasks have written: the port to wherever that is kept. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a reader of a log stands: after the line of this time (RFC 3339, all its digits) and id."""

    at: str
    line_id: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a task.

    Attributes:
        place: its time, and what tells it from others of that time.
        stream: which of its two outputs.
        message: the text as it was written.
    """

    place: LogPlace
    stream: Literal["stdout", "stderr"]
    message: str

    @property
    def size(self) -> int:
        """Of its text, in bytes of UTF-8."""
        return len(self.message.encode())


@dataclass(frozen=True, slots=True)
class LogPart:
    """Lines of a log that follow each other, oldest first.

    Attributes:
        lines: perhaps none.
        more: others may be there already.
        asked: how many times it was asked for lines, of which there is a quota.
    """

    lines: Sequence[LogLine]
    more: bool
    asked: int = 1


class TaskLogs(Protocol):
    """Where logs are kept."""

    def lines(
        self,
        *,
        project: str,
        uid: str,
        task: int,
        since: datetime | None,
        after: LogPlace | None,
        limit: int,
        most_text: int,
        seconds: float,
    ) -> LogPart:
        """The first lines after a place, as many as the limits let it gather.

        Args:
            project: the Google Cloud project of the Batch job.
            uid: the Batch job's.
            task: the task's index in it.
            since: when the job was submitted: no line is older.
            after: None from the beginning.
            limit: how many lines at most.
            most_text: with so many bytes of text no more is asked for.
            seconds: for so long; what was found by then is the part.

        Raises:
            Unavailable: nothing could be read now.
        """
