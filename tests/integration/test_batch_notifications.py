"""What the local Batch service publishes, read from the Pub/Sub emulator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import batch_v1
from google.pubsub_v1 import PublisherClient, SubscriberClient

from jennah.local.batch_jobs import JobState, TaskState
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes

PARENT = "projects/jennah-test/locations/us-central1"
ALL = ["QUEUED", "SCHEDULED", "RUNNING", "SUCCEEDED"]


class Topic:
    """A topic and a subscription to it. Messages come in the order of their publication."""

    def __init__(self, name: str) -> None:
        publisher, self._subscriber = PublisherClient(), SubscriberClient()
        self.path = publisher.topic_path("jennah-test", name)
        self._subscription = self._subscriber.subscription_path("jennah-test", name)
        publisher.create_topic(name=self.path)
        self._subscriber.create_subscription(name=self._subscription, topic=self.path)

    def take(self, count: int, seconds: float = 10) -> list[Any]:
        """The next `count` messages."""
        messages: list[Any] = []
        deadline = time.monotonic() + seconds
        while len(messages) < count:
            assert time.monotonic() < deadline, f"{len(messages)} of {count} messages came"
            response = self._subscriber.pull(
                subscription=self._subscription, max_messages=count - len(messages), timeout=seconds
            )
            ids = [received.ack_id for received in response.received_messages]
            if ids:
                self._subscriber.acknowledge(subscription=self._subscription, ack_ids=ids)
            messages += [received.message for received in response.received_messages]
        return sorted(messages, key=lambda message: int(message.message_id))

    def states(self, count: int) -> list[str]:
        """The job states that the next `count` messages tell."""
        return [message.attributes["NewJobState"] for message in self.take(count)]


@pytest.fixture(scope="module")
def batch(
    processes: Processes, pubsub_host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BatchServer]:
    server = start_batch(processes, tmp_path_factory.mktemp("batch"), pubsub=pubsub_host)
    yield server
    server.process.stop()


@pytest.fixture
def topic(batch: BatchServer, request: pytest.FixtureRequest) -> Iterator[Topic]:
    yield Topic(f"events-{abs(hash(request.node.name))}")
    batch.faults.clear()


def create(
    batch: BatchServer, job_id: str, topic: Topic, *argv: str, messages: list[dict[str, int]] | None = None
) -> batch_v1.Job:
    """A job that tells the topic what `messages` select: by default every state of the job."""
    runnable = {"container": {"image_uri": "image", "commands": list(argv) or ["true"]}}
    notifications = [
        {"pubsub_topic": topic.path, "message": message} for message in messages or [{"type_": 1}]
    ]
    job = batch_v1.Job(
        {"task_groups": [{"task_spec": {"runnables": [runnable]}}], "notifications": notifications}
    )
    return batch.client.create_job(parent=PARENT, job_id=job_id, job=job)


def test_everything_is_in_the_attributes(batch: BatchServer, topic: Topic) -> None:
    job = create(batch, "attributes", topic, messages=[{"type_": 1, "new_job_state": 4}])
    (message,) = topic.take(1)
    assert message.data == b""
    assert dict(message.attributes) == {
        "Type": "JOB_STATE_CHANGED",
        "JobName": job.name,
        "JobUID": job.uid,
        "NewJobState": "SUCCEEDED",
        "Region": "us-central1",
    }


def test_states_of_jobs_in_order(batch: BatchServer, topic: Topic) -> None:
    create(batch, "order", topic)
    assert topic.states(4) == ALL
    create(batch, "order-failed", topic, "false")
    assert topic.states(4) == ["QUEUED", "SCHEDULED", "RUNNING", "FAILED"]


def test_a_cancelled_job(batch: BatchServer, topic: Topic) -> None:
    job = create(batch, "cancelled", topic, "sleep", "1000")
    assert topic.states(3) == ["QUEUED", "SCHEDULED", "RUNNING"]
    batch.client.cancel_job(name=job.name)
    assert topic.states(2) == ["CANCELLATION_IN_PROGRESS", "CANCELLED"]


def test_each_entry_selects_for_itself(batch: BatchServer, topic: Topic) -> None:
    """By a state, by a state without a type, and by nothing: an empty message sends nothing."""
    create(batch, "selected", topic, messages=[{"type_": 1, "new_job_state": 3}, {"new_job_state": 4}, {}])
    assert topic.states(2) == ["RUNNING", "SUCCEEDED"]
    create(batch, "next", topic, messages=[{"new_job_state": 2}])
    assert topic.states(1) == ["SCHEDULED"]


def test_states_of_tasks(batch: BatchServer, topic: Topic) -> None:
    job = create(batch, "tasks", topic, "false", messages=[{"type_": 2}, {"new_job_state": 5}])
    *of_task, of_job = topic.take(4)
    assert [message.attributes["NewTaskState"] for message in of_task] == ["ASSIGNED", "RUNNING", "FAILED"]
    assert {message.attributes["Type"] for message in of_task} == {"TASK_STATE_CHANGED"}
    assert {message.attributes["JobUID"] for message in of_task} == {job.uid}
    assert "NewTaskState" not in of_job.attributes


def test_a_project_number_may_stand_in_the_name(
    processes: Processes, pubsub_host: str, topic: Topic, tmp_path: Any
) -> None:
    server = start_batch(processes, tmp_path, pubsub=pubsub_host, options=["--project-number=1234"])
    create(server, "numbered", topic, messages=[{"new_job_state": 4}])
    (message,) = topic.take(1)
    assert message.attributes["JobName"] == "projects/1234/locations/us-central1/jobs/numbered"
    server.process.stop()


def test_a_topic_that_does_not_exist_holds_nothing_up(batch: BatchServer, topic: Topic) -> None:
    missing = {"pubsub_topic": f"{topic.path}-missing", "message": {"type_": 1}}
    job = batch_v1.Job(
        {
            "task_groups": [{"task_spec": {"runnables": [{"script": {"text": "true"}}]}}],
            "notifications": [missing, {"pubsub_topic": topic.path, "message": {"new_job_state": 4}}],
        }
    )
    batch.client.create_job(parent=PARENT, job_id="no-topic", job=job)
    assert topic.states(1) == ["SUCCEEDED"]
    assert "dropped a notification" in batch.process.log.read_text()


def test_dropped(batch: BatchServer, topic: Topic) -> None:
    batch.faults.drop(JobState.QUEUED, JobState.RUNNING, job="dropped")
    create(batch, "dropped", topic)
    assert topic.states(2) == ["SCHEDULED", "SUCCEEDED"]


def test_dropped_so_many_times(batch: BatchServer, topic: Topic) -> None:
    batch.faults.drop(job="drop-*", times=6)
    create(batch, "drop-1", topic)
    batch.faults.wait_for_state("drop-1", JobState.SUCCEEDED)
    create(batch, "drop-2", topic)
    assert topic.states(2) == ["RUNNING", "SUCCEEDED"]


def test_doubled(batch: BatchServer, topic: Topic) -> None:
    batch.faults.double(JobState.SUCCEEDED, job="doubled")
    create(batch, "doubled", topic)
    assert topic.states(5) == [*ALL, "SUCCEEDED"]


def test_delayed(batch: BatchServer, topic: Topic) -> None:
    batch.faults.delay(JobState.SCHEDULED, by=0.3, job="delayed")
    create(batch, "delayed", topic)
    assert topic.states(4) == ["QUEUED", "RUNNING", "SUCCEEDED", "SCHEDULED"]


def test_withheld_until_released(batch: BatchServer, topic: Topic) -> None:
    withheld = batch.faults.withhold(JobState.RUNNING, job="withheld")
    create(batch, "withheld", topic)
    withheld.wait()
    assert topic.states(3) == ["QUEUED", "SCHEDULED", "SUCCEEDED"]
    withheld.release()
    assert topic.states(1) == ["RUNNING"]


def test_reordered(batch: BatchServer, topic: Topic) -> None:
    batch.faults.reorder(JobState.RUNNING, job="reordered")
    create(batch, "reordered", topic)
    assert topic.states(4) == ["QUEUED", "SCHEDULED", "SUCCEEDED", "RUNNING"]


def test_faults_of_tasks_leave_jobs_alone(batch: BatchServer, topic: Topic) -> None:
    batch.faults.drop(TaskState.ASSIGNED, job="one-kind")
    create(batch, "one-kind", topic, messages=[{"type_": 1}, {"type_": 2}])
    messages = topic.take(6)
    states = [message.attributes.get("NewTaskState") for message in messages]
    assert [state for state in states if state] == ["RUNNING", "SUCCEEDED"]


def test_running_skipped(batch: BatchServer, topic: Topic) -> None:
    batch.faults.skip_running(job="skipped")
    job = create(batch, "skipped", topic)
    assert topic.states(3) == ["QUEUED", "SCHEDULED", "SUCCEEDED"]
    events = batch.client.get_job(name=job.name).status.status_events
    assert not any("RUNNING" in event.description for event in events)
    assert [run.exit_code for run in batch.ledger() if run.uid == job.uid] == [0]


def test_a_job_that_vanishes_says_nothing(batch: BatchServer, topic: Topic) -> None:
    create(batch, "vanishing", topic, "sleep", "1000", messages=[{"type_": 1}, {"type_": 2}])
    topic.take(5)
    assert batch.faults.vanish("vanishing") == 1
    create(batch, "after", topic)
    assert topic.states(4) == ALL
