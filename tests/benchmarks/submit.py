"""Submit latency: what a client waits for its 201 at a fixed rate of arrivals, with dispatch on and paused.

In an open loop: each request is due at its own time, whether the last is answered or not, and is timed from
when it was due. A server that stalls can't hide it by holding back the requests that it would have made wait.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from google.cloud import spanner
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database

from jennah.local.cloud import LocalCloud
from jennah.local.processes import Processes
from shared.switches import DISPATCH
from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample, percentile
from tests.benchmarks.floors import start_noop
from tests.benchmarks.recording import ROLES, Life, new_ids
from tests.benchmarks.replay import perform, renamed
from tests.benchmarks.steady_load import Load
from tests.benchmarks.whole_cloud import WholeCloud
from tests.chaos.scene import RunFailed, open_database

FIGURE: Final = "submit"
RATE: Final = 50.0

_FLOOR: Final = f"one commit + one no-op request, both at {RATE:.0f}/s, p50"
_P50, _P99 = Goal(Bound.RATIO_AT_MOST, 3), Goal(Bound.RATIO_AT_MOST, 10)
_THREADS: Final = 16
_WARM: Final = 20


def measure(life: Life, jobs: int, folder: Path, say: Callable[[str], None]) -> Run:
    """One run: the floor, then `jobs` submissions with dispatch on, then as many with dispatch paused.

    The emulator takes the floor's commits first, while it is younger: if anything, the floor is too low.
    """
    with ExitStack() as stack:
        say("starting")
        whole = stack.enter_context(WholeCloud(folder, {"JENNAH_TICK_SECONDS": "86400"}, warm=_WARM))
        database = open_database(whole.cloud)
        say("one commit")
        bare = bare_client(whole.cloud, life)
        warm = statistics.median(bare_calls(bare, life, "submission", jobs))
        commit = statistics.median(bare_calls(bare, life, "submission", jobs, rate=RATE))
        say("one no-op request")
        idle = start_noop(stack.enter_context(Processes(folder / "noop")), "posted-to")
        noop = Load(urlsplit(idle).netloc, RATE, _THREADS, "nobody")
        answered(noop, _WARM, 204)
        request = statistics.median(answered(noop, jobs, 204))
        submissions = Load(whole.host, RATE, _THREADS, whole.token)
        say(f"{RATE:.0f} submissions a second, dispatch on")
        on = whole.finished_after(jobs, lambda: answered(submissions, jobs, 201))
        pause(whole.cloud, database)
        answered(submissions, _WARM, 201)
        say(f"{RATE:.0f} submissions a second, dispatch paused")
        paused = answered(submissions, jobs, 201)
    samples = []
    for how, latencies, goals in (("paused", paused, (_P50, _P99)), ("on", on, (None, None))):
        for percent, goal in zip((50, 99), goals, strict=True):
            name = f"p{percent} at {RATE:.0f}/s, dispatch {how}"
            value = percentile(latencies, percent)
            samples.append(
                Sample(Measure(FIGURE, name, "ms", _FLOOR, goal), 1000 * value, 1000 * (commit + request))
            )
    parts = {"commit": commit, "noop_request": request, "commit_back_to_back": warm}
    return Run(samples, {"jobs": jobs} | {f"{name}_ms": 1000 * took for name, took in parts.items()})


def bare_client(cloud: LocalCloud, life: Life) -> Database:
    """The cloud's database, by a bare client, with the tenant of the life."""
    env = cloud.env
    client = spanner.Client(project=env["GOOGLE_CLOUD_PROJECT"], disable_builtin_metrics=True)
    database = client.instance(env["SPANNER_INSTANCE"]).database(env["SPANNER_DATABASE"])
    with database.batch() as batch:
        batch.insert("Tenants", ["TenantId", "CreatedAt"], [[life.key.tenant_id, COMMIT_TIMESTAMP]])
    return database


def bare_calls(
    database: Database, life: Life, role: str, count: int, *, rate: float | None = None
) -> list[float]:
    """How many seconds one function's calls for a life take, by a bare client.

    Args:
        database: where.
        life: whose calls.
        role: of which function.
        count: how often.
        rate: so many lives a second begin; without it each begins when the last is done, which keeps
            processor and emulator warm.
    """
    before = [call for earlier in ROLES[: ROLES.index(role)] for call in life.calls[earlier]]
    took = []
    start = time.monotonic()
    for number, job_id in enumerate(new_ids(_WARM + count)):
        perform(database, renamed(before, life.key.job_id, job_id))
        calls = renamed(life.calls[role], life.key.job_id, job_id)
        if rate:
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
        began = time.perf_counter()
        perform(database, calls)
        took.append(time.perf_counter() - began)
    return took[_WARM:]


def answered(load: Load, count: int, status: int) -> list[float]:
    """How many seconds after its time each was answered."""
    begin = time.monotonic() + 0.1
    latencies, statuses = load.send(begin, begin + (count + 0.5) / load.rate)
    if statuses.keys() != {status}:
        raise RunFailed(f"requests were answered {dict(statuses)}, not all {status}.")
    return latencies


def pause(cloud: LocalCloud, database: Database) -> None:
    """Pause dispatch; the scheduling function is started anew, since it believes for 5 s what it has read."""
    with database.batch() as batch:
        batch.insert("Switches", ["Name", "Paused", "SetAt"], [[DISPATCH, True, COMMIT_TIMESTAMP]])
    cloud.stop("scheduling")
    cloud.start("scheduling")
