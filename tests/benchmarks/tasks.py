"""A member of a team: the messages and the tasks of many lives, with nothing but a client and a fork."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from google.pubsub_v1.types import PubsubMessage

from shared.publisher import connect
from tests.benchmarks.recording import new_ids
from tests.benchmarks.team import Task, serve

WARM: Final = 5
"""Lives that are lived before the clock starts: their messages are pushed, too."""

_THREADS: Final = 4  # as many as the clients of Spanner have


def task(pubsub: str, *, jobs_topic: str, events_topic: str, notifications: int, jobs: int) -> dict[str, Any]:
    """What the member is told: one message to the first topic for each life, one task, its notifications."""
    return {
        "pubsub": pubsub,
        "jobs_topic": jobs_topic,
        "events_topic": events_topic,
        "notifications": notifications,
        "jobs": jobs,
    }


def prepare(told: Task) -> Callable[[], None]:
    """Connect, and warm everything up."""
    client = connect(told["pubsub"])
    command = shutil.which("true")
    assert command, "there is no `true` on the PATH"

    def publish(topic: str, job_id: str) -> None:
        client.publish(topic=topic, messages=[PubsubMessage(attributes={"job": job_id})])

    def live(job_id: str) -> None:
        publish(told["jobs_topic"], job_id)
        pid = os.posix_spawn(command, ["true"], {})
        os.waitpid(pid, 0)
        for _ in range(told["notifications"]):
            publish(told["events_topic"], job_id)

    def live_all(job_ids: Iterable[str]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(live, job_ids))

    live_all(new_ids(WARM))
    ids = new_ids(told["jobs"])
    return lambda: live_all(ids)


if __name__ == "__main__":
    serve(prepare)
