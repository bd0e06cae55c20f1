"""The platform's use cases put together on the emulators; a list stands for the topic of jobs."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_faults import BatchFaults
from jennah.local.processes import Processes, free_port, wait_until_listening
from jennah.operations.history import differences, replay
from shared.api import SubmitRequest
from shared.batch import batch_name
from shared.batch_client import BatchClient
from shared.batch_ids import batch_id
from shared.config import Settings
from shared.dispatch import Dispatch
from shared.follow import Follower
from shared.jobs import Jobs
from shared.messages import BatchNotification, JobMessage, Tick
from shared.model import Attempt, Job, JobKey, JobStatus, Transition
from shared.reconcile import Reconciliation
from shared.rows import Reads
from shared.transitions import Transitions


@dataclass
class Platform:
    """Everything but the functions' doors. `clock` is added to the real time; `published` is topic `jobs`."""

    database: Database
    settings: Settings
    faults: BatchFaults
    clock: timedelta = timedelta()
    published: list[JobMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reads = Reads(self.database)
        self.transitions = Transitions(self.database, timing=self.settings.timing, now=self.now)
        self.batch = BatchClient(
            emulator_host=self.settings.batch_emulator_host,
            create_deadline=self.settings.timing.create_deadline,
        )
        publish = self.published.append
        follower = Follower(
            transitions=self.transitions,
            batch=self.batch,
            publish=publish,
            settings=self.settings,
            now=self.now,
        )
        self.jobs = Jobs(
            transitions=self.transitions,
            reads=self.reads,
            publish=publish,
            batch_parent=self.settings.batch_parent,
            now=self.now,
        )
        self.dispatch = Dispatch(
            transitions=self.transitions,
            reads=self.reads,
            batch=self.batch,
            follower=follower,
            settings=self.settings,
            now=self.now,
        )
        self.reconciliation = Reconciliation(
            transitions=self.transitions,
            reads=self.reads,
            batch=self.batch,
            follower=follower,
            publish=publish,
            timing=self.settings.timing,
            now=self.now,
        )
        self.tenant_id = str(uuid.uuid4())
        with self.database.batch() as batch:
            batch.insert("Tenants", ["TenantId", "CreatedAt"], [[self.tenant_id, COMMIT_TIMESTAMP]])

    def now(self) -> datetime:
        """The platform's clock."""
        return datetime.now(UTC) + self.clock

    def submit(self, *commands: str, **fields: object) -> JobKey:
        """Submit a job that runs these words."""
        request = SubmitRequest(image_uri="busybox", commands=list(commands), **fields)  # type: ignore[arg-type]
        return self.jobs.submit(self.tenant_id, request, None)[0].key

    def scheduled(self, *commands: str, **fields: object) -> JobKey:
        """Submit a job and start its first attempt."""
        key = self.submit(*commands, **fields)
        self.dispatch.schedule(JobMessage(key, 1))
        return key

    def job(self, key: JobKey) -> Job:
        """The row, once it agrees with its history and its attempts."""
        job = self.reads.job(key)
        assert job is not None
        attempts = {attempt.attempt: attempt for attempt in self.attempts(key)}
        assert differences(job, replay(self.history(key), attempts)) == []
        assert job.status.final or job.next_check_at is not None
        return job

    def history(self, key: JobKey) -> list[Transition]:
        """The audit trail."""
        return self.reads.transitions(key, after=None, limit=1000)

    def path(self, key: JobKey) -> list[str]:
        """The states that the job went through."""
        return [row.to_status for row in self.history(key)]

    def attempts(self, key: JobKey) -> list[Attempt]:
        """The attempts."""
        return self.reads.attempts(key)

    def uid(self, key: JobKey, attempt: int = 1) -> str:
        """The uid that Batch gave this attempt."""
        job = self.job(key)
        record = self.batch.get(f"{job.batch_parent}/jobs/{batch_id(key, attempt)}")
        assert record is not None
        return record.ref.uid

    def notify(self, key: JobKey, state: str, *, attempt: int = 1, uid: str | None = None) -> None:
        """Deliver a notification."""
        uid = uid or self.uid(key, attempt)
        self.dispatch.notify(BatchNotification(key, attempt, uid, state))

    def tick(self, later: timedelta = timedelta()) -> int:
        """Let time pass, and reconcile once."""
        self.clock += later
        return self.reconciliation.reconcile(Tick(self.now()))

    def batch_state(self, key: JobKey) -> str | None:
        """What Batch says of the current attempt."""
        record = self.batch.get(batch_name(self.job(key)))
        return record.state if record else None

    def status(self, key: JobKey) -> JobStatus:
        """Where the job stands."""
        return self.job(key).status


@pytest.fixture(scope="session")
def batch_host(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of this worker's local Batch service, which sends its notifications nowhere."""
    port = free_port()
    directory: Path = tmp_path_factory.mktemp("batch")
    command = ["-m", "jennah.local.batch_service", f"--port={port}", f"--directory={directory}"]
    process = processes.start("batch", [sys.executable, *command], env={"PATH": os.environ["PATH"]})
    wait_until_listening(process, port)
    return f"127.0.0.1:{port}"


@pytest.fixture
def platform(database: Database, batch_host: str) -> Iterator[Platform]:
    """The platform on a database of its own."""
    faults = BatchFaults(batch_host)
    settings = Settings(project="jennah-test", spanner_instance="jennah-test", batch_emulator_host=batch_host)
    with faults:
        yield Platform(database, settings, faults)
        faults.clear()
