"""What Cloud Logging is asked, and what its entries mean."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from google.cloud.logging_v2.types import LogEntry

from shared.log_client import log_filter, log_line
from shared.task_logs import LogPlace

UID = "j-abc-1-6f9619ff"
START = f'log_id("batch_task_logs") AND labels.job_uid="{UID}" AND labels.task_id=~"(^|/){UID}-group0-1(/|$)"'


def test_the_beginning_of_a_log() -> None:
    assert log_filter(uid=UID, task=1, since=None, after=None) == START


def test_a_log_from_a_place_on() -> None:
    since = datetime(2026, 7, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    after = LogPlace("2026-07-01T12:00:01.123456789Z", "abc")
    assert log_filter(uid=UID, task=1, since=since, after=after) == (
        f'{START} AND timestamp>="2026-07-01T12:00:00.000000Z"'
        ' AND (timestamp>"2026-07-01T12:00:01.123456789Z"'
        ' OR (timestamp="2026-07-01T12:00:01.123456789Z" AND insertId>"abc"))'
    )


def test_an_id_can_not_leave_its_quotes() -> None:
    after = LogPlace("2026-07-01T12:00:01Z", '" OR x!="\\')
    query = log_filter(uid=UID, task=1, since=None, after=after)
    assert query.endswith(r'AND insertId>"\" OR x!=\"\\"))')


@pytest.mark.parametrize(
    ("task_id", "found"),
    [
        (f"{UID}-group0-1", True),
        (f"task/{UID}-group0-1/0/0", True),
        (f"task/{UID}-group0-11/0/0", False),
        (f"{UID}-group0-11", False),
        (f"task/x{UID}-group0-1/0/0", False),
    ],
)
def test_a_task_is_found_by_either_shape_of_its_id(task_id: str, *, found: bool) -> None:
    query = log_filter(uid=UID, task=1, since=None, after=None)
    pattern = query.partition('task_id=~"')[2].rstrip('"')
    assert bool(re.search(pattern, task_id)) is found


@pytest.mark.parametrize(
    ("entry", "stream", "message"),
    [
        ({"severity": "INFO", "text_payload": "a"}, "stdout", "a"),
        ({"severity": "ERROR", "text_payload": "b"}, "stderr", "b"),
        ({"severity": "DEFAULT", "text_payload": ""}, "stdout", ""),
        ({"severity": "WARNING", "json_payload": {"message": "c"}}, "stdout", '{"message": "c"}'),
    ],
)
def test_an_entry_is_a_line(entry: dict[str, object], stream: str, message: str) -> None:
    shown = LogEntry(insert_id="id", **entry)
    LogEntry.pb(shown).timestamp.FromJsonString("2026-07-01T12:00:01.123456789Z")
    line = log_line(shown)
    assert line.place == LogPlace("2026-07-01T12:00:01.123456789Z", "id")
    assert (line.stream, line.message) == (stream, message)
