"""Events: both encodings mean the same, and whatever else arrives is malformed, never a surprise."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.http import CloudEvent
from hypothesis import example, given
from hypothesis import strategies as st

from shared.batch_ids import LAST_ATTEMPT, batch_id
from shared.errors import MalformedEvent
from shared.messages import BatchNotification, JobMessage, Tick, batch_notification, decode, job_message, tick
from shared.model import JobKey

PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
KEY = JobKey("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
NOTIFICATION = {
    "JobName": f"projects/123/locations/us-central1/jobs/{batch_id(KEY, 1)}",
    "JobUID": "j-1",
    "NewJobState": "RUNNING",
    "Region": "us-central1",
    "Type": "JOB_STATE_CHANGED",
}
NAMES = st.sampled_from(
    ["message", "subscription", "data", "attributes", "messageId", "publishTime", "specversion", "type", "x"]
)

keys = st.builds(JobKey, st.uuids().map(str), st.uuids().map(str))
attempts = st.integers(1, LAST_ATTEMPT)
job_messages = st.builds(JobMessage, keys, attempts)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=4),
    max_leaves=12,
)

Encoding = Callable[[Mapping[str, Any]], tuple[dict[str, str], bytes]]
Reader = Callable[[CloudEvent], object]
READERS: tuple[Reader, ...] = (job_message, batch_notification, tick)


def raw(push: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": "application/json", "User-Agent": "x"}, json.dumps(push).encode()


def binary(push: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    headers = {
        "Ce-Id": "1",
        "Ce-Source": "//pubsub.googleapis.com/projects/p/topics/jobs",
        "Ce-Type": PUBLISHED,
        "Ce-Specversion": "1.0",
        "Content-Type": "application/json",
    }
    return headers, json.dumps(push).encode()


def structured(push: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    event = {"id": "1", "source": "//s", "type": PUBLISHED, "specversion": "1.0", "data": push}
    return {"content-type": "Application/CloudEvents+json; charset=utf-8"}, json.dumps(event).encode()


ENCODINGS: tuple[Encoding, ...] = (raw, binary, structured)
every_encoding = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.__name__)


def message(data: bytes | None = None, **fields: object) -> dict[str, object]:
    shown = {} if data is None else {"data": base64.b64encode(data).decode()}
    return {"messageId": "7", "publishTime": "2026-01-02T03:04:05.678Z", **shown, **fields}


def pushed(data: bytes | None = None, **fields: object) -> dict[str, object]:
    return {"message": message(data, **fields), "subscription": "projects/p/subscriptions/jobs"}


def job_fields(**changed: object) -> bytes:
    fields = {"format": 1, "tenant_id": KEY.tenant_id, "job_id": KEY.job_id, "attempt": 1, **changed}
    return json.dumps(fields).encode()


def meanings(headers: Mapping[str, str], body: bytes) -> list[object]:
    """What each function would read from it; MalformedEvent, and no other error, counts as a meaning."""
    try:
        event = decode(headers, body)
    except MalformedEvent:
        return [MalformedEvent] * len(READERS)
    found: list[object] = []
    for read in READERS:
        try:
            found.append(read(event))
        except MalformedEvent:
            found.append(MalformedEvent)
    return found


@given(job_messages)
def test_a_job_message_is_read_as_it_was_written(written: JobMessage) -> None:
    for encoding in ENCODINGS:
        assert job_message(decode(*encoding(pushed(written.encode())))) == written


@given(keys, attempts, st.text(min_size=1), st.text(min_size=1), st.booleans())
def test_a_notification_is_read_from_its_attributes(
    key: JobKey, attempt: int, uid: str, state: str, by_number: bool
) -> None:
    project = "915" if by_number else "my-project"
    attributes = {
        **NOTIFICATION,
        "JobName": f"projects/{project}/locations/us-central1/jobs/{batch_id(key, attempt)}",
        "JobUID": uid,
        "NewJobState": state,
    }
    for data in (None, b"", b"{not json"):
        for encoding in ENCODINGS:
            event = decode(*encoding(pushed(data, attributes=attributes)))
            assert batch_notification(event) == BatchNotification(key, attempt, uid, state)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_tick_is_read_from_its_publish_time(at: datetime) -> None:
    for encoding in ENCODINGS:
        shown = at.isoformat().replace("+00:00", "Z")
        assert tick(decode(*encoding(pushed(publishTime=shown)))) == Tick(at)


@given(json_values)
@example(pushed(b"[" * 100_000))
@example({"message": message(attributes=NOTIFICATION)})
@example({"message": {"data": "", "message_id": "7", "publish_time": "2026-01-02T03:04:05Z"}})
def test_every_encoding_of_one_body_means_the_same(body: Any) -> None:
    """What is no object, an empty CloudEvent among it, has no meaning in any encoding."""
    first, *others = [meanings(*encoding(body)) for encoding in ENCODINGS]
    assert others == [first, first]


@every_encoding
@pytest.mark.parametrize("id_name", ["messageId", "message_id"])
@pytest.mark.parametrize("time_name", ["publishTime", "publish_time"])
def test_both_spellings_of_id_and_time(encoding: Encoding, id_name: str, time_name: str) -> None:
    push = {"message": {"data": "", id_name: "7", time_name: "2026-01-02T03:04:05.123456789Z"}}
    read = tick(decode(*encoding(push)))
    assert read.published_at == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)


@every_encoding
def test_notifications_about_tasks_are_nobodys(encoding: Encoding) -> None:
    attributes = {"Type": "TASK_STATE_CHANGED", "NewTaskState": "RUNNING"}
    assert batch_notification(decode(*encoding(pushed(attributes=attributes)))) is None


def test_the_event_says_where_it_is_from() -> None:
    event = decode(*raw(pushed()))
    assert (event["id"], event["type"], event["time"]) == ("7", PUBLISHED, "2026-01-02T03:04:05.678Z")
    assert event["source"] == "//pubsub.googleapis.com/projects/p/subscriptions/jobs"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"5", b'"message"', b"[]", b"{}", b"\xff\xfe", b"\x00", b"[" * 200_000]
)
@pytest.mark.parametrize("headers", [raw({})[0], binary({})[0], structured({})[0], {}])
def test_bodies_that_are_no_push(headers: Mapping[str, str], body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        decode(headers, body)


@every_encoding
@pytest.mark.parametrize(
    "wrong",
    [
        {"messageId": None},
        {"messageId": ""},
        {"messageId": 7},
        {"attributes": []},
        {"attributes": "x"},
        {"attributes": 0},
        {"attributes": {"Type": 1}},
        {"attributes": {"Type": None}},
        {"data": 0},
        {"data": False},
        {"data": {}},
        {"data": []},
        {"data": ["e30="]},
        {"data": "e30"},
        {"data": "e3 0="},
        {"data": "e30=\n"},
        {"data": "%%%%"},
        {"data": "é"},
        {"data": "\ud800"},
    ],
    ids=repr,
)
def test_messages_that_are_malformed(encoding: Encoding, wrong: dict[str, object]) -> None:
    with pytest.raises(MalformedEvent, match=r"^message\."):
        decode(*encoding({"message": message(job_fields()) | wrong}))


@pytest.mark.parametrize("left_out", ["Ce-Id", "Ce-Source", "Ce-Type", "Ce-Specversion"])
def test_half_a_cloud_event_is_none(left_out: str) -> None:
    headers, body = binary(pushed(job_fields()))
    del headers[left_out]
    with pytest.raises(MalformedEvent):
        decode(headers, body)


@pytest.mark.parametrize("header", ["Ce-Type", "Ce-Specversion"])
def test_other_kinds_of_cloud_event_are_refused(header: str) -> None:
    headers, body = binary(pushed(job_fields()))
    with pytest.raises(MalformedEvent):
        decode({**headers, header: "2.0"}, body)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"format": 2}, "format"),
        ({"format": True}, "format"),
        ({"format": 1.0}, "format"),
        ({"format": "1"}, "format"),
        ({"tenant_id": ""}, "tenant_id"),
        ({"tenant_id": None}, "tenant_id"),
        ({"tenant_id": 5}, "tenant_id"),
        ({"tenant_id": KEY.tenant_id.replace("-", "")}, "tenant_id"),
        ({"tenant_id": f"{{{KEY.tenant_id}}}"}, "tenant_id"),
        ({"job_id": "ABCDEF00-0000-4000-8000-000000000000"}, "job_id"),
        ({"job_id": [KEY.job_id]}, "job_id"),
        ({"job_id": "../x"}, "job_id"),
        ({"job_id": "\ud800"}, "job_id"),
        ({"attempt": True}, "attempt"),
        ({"attempt": 1.0}, "attempt"),
        ({"attempt": 0}, "attempt"),
        ({"attempt": -1}, "attempt"),
        ({"attempt": "1"}, "attempt"),
        ({"attempt": None}, "attempt"),
        ({"attempt": LAST_ATTEMPT + 1}, "attempt"),
        ({"attempt": 2**63}, "attempt"),
    ],
    ids=repr,
)
def test_job_messages_that_are_malformed(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(MalformedEvent, match=f"^{named}:"):
        job_message(decode(*raw(pushed(job_fields(**wrong)))))


@pytest.mark.parametrize("left_out", ["format", "tenant_id", "job_id", "attempt"])
def test_every_field_of_a_job_message_is_needed(left_out: str) -> None:
    fields = json.loads(job_fields())
    del fields[left_out]
    with pytest.raises(MalformedEvent, match=left_out):
        job_message(decode(*raw(pushed(json.dumps(fields).encode()))))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 100_000, b"9" * 5000, b'{"a":' * 50_000]
)
def test_data_that_is_no_job_message(data: bytes) -> None:
    with pytest.raises(MalformedEvent, match=r"^message\.data"):
        job_message(decode(*raw(pushed(data))))


@pytest.mark.parametrize("attribute", ["JobName", "JobUID", "NewJobState"])
@pytest.mark.parametrize("value", [None, ""])
def test_every_attribute_that_matters_is_needed(attribute: str, value: str | None) -> None:
    attributes = {name: text for name, text in NOTIFICATION.items() if name != attribute}
    if value is not None:
        attributes[attribute] = value
    with pytest.raises(MalformedEvent, match=attribute):
        batch_notification(decode(*raw(pushed(attributes=attributes))))


@pytest.mark.parametrize(
    "name",
    [
        "someone-elses-job",
        "projects/p/locations/l/jobs/",
        batch_id(KEY, 1).upper(),
        batch_id(KEY, 1) + "0000000000",
        batch_id(KEY, 1)[:-1] + "0",
        batch_id(KEY, 1) + "\n",
        batch_id(KEY, 1) + "/taskGroups/group0",
    ],
)
def test_names_that_this_platform_never_gives(name: str) -> None:
    with pytest.raises(MalformedEvent, match="JobName"):
        batch_notification(decode(*raw(pushed(attributes={**NOTIFICATION, "JobName": name}))))


@pytest.mark.parametrize(
    "time", [None, 5, "", "yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z"]
)
def test_a_tick_without_a_time_is_malformed(time: object) -> None:
    with pytest.raises(MalformedEvent, match="publishTime"):
        tick(decode(*raw(pushed(publishTime=time))))


@given(st.dictionaries(NAMES, json_values), st.dictionaries(NAMES, json_values))
def test_any_value_anywhere_in_a_push_is_read_or_malformed(
    around: dict[str, object], inside: dict[str, object]
) -> None:
    for encoding in ENCODINGS:
        meanings(*encoding({**around, "message": {**message(), **inside}}))


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "id",
                "source",
                "type",
                "specversion",
                "time",
                "datacontenttype",
                "data_base64",
                "extensions",
                "x",
            ]
        ),
        json_values,
    )
)
@example({"specversion": ["1.0"]})
@example({"extensions": 5})
def test_any_value_anywhere_in_a_cloud_event_is_read_or_malformed(changed: dict[str, object]) -> None:
    headers, body = structured(pushed())
    meanings(headers, json.dumps({**json.loads(body), **changed}).encode())


@given(json_values)
def test_any_json_as_a_job_message_is_read_or_malformed(data: object) -> None:
    meanings(*raw(pushed(json.dumps(data).encode())))


@given(st.sampled_from(["format", "tenant_id", "job_id", "attempt"]), json_values)
def test_any_value_in_a_job_message_is_read_or_malformed(field: str, value: object) -> None:
    meanings(*raw(pushed(job_fields(**{field: value}))))


@given(st.dictionaries(st.sampled_from(list(NOTIFICATION)), st.text()))
def test_any_attributes_are_read_or_malformed(attributes: dict[str, str]) -> None:
    meanings(*raw(pushed(attributes={**NOTIFICATION, **attributes})))


header_names = st.sampled_from(["ce-id", "ce-type", "CE-Source", "ce-specversion", "ce-time", "content-type"])
header_values = st.sampled_from(["1.0", PUBLISHED, "application/json", "application/cloudevents+json"])


@given(st.dictionaries(header_names, header_values | st.text()), st.binary())
def test_any_bytes_under_any_headers_are_read_or_malformed(headers: dict[str, str], body: bytes) -> None:
    meanings(headers, body)


def test_the_messages_time_may_have_any_zone() -> None:
    at = datetime.fromisoformat("2026-01-02T03:04:05+05:30")
    assert tick(decode(*raw(pushed(publishTime=at.isoformat())))).published_at - at == timedelta()
