"""Publishes state changes as Batch does: all in attributes, no data, no promise.

What an entry of `job.notifications[]` selects: a `message` with a new state, that state; with a type alone,
every state of jobs or of tasks; none, nothing. A job's messages leave in order unless a fault says otherwise.
A message that can't be published is logged and dropped, and a job never waits for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping

from google.cloud import batch_v1

from jennah.local.batch_faults import Action
from jennah.local.batch_jobs import Job, JobState, TaskState
from jennah.local.batch_rules import Rules

Publish = Callable[[str, Mapping[str, str]], Awaitable[None]]
"""Sends attributes to a topic, given by its full name."""

_log = logging.getLogger(__name__)


def topics_for(spec: batch_v1.Job, state: JobState | TaskState) -> Iterator[str]:
    """The topics that want to hear of a state, once for each entry that selects it."""
    for notification in spec.notifications:
        message = notification.message
        if isinstance(state, JobState):
            kind, wanted = batch_v1.JobNotification.Type.JOB_STATE_CHANGED, message.new_job_state
        else:
            kind, wanted = batch_v1.JobNotification.Type.TASK_STATE_CHANGED, message.new_task_state
        if notification.pubsub_topic and (wanted == state or (not wanted and message.type_ == kind)):
            yield notification.pubsub_topic


class Notifier:
    """Sends the notifications of all jobs.

    Args:
        publish: sends one message.
        rules: the faults to commit.
        project_number: what stands for the project in JobName; None leaves the project's id there. Batch
            documents either.
    """

    def __init__(self, publish: Publish, rules: Rules, project_number: str | None) -> None:
        self._publish = publish
        self._rules = rules
        self._project_number = project_number
        self._last: dict[str, asyncio.Task[None]] = {}
        self._overtaken: dict[str, list[asyncio.Event]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def entered(self, job: Job, state: JobState | TaskState) -> None:
        """Send what is wanted about a state that the job, or a task of it, has just entered."""
        for topic in topics_for(job.spec, state):
            self._dispatch(job, state.name, topic, self._attributes(job, state))

    def _attributes(self, job: Job, state: JobState | TaskState) -> Mapping[str, str]:
        name = job.name
        if self._project_number:
            name = "/".join(["projects", self._project_number, *name.split("/")[2:]])
        of_job = isinstance(state, JobState)
        return {
            "Type": "JOB_STATE_CHANGED" if of_job else "TASK_STATE_CHANGED",
            "JobName": name,
            "JobUID": job.uid,
            "Region": job.region,
            "NewJobState" if of_job else "NewTaskState": state.name,
        }

    def _dispatch(self, job: Job, state: str, topic: str, attributes: Mapping[str, str]) -> None:
        def fault(action: Action) -> bool:
            return self._rules.find(action, job.job_id, state=state) is not None

        if fault(Action.DROP):
            return
        for _ in range(2 if fault(Action.DOUBLE) else 1):
            if delay := self._rules.find(Action.DELAY, job.job_id, state=state):
                self._start(self._send(topic, attributes, asyncio.sleep(delay.rule.seconds)))
            elif withhold := self._rules.find(Action.WITHHOLD, job.job_id, state=state):
                self._start(self._send(topic, attributes, self._rules.hold_back(withhold)))
            elif fault(Action.REORDER):
                overtaken = asyncio.Event()
                self._overtaken.setdefault(job.uid, []).append(overtaken)
                self._start(self._send(topic, attributes, overtaken.wait()))
            else:
                self._send_in_order(job.uid, topic, attributes)

    def _send_in_order(self, uid: str, topic: str, attributes: Mapping[str, str]) -> None:
        previous = self._last.get(uid)

        async def after_previous() -> None:
            if previous:
                await asyncio.wait([previous])

        self._last[uid] = sending = self._start(self._send(topic, attributes, after_previous()))
        overtaken = self._overtaken.pop(uid, [])

        def sent(_: asyncio.Task[None]) -> None:
            if self._last.get(uid) is sending:
                del self._last[uid]
            for event in overtaken:
                event.set()

        sending.add_done_callback(sent)

    def _start(self, sending: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(sending)
        self._sending.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._sending.discard)
        return task

    async def _send(self, topic: str, attributes: Mapping[str, str], turn: Awaitable[object]) -> None:
        await turn
        try:
            await self._publish(topic, attributes)
        except Exception as error:  # noqa: BLE001 (whatever it is, Batch promises no delivery)
            _log.warning("dropped a notification of %s to %s: %s", attributes["JobUID"], topic, error)


def publisher_to(address: str) -> Publish:
    """Publishes to the Pub/Sub emulator at `address`, each message at once and at most for five seconds."""
    import grpc
    from google.pubsub_v1 import PublisherAsyncClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
    from google.pubsub_v1.types import PublishRequest, PubsubMessage

    transport = PublisherGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(address))
    client = PublisherAsyncClient(transport=transport)

    async def publish(topic: str, attributes: Mapping[str, str]) -> None:
        message = PubsubMessage(attributes=dict(attributes))
        await client.publish(PublishRequest(topic=topic, messages=[message]), retry=None, timeout=5)

    return publish


async def publish_nowhere(topic: str, attributes: Mapping[str, str]) -> None:
    """Stands in when there is no Pub/Sub emulator."""
    _log.warning("PUBSUB_EMULATOR_HOST is not set: dropped %s for %s", dict(attributes), topic)
