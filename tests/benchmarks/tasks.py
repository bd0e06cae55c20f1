"""A member of a team: the messages and the tasks of many lives, as the local Batch service does them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from google.cloud import batch_v1

from jennah.local.batch_execution import Execution
from jennah.local.batch_jobs import Job
from jennah.local.batch_notifications import Notifier, publisher_to
from jennah.local.batch_rules import Rules
from jennah.local.batch_runner import LEDGER, Runner
from tests.benchmarks.recording import new_ids
from tests.benchmarks.team import Task, serve

WARM: Final = 5
"""Lives that are lived before the clock starts: their messages are pushed, too."""

_PARALLEL: Final = 32  # the local Batch service's own default


def task(
    folder: Path, pubsub: str, *, topic: str, batch_job: str, notifications: int, jobs: int
) -> dict[str, Any]:
    """What the member is told: for each life one message to `topic`, one task and its notifications."""
    return {
        "folder": str(folder),
        "pubsub": pubsub,
        "topic": topic,
        "batch_job": batch_job,
        "notifications": notifications,
        "jobs": jobs,
    }


def prepare(told: Task) -> Callable[[], None]:
    """Start the launcher of tasks, and warm everything up."""
    folder = Path(told["folder"])
    folder.mkdir()
    (folder / LEDGER).touch()
    loop = asyncio.Runner()
    runner = loop.run(Runner(folder).__aenter__())  # its launcher ends with this process
    publish = publisher_to(told["pubsub"])
    job = batch_v1.Job.from_json(told["batch_job"])

    async def live(lives: int) -> None:
        left, sent = lives * told["notifications"], asyncio.Event()

        async def notify(topic: str, attributes: Mapping[str, str]) -> None:
            nonlocal left
            await publish(topic, attributes)
            left -= 1
            if not left:
                sent.set()

        rules, places = Rules(), asyncio.Semaphore(_PARALLEL)
        executions = []
        for job_id in new_ids(lives):
            record = Job(f"projects/p/locations/l/jobs/j{job_id}", job_id, job)
            executions.append(
                Execution(
                    record,
                    folder / job_id,
                    runner=runner,
                    places=places,
                    rules=rules,
                    notifier=Notifier(notify, rules, None),
                )
            )
            await publish(told["topic"], {"job": job_id})
        await sent.wait()

    loop.run(live(WARM))
    return lambda: loop.run(live(told["jobs"]))


if __name__ == "__main__":
    serve(prepare)
