"""Messages to topic `jobs`, on the Pub/Sub emulator."""

from __future__ import annotations

import logging
import uuid

import pytest
from google.cloud import pubsub_v1  # type: ignore[attr-defined]  # the package has no stubs

from shared.messages import JobMessage
from shared.model import JobKey
from shared.publisher import JobPublisher, connect
from tests.chaos.wire import PUBSUB_SHARES, Fault, FaultyWire

PROJECT = "projects/jennah-test"


def messages(count: int) -> list[JobMessage]:
    return [JobMessage(JobKey(str(uuid.uuid4()), str(uuid.uuid4())), 1) for _ in range(count)]


def test_many_messages_arrive_each_once(pubsub_host: str) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    topic, subscription = f"{PROJECT}/topics/{name}", f"{PROJECT}/subscriptions/{name}"
    pubsub_v1.PublisherClient().create_topic(name=topic)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(name=subscription, topic=topic)
        sent = messages(100)
        assert JobPublisher(topic, connect(pubsub_host)).publish(*sent)
        received: list[bytes] = []
        while len(received) < len(sent):
            pulled = subscriber.pull(subscription=subscription, max_messages=100, timeout=10)
            received += [item.message.data for item in pulled.received_messages]
            subscriber.acknowledge(
                subscription=subscription, ack_ids=[item.ack_id for item in pulled.received_messages]
            )
    assert sorted(received) == sorted(message.encode() for message in sent)


def test_what_is_lost_is_said_and_not_raised(pubsub_host: str, caplog: pytest.LogCaptureFixture) -> None:
    sent = messages(3)
    # Other tests may have told "shared" to log errors only, and no further.
    caplog.set_level(logging.WARNING, logger="shared")
    logging.getLogger("shared").addHandler(caplog.handler)
    assert not JobPublisher(f"{PROJECT}/topics/there-is-none", connect(pubsub_host)).publish(*sent)
    logging.getLogger("shared").removeHandler(caplog.handler)
    assert len({vars(record)["labels"]["job"] for record in caplog.records}) == 3


def test_what_was_lost_takes_nothing_along(pubsub_host: str) -> None:
    topic = f"{PROJECT}/topics/test-{uuid.uuid4().hex[:12]}"
    publisher = JobPublisher(topic, connect(pubsub_host))
    assert not publisher.publish(*messages(2))
    assert not publisher.publish(*messages(1))
    pubsub_v1.PublisherClient().create_topic(name=topic)
    assert publisher.publish(*messages(2))


@pytest.mark.parametrize("fault", PUBSUB_SHARES, ids=lambda fault: fault.name)
def test_a_topic_that_ailed_takes_what_comes_later(
    pubsub_host: str, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("shared.publisher._TIMEOUT", 0.5)
    topic = f"{PROJECT}/topics/test-{uuid.uuid4().hex[:12]}"
    pubsub_v1.PublisherClient().create_topic(name=topic)
    with FaultyWire(lambda: pubsub_host, 0, {fault: 1}) as wire:
        publisher = JobPublisher(topic, connect(wire.address))
        assert publisher.publish(*messages(1))
        wire.faulty = True
        assert not publisher.publish(*messages(2))
        wire.faulty = False
        assert publisher.publish(*messages(1))
        assert set(wire.committed) == {fault}
