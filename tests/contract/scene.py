"""The Jobs API as its own process, on the official emulators, with somebody in it whose jobs come to ends."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_server import start_batch
from jennah.local.issuer import PROVIDER, LocalIssuer
from jennah.local.processes import Processes
from shared.config import Timing
from shared.events import BatchRef, Event, Failure, Rejected, Scheduled, Succeeded
from shared.lifecycle import NotFound
from shared.model import Actor, Job
from shared.rows import Reads
from shared.spec import FailureReason
from shared.transitions import Touch, Transitions
from tests.integration.api_process import running_api
from tests.submissions import ACCOUNT

_SETTINGS: Final = {
    "JENNAH_ADMIT": "everyone",
    "JENNAH_DELETE_AGE_SECONDS": "0.001",
    "JENNAH_LOG_SPACING_SECONDS": "0.001",
    "JENNAH_LOG_DELAY_SECONDS": "0.001",
    "JENNAH_OPERATORS": json.dumps({"domains": ["operators.example.com"]}),
    "JENNAH_PENDING_CHECK_SECONDS": "0.001",  # a new job is due at once, so that `_end_jobs` finds it
    "JENNAH_STREAM_SECONDS": "0.2",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """The API at `url`."""

    url: str
    issuer: LocalIssuer
    database: Database

    def tenant(self, name: str, domain: str = "example.com") -> str:
        """The token of a new tenant, who may use secrets and buckets.

        At operators.example.com are operators.
        """
        columns = ("TenantId", "OAuthProvider", "OAuthUserId", "JobServiceAccount", "CreatedAt", "UpdatedAt")
        row = (str(uuid.uuid4()), PROVIDER, name, ACCOUNT, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)
        with self.database.batch() as batch:
            batch.insert("Tenants", columns, [row])
        return self.issuer.mint(f"{name}@{domain}", sub=name)


@contextmanager
def scene(
    instance: Instance, processes: Processes, folder: Path, hosts: Mapping[str, str]
) -> Iterator[Scene]:
    """Start it.

    Args:
        instance: where its database is made.
        processes: who owns its processes.
        folder: for its files.
        hosts: SPANNER_EMULATOR_HOST and PUBSUB_EMULATOR_HOST.
    """
    # It runs nothing here: it keeps logs, and there are none.
    batch = start_batch(processes, folder / "batch")
    settings = _SETTINGS | {"LOGGING_EMULATOR_HOST": batch.host}
    with running_api(instance, processes, folder, hosts, settings=settings) as api, _ends(api.database):
        yield Scene(str(api.client.base_url).rstrip("/"), api.issuers[0], api.database)


@contextmanager
def _ends(database: Database) -> Iterator[None]:
    """In the place of Batch: jobs of every kind of ending, and some that wait."""
    stop = threading.Event()
    thread = threading.Thread(target=_end_jobs, args=(database, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def _end_jobs(database: Database, stop: threading.Event) -> None:
    reads = Reads(database)
    transitions = Transitions(database, timing=Timing(), now=lambda: datetime.now(UTC))
    while not stop.wait(0.2):
        for key in reads.due(datetime.now(UTC), 100):
            job = reads.job(key)
            if job is not None:
                _end(transitions, job)


def _end(transitions: Transitions, job: Job) -> None:
    batch = BatchRef(f"{job.batch_parent}/jobs/j-{job.job_id}", f"uid-{job.job_id}")
    endings: Sequence[Sequence[Event]] = (
        [Rejected(attempt=job.attempt, failure=Failure(FailureReason.REJECTED, "Batch refused the job"))],
        [Scheduled(attempt=job.attempt, batch=batch), Succeeded(attempt=job.attempt, batch=batch)],
        [Scheduled(attempt=job.attempt, batch=batch)],
    )
    current = job
    if not job.status.final and job.commands[:1] != ("sleep",):  # those are for the cancelling
        for event in endings[int(job.job_id[0], 16) % len(endings)]:
            decision = transitions.apply(job.key, event, Actor.SCHEDULER)
            if isinstance(decision, NotFound):
                return
            current = decision.job
    transitions.touch(Touch(current, next_check_at=None))
