"""What must hold on real processes: messages doubled and lost, functions killed, calls held."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jennah.client import Client, Job
from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from jennah.local.batch_runner import read_ledger
from jennah.local.cloud import LocalCloud
from jennah.local.processes import Processes, free_port, wait_until_listening
from jennah.local.tokens import fetch_token
from shared.batch_ids import batch_id
from shared.model import JobKey

FULL_PATH = ["PENDING", "SCHEDULED", "RUNNING", "COMPLETED"]


@dataclass
class Site:
    """A running local cloud, a tenant's client, and the controls of its Batch service."""

    cloud: LocalCloud
    client: Client
    faults: BatchFaults

    def path(self, job: Job) -> list[str]:
        """The states that the job went through."""
        return [transition.to_status for transition in self.client.list_transitions(job.job_id)]

    def final(self, job: Job, seconds: float = 30) -> Job:
        """The job once it is final."""
        return self.until(job, lambda now: now.status in {"COMPLETED", "FAILED", "CANCELLED"}, seconds)

    def until(self, job: Job, holds: Callable[[Job], bool], seconds: float = 30) -> Job:
        """The job once something holds of it."""
        deadline = time.monotonic() + seconds
        while not holds(now := self.client.get_job(job.job_id)):
            assert time.monotonic() < deadline, f"the job stays {now.status}"
        return now

    def runs(self, job: Job) -> int:
        """How often a command of this job was really started."""
        ledger = read_ledger(Path(self.cloud.env["JENNAH_BATCH_DIRECTORY"]))
        return sum(glob(job, attempt) in entry.job for entry in ledger for attempt in range(1, 10))


def glob(job: Job, attempt: int = 1) -> str:
    """What the fault controls know this attempt by."""
    return batch_id(JobKey(job.tenant_id, job.job_id), attempt)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with LocalCloud(tmp_path_factory.mktemp("cloud"), free_port()) as cloud:
        env = cloud.env
        token = fetch_token(env["JENNAH_ISSUER_URL"], "you@example.com", env["JENNAH_AUDIENCE"])
        with Client(env["JENNAH_URL"], token) as client, BatchFaults(env["BATCH_EMULATOR_HOST"]) as faults:
            yield Site(cloud, client, faults)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.faults.clear()


def test_doubled_reordered_lost_and_skipped_notifications_end_in_the_same_history(site: Site) -> None:
    site.faults.double(times=None)
    plain = [site.client.submit_job("busybox", ["true"]) for _ in range(5)]
    for job in plain:
        assert site.final(job).status == "COMPLETED"
    site.faults.clear()
    for fault in (site.faults.reorder, site.faults.skip_running, site.faults.drop):
        fault()
        job = site.client.submit_job("busybox", ["true"])
        assert site.final(job).status == "COMPLETED"
        site.faults.clear()
        plain.append(job)
    assert [site.path(job) for job in plain] == [FULL_PATH] * len(plain)
    assert [site.runs(job) for job in plain] == [1] * len(plain)


def test_a_scheduling_function_killed_between_create_and_commit_leaves_one_batch_job(site: Site) -> None:
    # The Batch job runs already, and its notifications alone would bring the job on.
    with site.faults.drop(), site.faults.hold("CreateJob", moment="after", times=1) as held:
        job = site.client.submit_job("busybox", ["true"])
        held.wait()
        site.cloud.kill("scheduling")
        try:
            site.faults.wait_for_state(glob(job), JobState.SUCCEEDED)
            assert site.path(job) == ["PENDING"]
        finally:
            site.cloud.start("scheduling")
    assert site.final(job).status == "COMPLETED"
    assert site.path(job) == FULL_PATH
    assert site.faults.calls("CreateJob", job=glob(job)).effective == 1
    assert site.runs(job) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_cancel_while_create_is_held_leaves_nothing_running(site: Site, moment: str) -> None:
    # Without notifications: one of RUNNING may else come before the cancel, and be a step of the path.
    with site.faults.drop(), site.faults.hold("CreateJob", moment=moment, times=1) as held:  # type: ignore[arg-type]
        job = site.client.submit_job("busybox", ["sleep", "600"])
        held.wait()
        assert site.client.cancel_job(job.job_id).status == "CANCELLED"
    site.faults.wait_for_state(glob(job), JobState.CANCELLED)
    assert site.path(job) == ["PENDING", "CANCELLED"]


def test_a_job_that_fails_twice_and_then_succeeds(site: Site) -> None:
    job = site.client.submit_job("busybox", ["sh", "-c", "test $JENNAH_ATTEMPT -ge 3"], max_retries=5)
    done = site.final(job)
    assert (done.status, done.retry_count, done.attempt) == ("COMPLETED", 2, 3)
    failed = ["SCHEDULED", "RUNNING", "FAILED", "PENDING"]
    assert site.path(job) == ["PENDING", *failed, *failed, "SCHEDULED", "RUNNING", "COMPLETED"]
    assert site.runs(job) == 3


def test_four_processes_with_eight_threads_each_and_one_notification_make_one_transition(
    site: Site, tmp_path: Path
) -> None:
    with site.faults.drop():
        job = site.client.submit_job("busybox", ["sleep", "0.2"])
        site.faults.wait_for_state(glob(job), JobState.SUCCEEDED)
        scheduled = site.until(job, lambda now: now.gcp_batch_job_name is not None)
    attempt = scheduled.attempts[0]
    body = push_body(
        JobName=attempt.gcp_batch_job_name or "",
        JobUID=attempt.batch_uid or "",
        NewJobState="SUCCEEDED",
        Region="us-central1",
        Type="JOB_STATE_CHANGED",
    )
    ports = [free_port() for _ in range(4)]
    with Processes(tmp_path) as processes:
        for port in ports:
            start_notification(processes, port, site.cloud)
        gate, answers = threading.Barrier(32), list[int]()

        def fire(port: int) -> None:
            gate.wait()
            for _ in range(3):
                answers.append(httpx.post(f"http://127.0.0.1:{port}/", content=body, timeout=30).status_code)

        threads = [threading.Thread(target=fire, args=(port,)) for port in ports for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [204] * 96
    assert site.path(job) == FULL_PATH


def push_body(**attributes: str) -> bytes:
    """What Pub/Sub pushes for a message of Batch: attributes, and no data."""
    message = {"attributes": attributes, "messageId": "1", "data": base64.b64encode(b"").decode()}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


def start_notification(processes: Processes, port: int, cloud: LocalCloud) -> None:
    """One more notification function, beside the cloud's own."""
    source = Path(__file__).parents[2] / "functions" / "notification.py"
    command = ["-m", "functions_framework", f"--source={source}", "--target=notify", f"--port={port}"]
    env = cloud.env | {"PATH": os.environ["PATH"], "JENNAH_DEPLOYMENT": "local"}
    process = processes.start(f"notification-{port}", [sys.executable, *command], env=env)
    wait_until_listening(process, port)
