"""The platform's use cases put together on the emulators; a list stands for the topic of jobs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes
from jennah.operations.replay import differences, replay
from shared.api.spec import SubmitRequest
from shared.batch import batch_name
from shared.batch_client import BatchClient, connect
from shared.batch_ids import batch_id
from shared.config import Settings
from shared.dispatch import Dispatch
from shared.follow import Follower
from shared.jobs import Jobs
from shared.messages import BatchNotification, JobMessage, Tick
from shared.model import Attempt, Job, JobKey, JobStatus, Transition
from shared.orphans import Orphans
from shared.reconcile import Reconciliation
from shared.rows import Reads
from shared.switches import Switches
from shared.tenant_deletion import TenantDeletion
from shared.transitions import Transitions
from tests.integration.wire import Wire


@dataclass
class Platform:
    """Everything but the functions' doors. `clock` is added to the real time; `published` is topic `jobs`."""

    database: Database
    settings: Settings
    batch_server: BatchServer
    clock: timedelta = timedelta()
    published: list[JobMessage] = field(default_factory=list)
    on_publish: Callable[[JobMessage], bool] | None = None

    def __post_init__(self) -> None:
        self.faults: BatchFaults = self.batch_server.faults
        self.reads = Reads(self.database)
        self.transitions = Transitions(self.database, timing=self.settings.timing, now=self.now)
        self.batch = BatchClient(
            connect(self.settings.batch_emulator_host),
            create_deadline=self.settings.timing.create_deadline,
        )
        publish = self.publish
        self.orphans = Orphans(reads=self.reads, batch=self.batch, settings=self.settings, now=self.now)
        self.switches = Switches(self.database, now=self.now)
        self.deletion = TenantDeletion(
            self.database,
            reads=self.reads,
            transitions=self.transitions,
            publish=publish,
            timing=self.settings.timing,
            now=self.now,
        )
        follower = Follower(
            transitions=self.transitions,
            reads=self.reads,
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
        )
        self.dispatch = Dispatch(
            transitions=self.transitions,
            reads=self.reads,
            batch=self.batch,
            follower=follower,
            switches=self.switches,
            settings=self.settings,
            now=self.now,
        )
        self.reconciliation = Reconciliation(
            transitions=self.transitions,
            reads=self.reads,
            batch=self.batch,
            follower=follower,
            orphans=self.orphans,
            deletion=self.deletion,
            switches=self.switches,
            publish=publish,
            settings=self.settings,
            now=self.now,
        )
        self.tenant_id = str(uuid.uuid4())
        with self.database.batch() as batch:
            batch.insert("Tenants", ["TenantId", "CreatedAt"], [[self.tenant_id, COMMIT_TIMESTAMP]])

    def publish(self, *messages: JobMessage) -> bool:
        """Topic `jobs`, which takes every message unless `on_publish` says otherwise."""
        taken = [message for message in messages if self.on_publish is None or self.on_publish(message)]
        self.published += taken
        return len(taken) == len(messages)

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
def batch_server(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> BatchServer:
    """The local Batch service of this worker; it sends its notifications nowhere."""
    return start_batch(processes, tmp_path_factory.mktemp("batch"))


def make_platform(database: Database, server: BatchServer) -> Platform:
    """The platform on this database, as a deployment of its own: other tests' Batch jobs are not its."""
    settings = Settings(
        project="jennah-test",
        spanner_instance="jennah-test",
        deployment=f"test-{uuid.uuid4().hex[:12]}",
        batch_emulator_host=server.host,
    )
    return Platform(database, settings, server)


@pytest.fixture
def platform(database: Database, batch_server: BatchServer) -> Iterator[Platform]:
    """The platform on a database of its own."""
    yield make_platform(database, batch_server)
    batch_server.faults.clear()


@pytest.fixture
def wire(spanner_host: str) -> Iterator[Wire]:
    """A wire to the emulator."""
    proxy = Wire(spanner_host)
    yield proxy
    proxy.close()


@pytest.fixture
def wired(
    database: Database, spanner_instance: Instance, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> Database:
    """The same database, reached through the wire, with its session made."""
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", wire.host)
    instance = spanner.Client(project="jennah-test").instance(spanner_instance.instance_id)
    through = instance.database(database.database_id)
    Reads(through).due(datetime.now(UTC), 1)
    wire.calls.clear()
    return through
