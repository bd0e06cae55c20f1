"""Publishing to topic `jobs`."""

from __future__ import annotations

from contextlib import ExitStack

import grpc
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PubsubMessage

from shared.messages import JobMessage
from shared.semantics import LogEvent
from shared.spans import sending
from shared.telemetry import emit
from shared.trace_context import TRACEPARENT

_TIMEOUT = 5.0

# The client's own goes on for ten minutes after its caller has given up.
_RETRY = Retry(timeout=_TIMEOUT)


class JobPublisher:
    """Tells the scheduling function that a job wants attention.

    A message that is lost costs time only: the job's check time is in the database, and reconciliation
    publishes again. So a failure is logged and reported, never raised.

    Args:
        topic: its full name.
        client: without the queue that google.cloud.pubsub_v1 puts before it: there, a message that fails
            (2.44) takes along every later one, whose publish raises an AssertionError.
    """

    def __init__(self, topic: str, client: PublisherClient) -> None:
        self._client = client
        self._topic = topic
        self._name = topic.rpartition("/")[2]

    def publish(self, *messages: JobMessage) -> bool:
        """Publish all in one call. True if every message is in the topic for sure."""
        if not messages:
            return True
        try:
            with ExitStack() as spans:
                wrapped = [self._wrapped(message, spans) for message in messages]
                self._client.publish(topic=self._topic, messages=wrapped, retry=_RETRY, timeout=_TIMEOUT)
        except (GoogleAPICallError, RetryError) as error:
            for message in messages:
                emit(
                    LogEvent.JOB_MESSAGE_LOST,
                    "job message not published, reconciliation will: %s",
                    type(error).__name__,
                    key=message.key,
                    attempt=message.attempt,
                )
            return False
        return True

    def _wrapped(self, message: JobMessage, spans: ExitStack) -> PubsubMessage:
        context = spans.enter_context(sending(message, self._name)).context
        return PubsubMessage(data=message.encode(), attributes={TRACEPARENT: str(context)} if context else {})


def connect(emulator_host: str | None) -> PublisherClient:
    """The client of Google's API or, with its `host:port`, of the emulator."""
    if not emulator_host:
        return PublisherClient()
    channel = grpc.insecure_channel(emulator_host)
    return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
