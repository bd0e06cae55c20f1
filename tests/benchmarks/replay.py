"""A member of a team: does one function's part of many lives with a bare google-cloud-spanner client."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from google.api_core.exceptions import Aborted
from google.cloud import spanner
from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database

from tests.benchmarks.recording import ROLES, Call, Life, new_ids
from tests.benchmarks.team import Task, serve

_WARM: Final = 5
_THREADS: Final = 4  # with more, the emulator does no more lives a second
_IN_A_COMMIT: Final = 20  # lives that are put there together
_PAUSE_SECONDS: Final = 0.02  # at most, after a commit that the emulator aborted: one is served at a time


def task(role: str, database: Database, life: Life, jobs: int) -> dict[str, Any]:
    """What a member is told: to do the part of `role` in `jobs` lives that are like this one."""
    name, job_id = database.name, life.key.job_id
    return {"role": role, "database": name, "job_id": job_id, "calls": dict(life.calls), "jobs": jobs}


def prepare(told: Task) -> Callable[[], None]:
    """Put the rows there that the part begins with, and prepare its calls."""
    _, project, _, instance, _, name = told["database"].split("/")
    client = spanner.Client(project=project, disable_builtin_metrics=True)
    database = client.instance(instance).database(name)
    role, ids = told["role"], new_ids(_WARM + told["jobs"])
    before = [call for earlier in ROLES[: ROLES.index(role)] for call in told["calls"][earlier]]
    for start in range(0, len(ids), _IN_A_COMMIT):
        lives = [renamed(before, told["job_id"], job_id) for job_id in ids[start : start + _IN_A_COMMIT]]
        mutations = [mutation for life in lives for call in life for mutation in call.get("mutations", ())]
        if mutations:
            _commit(database, mutations)
    lives = [renamed(told["calls"][role], told["job_id"], job_id) for job_id in ids]
    for life in lives[:_WARM]:
        perform(database, life)

    def work() -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(partial(perform, database), lives[_WARM:]))

    return work


def renamed(calls: list[Call], old: str, new: str) -> list[Call]:
    """The calls of another job."""
    renamed: list[Call] = json.loads(json.dumps(calls).replace(old, new))
    return renamed


def perform(database: Database, calls: Iterable[Call]) -> None:
    """Make the calls; a commit that the emulator aborts is repeated."""
    for call in calls:
        if "mutations" in call:
            _commit(database, call["mutations"])
        else:
            keys = KeySet(keys=call["keys"])
            with database.snapshot() as snapshot:
                read = snapshot.read(
                    call["table"], call["columns"], keys, index=call["index"], limit=call["limit"]
                )
                if not list(read):
                    raise RuntimeError(f"{call['table']} has no row {call['keys']}: the replay is no life")


def _commit(database: Database, mutations: Iterable[dict[str, Any]]) -> None:
    while True:
        try:
            # The client's own loop would wait for seconds, as the emulator names no delay.
            with database.batch(timeout_secs=0) as batch:
                for mutation in mutations:
                    write = getattr(batch, mutation["kind"])
                    write(mutation["table"], mutation["columns"], mutation["values"])
        except Aborted:
            time.sleep(random.random() * _PAUSE_SECONDS)
        else:
            return


if __name__ == "__main__":
    serve(prepare)
