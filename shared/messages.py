"""Events as functions receive them, and what they mean.

A function is reached by our own Pub/Sub push subscriptions (a raw push body) or by Eventarc (a binary
CloudEvent). Both become one CloudEvent before anything looks inside. Source of the formats: the Pub/Sub
documentation ("Push subscriptions"), the type google.cloud.pubsub.topic.v1.messagePublished of Eventarc.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent, from_http

from shared.batch_ids import parse_batch_id
from shared.errors import MalformedEvent
from shared.model import JobKey, is_uuid

_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class JobMessage:
    """On topic `jobs`: this attempt of this job wants attention. In which state it is, only the row says."""

    key: JobKey
    attempt: int

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
    names = {name.lower() for name in headers}
    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if "ce-id" in names or content_type.startswith("application/cloudevents"):
        try:
            event = from_http(dict(headers), body)
        except (GenericException, ValueError) as error:
            raise MalformedEvent(f"not a CloudEvent: {type(error).__name__}") from error
        if event["type"] != _PUBLISHED:
            raise MalformedEvent(f"not an event of type {_PUBLISHED}")
        return CloudEvent(event.get_attributes(), _with_bytes(event.get_data()))
    try:
        push = json.loads(body)
    except ValueError as error:
        raise MalformedEvent("the body is not JSON") from error
    data = _with_bytes(push)
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
    try:
        fields = json.loads(_message(event)["data"])
    except ValueError as error:
        raise MalformedEvent("message.data is not JSON") from error
    if not isinstance(fields, dict):
        raise MalformedEvent("message.data is not a JSON object")
    if fields.get("format") != _FORMAT:
        raise MalformedEvent(f"format: expected {_FORMAT}")
    for name in ("tenant_id", "job_id"):
        if not isinstance(fields.get(name), str) or not is_uuid(fields[name]):
            raise MalformedEvent(f"{name}: not a UUID in canonical form")
    attempt = fields.get("attempt")
    if type(attempt) is not int or attempt < 1:
        raise MalformedEvent("attempt: not a positive integer")
    return JobMessage(JobKey(fields["tenant_id"], fields["job_id"]), attempt)


def batch_notification(event: CloudEvent) -> BatchNotification | None:
    """Batch's notification, read from the attributes alone; None for one about a task.

    Raises:
        MalformedEvent: an attribute is missing, or the name is not one that this platform gives.
    """
    attributes = _message(event)["attributes"]
    if attributes.get("Type") == "TASK_STATE_CHANGED":
        return None
    for name in ("JobName", "JobUID", "NewJobState"):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
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
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise MalformedEvent("message.attributes is not an object")
    message["attributes"] = attributes
    data = message.get("data") or ""
    try:
        message["data"] = base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise MalformedEvent("message.data is not base64") from error
    return push | {"message": message}
