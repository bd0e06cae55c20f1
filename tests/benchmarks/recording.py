"""One job's life as it looks on the wire, so that a floor does the same reads and writes as the product.

The product's own use cases bring a job from its submission to COMPLETED, through a wire that notes each call
to Spanner; which function makes a call is known from the step. What is replayed is read from the calls: the
floor follows the product, and can't be easier or harder than it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.cloud import spanner
from google.cloud.spanner_v1 import CommitRequest, ReadRequest
from google.cloud.spanner_v1.instance import Instance
from google.protobuf.json_format import MessageToDict

from jennah.local import emulators
from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from jennah.local.batch_notifications import topics_for
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes
from shared.batch_ids import batch_id
from shared.database import connect
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from tests.chaos.scene import RunFailed
from tests.integration.conftest import Platform, make_platform
from tests.integration.function_process import PROJECT, schema_database
from tests.integration.wire import Wire

INSTANCE: Final = "jennah-test"
ROLES: Final = ("submission", "scheduling", "notification")
"""The functions that a job passes through, in this order."""

_BATCH_METHODS: Final = ("CreateJob", "GetJob", "ListJobs", "CancelJob", "DeleteJob", "ListTasks", "GetTask")
_STATES: Final = (JobState.QUEUED, JobState.SCHEDULED, JobState.RUNNING, JobState.SUCCEEDED)
# Whether dispatch is paused is read once in 5 s, not once for each job.
_NOT_OF_A_JOB: Final = frozenset({"Switches"})

Call = dict[str, Any]
"""A read (`table`, `index`, `columns`, `keys`, `limit`) or a commit (`mutations`), in plain values."""


@dataclass(frozen=True, slots=True)
class Life:
    """What one job took.

    Attributes:
        key: of the job.
        calls: to Spanner, by the function that makes them.
        batch_calls: how many calls of Batch's API there were.
        notifications: how many messages Batch sent.
    """

    key: JobKey
    calls: Mapping[str, list[Call]]
    batch_calls: int
    notifications: int

    @property
    def rpcs(self) -> int:
        """Calls of Spanner."""
        return sum(map(len, self.calls.values()))

    @property
    def commits(self) -> int:
        """Those that are commits."""
        return sum("mutations" in call for calls in self.calls.values() for call in calls)


@contextmanager
def spanner_instance(processes: Processes) -> Iterator[tuple[str, Instance]]:
    """A fresh emulator: its address, and an instance in it. This process's own clients use it, too."""
    host = emulators.start_spanner(processes).host
    os.environ["SPANNER_EMULATOR_HOST"] = host
    # Multiplexed sessions break concurrent read-write transactions on the emulator (1.5.28).
    os.environ["GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW"] = "false"
    client = spanner.Client(project=PROJECT, disable_builtin_metrics=True)
    instance = client.instance(INSTANCE, f"{client.project_name}/instanceConfigs/emulator-config")
    instance.create().result(60)
    yield host, instance


def record(folder: Path) -> Life:
    """Live a life of a job that runs `true`, on emulators of its own that work in `folder`."""
    with Processes(folder / "logs") as processes, spanner_instance(processes) as (host, instance):
        server = start_batch(processes, folder / "batch")
        with schema_database(instance) as database:
            wire = Wire(host)
            try:
                os.environ["SPANNER_EMULATOR_HOST"] = wire.host
                platform = make_platform(connect(PROJECT, INSTANCE, database.database_id), server)
                _live(platform, server, wire)  # sessions are made
                return _live(platform, server, wire)
            finally:
                wire.close()
                os.environ["SPANNER_EMULATOR_HOST"] = host


def _live(platform: Platform, server: BatchServer, wire: Wire) -> Life:
    calls: dict[str, list[Call]] = {}
    wire.taken()
    asked = batch_calls(server.faults)
    key = platform.submit("true")
    calls["submission"] = taken(wire)
    platform.dispatch.schedule(JobMessage(key, 1))
    calls["scheduling"] = taken(wire)
    platform.faults.wait_for_state(batch_id(key, 1), JobState.SUCCEEDED, seconds=60)
    name = f"{platform.settings.batch_parent}/jobs/{batch_id(key, 1)}"
    job = server.client.get_job(name=name)
    for state in ("RUNNING", "SUCCEEDED"):
        platform.notify(key, state, uid=job.uid)
    calls["notification"] = taken(wire)
    if platform.status(key) is not JobStatus.COMPLETED:
        raise RunFailed(f"a job of `true` ended as {platform.status(key)}: there is nothing to compare with.")
    return Life(
        key=key,
        calls=calls,
        batch_calls=batch_calls(server.faults) - asked - 1,  # one was ours
        notifications=sum(len(list(topics_for(job, state))) for state in _STATES),
    )


def batch_calls(faults: BatchFaults) -> int:
    """The calls to a local Batch service so far."""
    return sum(faults.calls(method).received for method in _BATCH_METHODS)


def taken(wire: Wire) -> list[Call]:
    """The calls of a job since the last look."""
    calls = [_call(name, request) for name, request in zip(wire.calls, wire.requests, strict=True)]
    wire.taken()
    return [call for call in calls if call.get("table") not in _NOT_OF_A_JOB]


def _call(name: str, request: bytes) -> Call:
    if name == "Commit":
        commit = CommitRequest.pb(CommitRequest.deserialize(request))
        return {"mutations": [_mutation(mutation) for mutation in commit.mutations]}
    if name != "StreamingRead":
        raise RunFailed(f"a life has a call of {name}, which can't be replayed: teach tests/benchmarks to.")
    read = ReadRequest.pb(ReadRequest.deserialize(request))
    if read.key_set.ranges or read.key_set.all_:
        raise RunFailed("a life reads a range, which can't be replayed: teach tests/benchmarks to.")
    return {
        "table": read.table,
        "index": read.index,
        "columns": list(read.columns),
        "keys": [MessageToDict(key) for key in read.key_set.keys],
        "limit": read.limit,
    }


def _mutation(mutation: Any) -> dict[str, Any]:
    kind = mutation.WhichOneof("operation")
    write = getattr(mutation, kind)
    return {
        "kind": kind,
        "table": write.table,
        "columns": list(write.columns),
        "values": [MessageToDict(values) for values in write.values],
    }


def new_ids(count: int) -> list[str]:
    """Job ids."""
    return [str(uuid.uuid4()) for _ in range(count)]
