"""Filters and pages of the local Batch service."""

from __future__ import annotations

import pytest
from google.cloud import batch_v1
from hypothesis import given
from hypothesis import strategies as st

from jennah.local.batch_jobs import Job, TaskState
from jennah.local.batch_lists import JobFilter, JobOrder, page_of, parse_task_filter
from jennah.local.batch_specs import Refused

KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


def job_of(**labels: str) -> Job:
    spec = batch_v1.Job({"task_groups": [{"task_count": 1}], "labels": labels})
    return Job("projects/p/locations/l/jobs/j", "uid", spec)


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("", True),
        ("labels.a=1", True),
        ('labels.a="1"', True),
        ('labels.a = "1" AND labels.b-c=x_y', True),
        ("labels.a=2", False),
        ("labels.a=1 AND labels.b-c=z", False),
        ("labels.missing=1", False),
        ('labels.missing=""', False),
        ('status.state="QUEUED"', True),
        ("status.state=RUNNING AND labels.a=1", False),
        ("status.state=QUEUED AND status.state=RUNNING", False),
    ],
)
def test_filters(text: str, admitted: bool) -> None:
    assert JobFilter(text).admits(job_of(**{"a": "1", "b-c": "x_y"})) is admitted


@pytest.mark.parametrize(
    "text",
    [
        "labels.a",
        "labels.a:1",
        "labels.a!=1",
        "labels.=1",
        "labels.a=1 OR labels.b=2",
        "labels.a=1 AND",
        "labels.a=1 labels.b=2",
        "(labels.a=1)",
        "NOT labels.a=1",
        "status.state=WAITING",
        'create_time>"2026-01-01T00:00:00Z"',
        "name=x",
        "x",
    ],
)
def test_a_filter_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="filter"):
        JobFilter(text)


def test_task_filters() -> None:
    assert parse_task_filter("") is None
    assert parse_task_filter("State=RUNNING") is TaskState.RUNNING
    for text in ("State=QUEUED", "index=1", "State=RUNNING AND State=FAILED"):
        with pytest.raises(Refused, match="filter"):
            parse_task_filter(text)


@given(st.sets(KEYS), st.sets(KEYS), st.sets(KEYS), st.integers(1, 4), st.booleans())
def test_pages_show_once_each_item_that_stays(
    staying: set[str], going: set[str], coming: set[str], size: int, descending: bool
) -> None:
    seen: list[str] = []
    items, token = staying | going, ""
    while True:
        page, token = page_of(items, str, ["query"], size, token, descending=descending)
        assert len(page) <= size
        seen += page
        if not token:
            break
        items = staying | coming
    assert len(seen) == len(set(seen))
    assert staying <= set(seen)
    assert seen == sorted(seen, reverse=descending)


@given(st.text())
def test_a_foreign_page_token_is_refused(token: str) -> None:
    _, of_other_query = page_of("ab", str, ["other"], 1, "")
    for foreign in (of_other_query, token or "?"):
        with pytest.raises(Refused, match="page_token"):
            page_of("ab", str, ["query"], 1, foreign)


def test_sizes() -> None:
    assert len(page_of(range(2_000), str, [], 0, "")[0]) == 1_000
    assert len(page_of(range(2_000), str, [], 1_500, "")[0]) == 1_000
    with pytest.raises(Refused, match="page_size"):
        page_of("ab", str, [], -1, "")


def test_orders() -> None:
    job = job_of()
    assert JobOrder("name").key(job) == job.name
    assert JobOrder("").key(job) == JobOrder("create_time").key(job)
    assert [JobOrder(text).descending for text in ("name", "name desc", "create_time desc")] == [
        False,
        True,
        True,
    ]
    with pytest.raises(Refused, match="order_by"):
        JobOrder("update_time")
