"""Publishing to topic `jobs`."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry
from google.cloud import pubsub_v1  # type: ignore[attr-defined]  # the package has no stubs

from shared.messages import JobMessage
from shared.semantics import LogEvent
from shared.spans import sending
from shared.telemetry import emit
from shared.trace_context import TRACEPARENT

_TIMEOUT = 5.0

# The client's own goes on for ten minutes after its caller has given up, each time in a thread.
_RETRY = Retry(timeout=_TIMEOUT)


class JobPublisher:
    """Tells the scheduling function that a job wants attention.

    A message that is lost costs time only: the job's check time is in the database, and reconciliation
    publishes again. So a failure is logged and reported, never raised.
    """

    def __init__(self, topic: str) -> None:
        # One message at a time: waiting for a batch to fill would cost each job more than it saves.
        self._client = pubsub_v1.PublisherClient(batch_settings=pubsub_v1.types.BatchSettings(max_messages=1))
        self._topic = topic
        self._name = topic.rpartition("/")[2]

    def publish(self, *messages: JobMessage) -> bool:
        """Publish, all at once, and wait for the answers. True if every message is in the topic for sure."""
        end = time.monotonic() + _TIMEOUT
        publishing = [(message, self._send(message)) for message in messages]
        lost = 0
        for message, answer in publishing:
            try:
                answer.result(timeout=max(0.0, end - time.monotonic()))
            except (GoogleAPICallError, RetryError, FutureTimeoutError) as error:
                lost += 1
                emit(
                    LogEvent.JOB_MESSAGE_LOST,
                    "job message not published, reconciliation will: %s",
                    type(error).__name__,
                    key=message.key,
                    attempt=message.attempt,
                )
        return not lost

    def _send(self, message: JobMessage) -> Any:
        with sending(message, self._name) as span:
            attributes = {TRACEPARENT: str(span.context)} if span.context else {}
            return self._client.publish(
                self._topic, message.encode(), retry=_RETRY, timeout=_TIMEOUT, **attributes
            )
