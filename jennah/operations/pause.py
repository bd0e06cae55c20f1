"""The operator's switch over dispatch: `jennah pause`, `jennah resume` and `jennah dispatch`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import typer
from google.api_core import exceptions
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.database import Database

from jennah.operations.database import one_sentence, opened
from jennah.output import REFUSED, CommandFailed
from jennah.render import printable, timestamp
from shared.config import Settings
from shared.switches import DISPATCH

_OUTCOMES = {
    True: "Dispatch is paused: jobs are accepted and wait; what runs goes on. `jennah resume` ends it.",
    False: "Dispatch goes on: jobs that waited start spread over 5 minutes, 200 a minute at most.",
}


@dataclass(frozen=True, slots=True)
class Switch:
    """How the switch stands, since when, and why; it was never turned where it has no time."""

    paused: bool = False
    reason: str | None = None
    set_at: datetime | None = None

    @classmethod
    def read(cls, database: Database) -> Switch:
        """As it stands now; 1 RPC.

        Raises:
            google.api_core.exceptions.NotFound: there is no table of switches.
        """
        with database.snapshot() as snapshot:
            rows = list(snapshot.read("Switches", ("Paused", "Reason", "SetAt"), KeySet(keys=[[DISPATCH]])))
        return cls(*rows[0]) if rows else cls()

    def __str__(self) -> str:
        """A sentence."""
        since = f" since {timestamp(self.set_at)}" if self.set_at else ""
        why = f": {printable(self.reason)}" if self.reason else ""
        return f"Dispatch is {_name(paused=self.paused)}{since}{why}."


def switch_dispatch(*, paused: bool, reason: str | None, as_json: bool) -> None:
    """Stop the making of new Batch jobs, or let it go on. Functions notice within 5 s.

    Raises:
        CommandFailed: the database can't be reached, or has not this release's schema.
    """
    columns = ("Name", "Paused", "Reason", "SetAt")
    with _opened("roles/spanner.databaseUser") as database, database.batch() as batch:
        batch.insert_or_update("Switches", columns, [(DISPATCH, paused, reason, COMMIT_TIMESTAMP)])
    if as_json:
        _print_json(Switch(paused, reason, batch.committed))
    else:
        typer.echo(_OUTCOMES[paused])


def show_dispatch(*, as_json: bool) -> None:
    """Say whether dispatch is paused, since when, and why.

    Raises:
        CommandFailed: the database can't be reached, or has not this release's schema.
    """
    with _opened("roles/spanner.databaseReader") as database:
        switch = Switch.read(database)
    if as_json:
        _print_json(switch)
    else:
        typer.echo(switch)


@contextmanager
def _opened(role: str) -> Iterator[Database]:
    try:
        with one_sentence(), opened(Settings.from_env(os.environ), role=role) as database:
            yield database
    except exceptions.NotFound as error:
        raise CommandFailed("The database has no table Switches: run `jennah migrate`.", REFUSED) from error


def _print_json(switch: Switch) -> None:
    shown = {"dispatch": _name(paused=switch.paused), "reason": switch.reason, "set_at": switch.set_at}
    typer.echo(json.dumps(shown, default=lambda at: at.isoformat(), indent=2))


def _name(*, paused: bool) -> str:
    return "paused" if paused else "on"
