"""What tasks have written: the port to wherever that is kept. Standard library only."""

from __future__ import annotations

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


class TaskLogs(Protocol):
    """Where logs are kept."""

    def lines(
        self, *, project: str, uid: str, task: int, since: datetime | None, after: LogPlace | None, limit: int
    ) -> list[LogLine]:
        """The first lines after a place, oldest first; fewer than `limit` only where there are no more now.

        Args:
            project: the Google Cloud project of the Batch job.
            uid: the Batch job's.
            task: the task's index in it.
            since: when the job was submitted: no line is older.
            after: None from the beginning.
            limit: how many lines at most.

        Raises:
            Unavailable: it could not be read now.
        """
