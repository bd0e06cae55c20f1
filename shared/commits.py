"""One commit of buffered mutations, repeated until its outcome is known."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from google.api_core import exceptions
from google.cloud.spanner_v1.batch import Batch
from google.cloud.spanner_v1.database import Database

from shared.errors import Unavailable

# After these the write may or may not have happened, or may happen yet.
_UNKNOWN = (
    exceptions.DeadlineExceeded,
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.Cancelled,
    exceptions.Unknown,
    exceptions.RetryError,
)
_FIRST_DELAY = 0.005
_LONGEST_DELAY = 1.0


class PerhapsApplied(exceptions.AlreadyExists):  # type: ignore[misc]  # google.api_core has no types
    """The key is taken, and nobody knows what became of an earlier try of this call: perhaps that took it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How to wait between two tries: for how many seconds in all, on which clock, and how to sleep."""

    seconds: float = 20.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


PATIENT = Patience()


def commit(database: Database, write: Callable[[Batch], None], *, patience: Patience = PATIENT) -> datetime:
    """Commit the mutations that `write` buffers, in one RPC (a single-use transaction).

    A single-use commit is not protected against replay, and here that is the point: `write` must contain an
    insert whose key collides when the same write comes twice. Then an outcome that the network made unknown
    is settled by doing the same write again: it either applies or collides, where a read could come before
    a commit that is still on its way. `write` is called once per try and must buffer the same each time.
    A write that may come twice, and late, without harm needs no such insert.

    Args:
        database: where to.
        write: buffers the mutations.
        patience: after how long no further try is made. One try takes as long as the database's client
            lets it: see `database`.

    Returns:
        The commit timestamp, aware, UTC.

    Raises:
        PerhapsApplied: the key is taken, perhaps by an earlier try of this call.
        google.api_core.exceptions.AlreadyExists: the key is taken by somebody else.
        google.api_core.exceptions.NotFound: a row to update, or the parent of one to insert, is missing.
        Unavailable: no try was answered within `patience`; the write may have happened.
    """
    deadline = patience.clock() + patience.seconds
    delay = _FIRST_DELAY
    unknown = False
    while True:
        try:
            # The client's own loop waits for seconds where the server names no delay: ours is quicker.
            with database.batch(timeout_secs=0) as batch:
                write(batch)
            return cast("datetime", batch.committed)
        except exceptions.AlreadyExists as error:
            if unknown:
                raise PerhapsApplied(error.message) from error
            raise
        except (exceptions.Aborted, *_UNKNOWN) as error:
            unknown = unknown or not isinstance(error, exceptions.Aborted)
            if patience.clock() + delay > deadline:
                raise Unavailable("The database did not answer in time; please try again.") from error
        patience.sleep(patience.jitter() * delay)
        delay = min(delay * 2, _LONGEST_DELAY)
