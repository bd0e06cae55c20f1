"""The operator's switch over dispatch: `jennah pause` and `jennah resume`."""

from __future__ import annotations

import json
import os

import typer
from google.api_core import exceptions
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from jennah.access import REFUSED, CommandFailed
from jennah.operations.database import one_sentence, opened
from shared.config import Settings
from shared.switches import DISPATCH

_OUTCOMES = {
    True: "Dispatch is paused: jobs are accepted and wait; what runs goes on. `jennah resume` ends it.",
    False: "Dispatch goes on: jobs that waited start spread over 5 minutes, 200 a minute at most.",
}


def switch_dispatch(*, paused: bool, reason: str | None, as_json: bool) -> None:
    """Stop the making of new Batch jobs, or let it go on. Functions notice within 5 s.

    Raises:
        CommandFailed: the database can't be reached, or has not this release's schema.
    """
    columns = ("Name", "Paused", "Reason", "SetAt")
    try:
        with one_sentence():
            settings = Settings.from_env(os.environ)
            with opened(settings, role="roles/spanner.databaseUser") as database, database.batch() as batch:
                batch.insert_or_update("Switches", columns, [(DISPATCH, paused, reason, COMMIT_TIMESTAMP)])
    except exceptions.NotFound as error:
        raise CommandFailed("The database has no table Switches: run `jennah migrate`.", REFUSED) from error
    if as_json:
        shown = {"dispatch": "paused" if paused else "on", "reason": reason, "set_at": batch.committed}
        typer.echo(json.dumps(shown, default=lambda at: at.isoformat(), indent=2))
    else:
        typer.echo(_OUTCOMES[paused])
