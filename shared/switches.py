"""What operators have switched off, as the functions see it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database

from shared.rows import READ_TIMEOUT

DISPATCH = "dispatch"
"""Name of the switch that `jennah pause` and `jennah resume` turn."""

_KEPT = timedelta(seconds=5)


class Switches:
    """Reads table Switches, at most once in 5 s.

    Args:
        database: the database, with the current schema.
        now: the clock.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._read_at: datetime | None = None
        self._paused = False

    def dispatch_paused(self) -> bool:
        """Whether no new Batch jobs are to be made; what is under way goes on. 1 RPC, or none for 5 s."""
        now = self._now()
        if self._read_at is None or not timedelta() <= now - self._read_at < _KEPT:
            with self._database.snapshot() as snapshot:
                keys = KeySet(keys=[[DISPATCH]])
                rows = list(snapshot.read("Switches", ["Paused"], keys, timeout=READ_TIMEOUT))
            self._paused = bool(rows and rows[0][0])
            self._read_at = now
        return self._paused
