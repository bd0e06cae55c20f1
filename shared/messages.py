"""Events as functions receive them, and what they mean.

A function is reached by our own Pub/Sub push subscriptions (a raw push body) or by Eventarc (a binary
CloudEvent). Both become one CloudEvent before anything looks inside. Source of the formats: the Pub/Sub
documentation ("Push subscriptions"), the type google.cloud.pubsub.topic.v1.messagePublished of Eventarc.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent, from_http

from shared.batch_ids import LAST_ATTEMPT, parse_batch_id
from shared.errors import MalformedEvent
from shared.model import Job, JobKey, is_uuid
from shared.trace_context import TRACEPARENT, TraceContext

_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
_FORMAT = 1

# What the library lets escape when an event has a value of a type, or a depth, that it did not expect.
_PARSING = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class JobMessage:
    """On topic `jobs`: this attempt of this job wants attention. In which state it is, only the row says.

    `trace` is the span that it follows from: the job's own, and of a message that came, that of its sending.
    """

    key: JobKey
    attempt: int
    trace: TraceContext | None = field(default=None, compare=False)

    @classmethod
    def of(cls, job: Job) -> JobMessage:
        """The message about the job's current attempt."""
        return cls(job.key, job.attempt, TraceContext.parse(job.trace_context))

    def encode(self) -> bytes:
        """The message's data: JSON, with the number of its format."""
        fields = {"format": _FORMAT, **self.key._asdict(), "attempt": self.attempt}
        return json.dumps(fields, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class BatchNotification:
    """On topic `batch-events`: Batch says that a job entered a state. A hint, never proof."""

    key: JobKey
    attempt: int
    uid: str
    state: str


@dataclass(frozen=True, slots=True)
class Tick:
    """On topic `ticks`: time to reconcile."""

    published_at: datetime


def decode(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """One CloudEvent of either encoding; its data is the push body, with the message's data as bytes.

    Raises:
        MalformedEvent: it is neither, or its base64 or JSON is broken.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    structured = lower.get("content-type", "").lower().startswith("application/cloudevents")
    if structured or any(name.startswith("ce-") for name in lower):
        try:
            event = from_http(lower, body)
        except (GenericException, *_PARSING) as error:
            raise MalformedEvent(f"not a CloudEvent: {type(error).__name__}") from error
        if event["type"] != _PUBLISHED:
            raise MalformedEvent(f"not an event of type {_PUBLISHED}")
        return CloudEvent(event.get_attributes(), _with_bytes(event.get_data()))
    data = _with_bytes(_json(body, "the body"))
    attributes = {
        "type": _PUBLISHED,
        "source": f"//pubsub.googleapis.com/{data.get('subscription', '')}",
        "id": data["message"]["messageId"],
    }
    if isinstance(published := data["message"].get("publishTime"), str):
        attributes["time"] = published
    return CloudEvent(attributes, data)


def job_message(event: CloudEvent) -> JobMessage:
    """The message of topic `jobs`.

    Raises:
        MalformedEvent: a field is missing or wrong, or the format is from another version.
    """
    fields = _json(_message(event)["data"], "message.data")
    if not isinstance(fields, dict):
        raise MalformedEvent("message.data is not a JSON object")
    if type(fields.get("format")) is not int or fields["format"] != _FORMAT:
        raise MalformedEvent(f"format: expected {_FORMAT}")
    for name in ("tenant_id", "job_id"):
        if not isinstance(fields.get(name), str) or not is_uuid(fields[name]):
            raise MalformedEvent(f"{name}: not a UUID in canonical form")
    attempt = fields.get("attempt")
    if type(attempt) is not int or not 1 <= attempt <= LAST_ATTEMPT:
        raise MalformedEvent(f"attempt: not an integer from 1 to {LAST_ATTEMPT}")
    trace = TraceContext.parse(_message(event)["attributes"].get(TRACEPARENT))
    return JobMessage(JobKey(fields["tenant_id"], fields["job_id"]), attempt, trace)


def batch_notification(event: CloudEvent) -> BatchNotification | None:
    """Batch's notification, read from the attributes alone; None for one about a task.

    A state that is not known here is no error: Batch may have learnt new ones. Nothing follows from it.

    Raises:
        MalformedEvent: an attribute is missing, or the name is not one that this platform gives.
    """
    attributes = _message(event)["attributes"]
    kind = attributes.get("Type", "JOB_STATE_CHANGED")
    if kind == "TASK_STATE_CHANGED":
        return None
    if kind != "JOB_STATE_CHANGED":
        raise MalformedEvent("attribute Type is neither JOB_STATE_CHANGED nor TASK_STATE_CHANGED")
    for name in ("JobName", "JobUID", "NewJobState"):
        if not attributes.get(name):
            raise MalformedEvent(f"attribute {name} is missing")
    try:
        # The project may appear as a number here, so only the last segment of the name is compared.
        key, attempt = parse_batch_id(attributes["JobName"])
    except ValueError as error:
        raise MalformedEvent(f"attribute JobName: {error}") from error
    return BatchNotification(key, attempt, attributes["JobUID"], attributes["NewJobState"])


def tick(event: CloudEvent) -> Tick:
    """The tick.

    Raises:
        MalformedEvent: it does not say when it was published.
    """
    try:
        published_at = datetime.fromisoformat(_message(event)["publishTime"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedEvent("message.publishTime is not an RFC 3339 time") from error
    if published_at.tzinfo is None:
        raise MalformedEvent("message.publishTime has no time zone")
    return Tick(published_at)


def _message(event: CloudEvent) -> dict[str, Any]:
    data = event.get_data()
    assert isinstance(data, dict)  # noqa: S101 - `decode` made it
    message: dict[str, Any] = data["message"]
    return message


def _with_bytes(push: Any) -> dict[str, Any]:
    """The push body, checked, with `message.data` decoded and `message.attributes` always there."""
    if not isinstance(push, dict) or not isinstance(push.get("message"), dict):
        raise MalformedEvent("no Pub/Sub message in the body")
    message = dict(push["message"])
    message.setdefault("messageId", message.get("message_id"))
    message.setdefault("publishTime", message.get("publish_time"))
    if not isinstance(message["messageId"], str) or not message["messageId"]:
        raise MalformedEvent("message.messageId is missing")
    # Pub/Sub leaves out what is empty, or not.
    attributes, data = message.get("attributes", {}), message.get("data", "")
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise MalformedEvent("message.attributes is not an object of strings")
    message["attributes"] = attributes
    if not isinstance(data, str):
        raise MalformedEvent("message.data is not a string")
    try:
        message["data"] = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise MalformedEvent("message.data is not base64") from error
    return push | {"message": message}


def _json(text: bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedEvent(f"{what} is not JSON") from error
