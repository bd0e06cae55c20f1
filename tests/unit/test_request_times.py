"""Times in requests: every one that there is, and no other; the document and the server agree on them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api.openapi import document
from shared.api.queries import JobsQuery
from shared.api.shapes import parse_query
from shared.errors import InvalidArgument

(PATTERN,) = (
    parameter["schema"]["pattern"]
    for parameter in document()["paths"]["/v1/jobs"]["get"]["parameters"]
    if parameter["name"] == "created_after"
)

zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=zones)


def read(text: str) -> str | None:
    return parse_query(JobsQuery, {"created_after": text}).created_after


@given(times)
def test_a_time_is_read_in_utc(at: datetime) -> None:
    assert re.search(PATTERN, at.isoformat())
    found = read(at.isoformat())
    assert found is not None
    try:
        expected = at.astimezone(UTC)
    except OverflowError:
        assert found[:4] in {"0001", "9999"}
    else:
        assert datetime.fromisoformat(found) == expected
        assert found.endswith("Z")


@given(st.from_regex(PATTERN, fullmatch=True))
def test_whatever_the_document_allows_is_read(text: str) -> None:
    found = read(text)
    assert found is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", found)
    datetime.fromisoformat(found)


@given(
    st.builds(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format,
        *(st.integers(0, most) for most in (9999, 13, 32, 25, 61, 61)),
    )
)
def test_a_date_that_there_is_not_is_refused_by_both(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        there_is = text.startswith("0000") and bool(re.search(PATTERN, text))
    else:
        there_is = True
    assert bool(re.search(PATTERN, text)) is there_is
    if not there_is:
        with pytest.raises(InvalidArgument, match="created_after"):
            read(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-02-29T23:30:00.123456789-01:00", "2024-03-01T00:30:00.123456789Z"),
        ("2000-02-29T00:00:00+00:00", "2000-02-29T00:00:00Z"),
        ("0000-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59.999999999Z"),
        ("0005-01-01T00:00:00Z", "0005-01-01T00:00:00Z"),
    ],
)
def test_known_times(text: str, utc: str) -> None:
    assert read(text) == utc


@pytest.mark.parametrize("text", ["1900-02-29T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01t00:00:00z", ""])
def test_what_is_no_time(text: str) -> None:
    assert not re.search(PATTERN, text)
    with pytest.raises(InvalidArgument, match="created_after"):
        read(text)
