"""One dead letter: what was published, what Pub/Sub noted when it gave up, and what it means."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from google.pubsub_v1.types import PubsubMessage

from shared.errors import MalformedEvent
from shared.messages import batch_notification, decode, job_message

_FORWARDING: Final = "CloudPubSubDeadLetter"
"""How the names of the attributes begin that Pub/Sub adds when it gives up; the emulator adds them too."""

Describe = Callable[[Mapping[str, str], bytes], str]
"""What a message means, from its attributes and data. Raises MalformedEvent."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message as it was published to `topic`, and what Pub/Sub noted when it gave up.

    Attributes:
        topic: the topic that it came from.
        message_id: its id in the dead-letter topic, not the one that it had before.
        published_at: when it came to the dead-letter topic.
        attributes: those of its publisher.
        forwarding: those that Pub/Sub added: subscription, deliveries, time of the first publishing.
        meaning: what it says; None if it can't be decoded.
        problem: why it can't be decoded; None if it can.
    """

    topic: str
    message_id: str
    published_at: datetime
    data: bytes
    attributes: Mapping[str, str]
    forwarding: Mapping[str, str]
    ordering_key: str
    meaning: str | None
    problem: str | None

    @classmethod
    def of(cls, message: PubsubMessage, topic: str, describe: Describe) -> Self:
        """The letter that Pub/Sub keeps as `message` in the dead-letter topic of `topic`."""
        attributes: dict[str, str] = {}
        forwarding: dict[str, str] = {}
        for name, value in message.attributes.items():
            (forwarding if name.startswith(_FORWARDING) else attributes)[name] = value
        meaning = problem = None
        try:
            meaning = describe(attributes, message.data)
        except MalformedEvent as error:
            problem = error.message
        return cls(
            topic,
            message.message_id,
            message.publish_time,  # type: ignore[arg-type]  # proto-plus makes a datetime of it
            message.data,
            attributes,
            forwarding,
            message.ordering_key,
            meaning,
            problem,
        )

    @property
    def deliveries(self) -> int | None:
        """How often it was delivered in vain, approximately; None where Pub/Sub does not say."""
        count = self.forwarding.get(f"{_FORWARDING}SourceDeliveryCount", "")
        return int(count) if count.isascii() and count.isdigit() else None


def job_meaning(attributes: Mapping[str, str], data: bytes) -> str:
    """What a message of topic `jobs` says."""
    message = job_message(decode({}, _push(attributes, data)))
    return f"job {message.key.job_id} attempt {message.attempt}"


def notification_meaning(attributes: Mapping[str, str], data: bytes) -> str:
    """What a message of topic `batch-events` says."""
    event = decode({}, _push(attributes, data))
    notification = batch_notification(event)
    if notification is None:
        return "a notification about a task"
    return f"{notification.state} of job {notification.key.job_id} attempt {notification.attempt}"


def _push(attributes: Mapping[str, str], data: bytes) -> bytes:
    """What Pub/Sub would push to the function, so that the meaning here is the one that the function sees."""
    message = {"messageId": "0", "attributes": dict(attributes), "data": base64.b64encode(data).decode()}
    return json.dumps({"message": message}).encode()
