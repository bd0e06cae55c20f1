"""The floors of a life: what bare clients take for the same, and that with pushes and forks added."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database

from jennah.local import emulators
from jennah.local.processes import Processes, free_port, wait_until_healthy
from jennah.local.pubsub import LocalPubsub
from tests.benchmarks import replay, tasks
from tests.benchmarks.posts import Posts
from tests.benchmarks.recording import ROLES, Life, spanner_instance
from tests.benchmarks.team import Team
from tests.chaos.scene import RunFailed
from tests.integration.function_process import PROJECT, schema_database

_NOOP: Final = Path(__file__).with_name("noop_function.py")
_PUSH_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.01
_WARM_POSTS: Final = 40


@dataclass(frozen=True, slots=True)
class Floor:
    """Lives a second, and for how many seconds each process worked."""

    speed: float
    worked: Mapping[str, float]


def bare_clients(life: Life, jobs: int, folder: Path, *, pushes_and_forks: bool) -> Floor:
    """What bare clients do.

    A process for each function does its part of `jobs` lives, all at once, on a fresh emulator; what a part
    begins with is there before the clock starts.

    Args:
        life: what to do.
        jobs: how often.
        folder: for files.
        pushes_and_forks: let a no-op function behind each door be called as often, by the same clients and
            pushes, and fork the jobs' command, at the same time.
    """
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(folder / "logs"))
        host, instance = stack.enter_context(spanner_instance(processes))
        database = stack.enter_context(schema_database(instance))
        with database.batch() as batch:
            batch.insert("Tenants", ["TenantId", "CreatedAt"], [[life.key.tenant_id, COMMIT_TIMESTAMP]])
        team = stack.enter_context(Team(processes, folder, {"SPANNER_EMULATOR_HOST": host}))
        _add_clients(team, life, jobs, database)
        doors = _Doors(processes, life, jobs, team) if pushes_and_forks else None
        team.wait_until_ready()
        if doors:
            doors.wait_until_warm()
        began = time.perf_counter()
        team.go()
        if doors:
            doors.send()
        worked = team.wait()
        if doors:
            doors.wait()
        return Floor(jobs / (time.perf_counter() - began), worked)


def clients_beside(life: Life, jobs: int, folder: Path, database: Database, env: Mapping[str, str]) -> float:
    """Lives a second of bare clients in a database that is there, with the tenant of the life.

    Args:
        life: what to do.
        jobs: how often.
        folder: for files.
        database: where.
        env: how its emulator is reached.
    """
    with Processes(folder / "logs") as processes, Team(processes, folder, env) as team:
        _add_clients(team, life, jobs, database)
        team.wait_until_ready()
        began = time.perf_counter()
        team.go()
        team.wait()
        return jobs / (time.perf_counter() - began)


def _add_clients(team: Team, life: Life, jobs: int, database: Database) -> None:
    for role in ROLES:
        team.add(role, replay.__name__, replay.task(role, database, life, jobs))


def start_noop(processes: Processes, name: str) -> str:
    """Start a function that does nothing; return its URL once it answers."""
    port = free_port()
    framework = [sys.executable, "-m", "functions_framework", "--host=127.0.0.1", f"--port={port}"]
    command = [*framework, f"--source={_NOOP}", "--target=noop"]
    wait_until_healthy(processes.start(f"noop-{name}", command), port, "/")
    return f"http://127.0.0.1:{port}/"


class _Doors:
    """No-op functions behind the doors of a life: one is posted to, two are pushed to."""

    def __init__(self, processes: Processes, life: Life, jobs: int, team: Team) -> None:
        self._jobs = jobs
        pubsub = emulators.start_pubsub(processes).host
        topics = LocalPubsub(pubsub, PROJECT)
        submission, scheduling, notification = (start_noop(processes, role) for role in ROLES)
        topics.create_pushed_topic("jobs", scheduling)
        topics.create_pushed_topic("batch-events", notification)
        self._posts = Posts(submission.removeprefix("http://").rstrip("/"), "/", 204, b"{}")
        self._posts.send(_WARM_POSTS)
        # By their URL: how often each is pushed to for one life.
        self._pushed = {scheduling: 1, notification: life.notifications}
        told = tasks.task(
            pubsub,
            jobs_topic=f"projects/{PROJECT}/topics/jobs",
            events_topic=f"projects/{PROJECT}/topics/batch-events",
            notifications=life.notifications,
            jobs=jobs,
        )
        team.add("tasks", tasks.__name__, told)

    def wait_until_warm(self) -> None:
        """Wait for the pushes of the lives that came before the clock starts."""
        self._wait(tasks.WARM)

    def send(self) -> None:
        """Post once for each life."""
        self._posts.send(self._jobs)

    def wait(self) -> None:
        """Wait for the last push."""
        self._wait(tasks.WARM + self._jobs)

    def _wait(self, lives: int) -> None:
        deadline = time.monotonic() + _PUSH_SECONDS
        for url, pushes in self._pushed.items():
            while _count(url) < lives * pushes:
                if time.monotonic() > deadline:
                    raise RunFailed(f"the emulator did not push every message in {_PUSH_SECONDS:.0f} s.")
                time.sleep(_LOOK_SECONDS)


def _count(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(answer.read())
