"""What a stream tells of jobs whose history does not tell all."""

from __future__ import annotations

import uuid
from typing import cast

import pytest

from shared.errors import NotFound
from shared.job_events import Trail
from shared.model import Job, JobKey, JobStatus, Transition
from shared.rows import Reads
from shared.streams import News

KEY = JobKey(str(uuid.uuid4()), str(uuid.uuid4()))


class Rows:
    """A job's rows, as a test sets them; `looks` counts what was read."""

    def __init__(self, status: JobStatus | None, *history: tuple[str, str]) -> None:
        self.status = status
        self.history = list(history)
        self.looks: list[str] = []

    def job(self, key: JobKey) -> Job | None:
        self.looks.append("job")
        return Job(**key._asdict(), image_uri="i", status=self.status) if self.status else None

    def transitions(self, key: JobKey, *, after: str | None, limit: int) -> list[Transition]:
        self.looks.append("history")
        return [
            Transition(
                transition_id=name,
                from_status=None,
                to_status=status,
                transitioned_at=None,
                reason=None,
                actor=None,
                attempt=1,
            )
            for name, status in self.history
        ]

    def trail(self, after: str | None = None) -> Trail:
        return Trail(cast("Reads", self), *KEY, after)


def told(news: News) -> list[tuple[str, object]]:
    return [(event.kind, event.id or event.data["status"]) for event in news.events]


def test_each_look_costs_one_read() -> None:
    rows = Rows(JobStatus.PENDING, (f"{1:020}", "PENDING"))
    trail = rows.trail()
    assert told(trail()) == [("transition", f"{1:020}")]
    assert told(trail()) == []
    rows.history.append((f"{2:020}", "CANCELLED"))
    last = trail()
    assert told(last) == [("transition", f"{2:020}"), ("end", "CANCELLED")]
    assert last.ended
    assert rows.looks == ["history"] * 3


def test_an_adopted_job_without_a_history_ends_by_its_row() -> None:
    rows = Rows(JobStatus.COMPLETED)
    news = rows.trail()()
    assert (told(news), news.ended) == ([("end", "COMPLETED")], True)


def test_an_adopted_job_whose_history_stops_early_ends_by_its_row_in_the_next_look() -> None:
    rows = Rows(JobStatus.FAILED, ("some-uuid", "RUNNING"))
    trail = rows.trail()
    assert told(trail()) == [("transition", "some-uuid")]
    assert told(trail()) == [("end", "FAILED")]
    assert rows.looks == ["history", "job"]


def test_an_adopted_job_that_goes_on_is_told_by_its_new_history() -> None:
    rows = Rows(JobStatus.RUNNING, ("some-uuid", "RUNNING"))
    trail = rows.trail("some-uuid")
    assert [told(trail()) for _ in range(4)] == [[], [], [], []]
    rows.history.append((f"{7:020}", "COMPLETED"))
    assert told(trail()) == [("transition", f"{7:020}"), ("end", "COMPLETED")]


def test_a_job_that_is_deleted_meanwhile_ends() -> None:
    rows = Rows(JobStatus.RUNNING, (f"{1:020}", "PENDING"))
    trail = rows.trail()
    trail()
    rows.history, rows.status = [], None
    assert told(trail()) == []
    news = trail()
    assert (told(news), news.ended) == ([("end", None)], True)


def test_a_job_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        Rows(None).trail()()
    with pytest.raises(NotFound):
        Trail(cast("Reads", Rows(JobStatus.RUNNING)), KEY.tenant_id, "x" * 37, None)()
