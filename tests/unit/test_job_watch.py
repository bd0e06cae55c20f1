"""How often the client asks for the jobs that it follows."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from jennah import answers
from jennah.client import Client, Job
from jennah.job_watch import watched

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer


def test_jobs_are_watched_together(server: ScriptedServer, job: dict[str, Any]) -> None:
    looks = {"a": iter(["PENDING", "COMPLETED"]), "b": iter(["PENDING", "RUNNING", "FAILED"])}

    def decide(asked: Asked) -> tuple[int, Any]:
        name = asked.path[-1]
        return 200, {**job, "job_id": name, "status": next(looks[name])}

    server.decide = decide
    with Client(server.url, "a.b.c") as client:
        seen = [(found.job_id, found.status) for found in client.watch_jobs(["a", "b", "a"])]
    assert seen == [
        ("a", "PENDING"),
        ("b", "PENDING"),
        ("a", "COMPLETED"),
        ("b", "RUNNING"),
        ("b", "FAILED"),
    ]


def test_many_jobs_are_watched_gently(job: dict[str, Any]) -> None:
    """However many they are and however often one of them changes, there are 20 looks a second at most."""
    ids = [f"job-{number}" for number in range(30)]
    looks: Counter[str] = Counter()

    def look(job_id: str) -> Job:
        looks[job_id] += 1
        status = "COMPLETED" if looks["job-0"] >= 8 else "RUNNING"
        version = looks[job_id] if job_id == "job-0" else 1
        return answers.job({**job, "job_id": job_id, "status": status, "version": version})

    watching = watched(look, ids)
    assert [next(watching).job_id for _ in ids] == ids
    began = time.monotonic()
    assert {found.job_id for found in watching} == {*ids}
    assert looks.total() - len(ids) <= 20 * (time.monotonic() - began) + 1


def test_a_job_that_changes_does_not_hurry_the_others(server: ScriptedServer, job: dict[str, Any]) -> None:
    looks: Counter[str] = Counter()

    def decide(asked: Asked) -> tuple[int, Any]:
        name = asked.path.rpartition("/")[2]
        looks[name] += 1
        status = "COMPLETED" if looks["busy"] >= 14 else "RUNNING"
        version = looks["busy"] if name == "busy" else 1
        return 200, {**job, "job_id": name, "status": status, "version": version}

    server.decide = decide
    with Client(server.url, "a.b.c") as client:
        list(client.watch_jobs(["busy", "idle"]))
    assert looks["idle"] < 11
