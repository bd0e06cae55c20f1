"""The judge of the chaos runs sees each way in which the books can disagree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from jennah.local.batch_jobs import JobState
from jennah.local.batch_runner import Run
from shared.batch_ids import batch_id
from shared.model import Attempt, Job, JobKey, JobStatus
from tests.chaos.books import Row, Wrong, compare
from tests.chaos.load import Kind, Submission

TENANT = "00000000-0000-4000-8000-000000000001"
KEY = JobKey(TENANT, "00000000-0000-4000-8000-00000000000a")
OTHER = JobKey(TENANT, "00000000-0000-4000-8000-00000000000b")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def name(key: JobKey, attempt: int) -> str:
    return f"projects/p/locations/us-central1/jobs/{batch_id(key, attempt)}"


def run(key: JobKey, attempt: int, exit_code: int) -> Run:
    start = BEGAN.isoformat()
    return Run(name(key, attempt), f"uid-{attempt}", 0, 0, 0, 1, start, start, exit_code)


@dataclass
class Books:
    """Books that agree, of one job that failed in its first attempt and succeeded in its second."""

    submission: Submission
    row: Row
    runs: list[Run]
    states: dict[str, JobState]
    others: list[Row] = field(default_factory=list)

    def wrong(self) -> set[Wrong]:
        rows = [self.row, *self.others]
        found = list(compare([self.submission], rows, self.runs, self.states))
        print(*found, sep="\n")  # noqa: T201 - what pytest shows of a failure
        return {offence.wrong for offence in found}

    def change_job(self, **values: object) -> None:
        self.row = dataclasses.replace(self.row, job=dataclasses.replace(self.row.job, **values))  # type: ignore[arg-type]


@pytest.fixture
def books() -> Books:
    job = Job(
        **KEY._asdict(),
        image_uri="busybox",
        status=JobStatus.COMPLETED,
        attempt=2,
        retry_count=1,
    )
    attempts = {1: Attempt(attempt=1, reason="user_exit", exit_code=1), 2: Attempt(attempt=2)}
    return Books(
        submission=Submission(0, "key", Kind.FAILS_ONCE, ["x"], 2, job_ids=[KEY.job_id]),
        row=Row(job, [], attempts),
        runs=[run(KEY, 1, 1), run(KEY, 2, 0)],
        states={name(KEY, 1): JobState.FAILED, name(KEY, 2): JobState.SUCCEEDED},
    )


def test_books_that_agree(books: Books) -> None:
    assert books.wrong() == set()
    books.submission.job_ids.append(KEY.job_id)  # the same key, the same answer
    assert books.wrong() == set()


def acknowledge_nothing(books: Books) -> None:
    books.submission.job_ids.clear()


def lose_the_row(books: Books) -> None:
    books.submission.job_ids[0] = OTHER.job_id


def leave_it_running(books: Books) -> None:
    books.change_job(status=JobStatus.RUNNING)


def answer_two_ids(books: Books) -> None:
    books.submission.job_ids.append(OTHER.job_id)


def make_a_job_of_nobody(books: Books) -> None:
    books.others.append(
        dataclasses.replace(books.row, job=dataclasses.replace(books.row.job, job_id=OTHER.job_id))
    )


def run_an_attempt_twice(books: Books) -> None:
    books.runs.append(run(KEY, 2, 0))


def run_one_attempt_more(books: Books) -> None:
    books.runs.append(run(KEY, 3, 0))


def run_a_job_without_a_row(books: Books) -> None:
    books.runs.append(run(OTHER, 1, 0))


def never_run_the_attempt(books: Books) -> None:
    books.runs.pop()


def record_another_exit_code(books: Books) -> None:
    books.runs[0] = run(KEY, 1, 9)


def overwrite_a_cancellation(books: Books) -> None:
    books.submission.cancelled = True


def retry_too_often(books: Books) -> None:
    books.submission.kind = Kind.QUICK


def leave_batch_at_work(books: Books) -> None:
    books.states[name(KEY, 2)] = JobState.RUNNING


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (acknowledge_nothing, Wrong.LOST),
        (lose_the_row, Wrong.LOST),
        (leave_it_running, Wrong.LOST),
        (answer_two_ids, Wrong.RUN_TWICE),
        (make_a_job_of_nobody, Wrong.RUN_TWICE),
        (run_an_attempt_twice, Wrong.RUN_TWICE),
        (run_one_attempt_more, Wrong.BROKEN_RECORD),
        (run_a_job_without_a_row, Wrong.BROKEN_RECORD),
        (never_run_the_attempt, Wrong.BROKEN_RECORD),
        (record_another_exit_code, Wrong.BROKEN_RECORD),
        (overwrite_a_cancellation, Wrong.OTHER_END),
        (retry_too_often, Wrong.OTHER_END),
        (leave_batch_at_work, Wrong.STILL_RUNS),
    ],
)
def test_each_disagreement_is_seen(books: Books, spoil: Callable[[Books], None], seen: Wrong) -> None:
    spoil(books)
    assert seen in books.wrong()


KILLED = 128 + 9


@pytest.mark.parametrize(
    ("exit_codes", "state", "noted", "agree"),
    [
        ([], None, None, True),
        ([KILLED], JobState.CANCELLED, None, True),
        ([], JobState.CANCELLED, None, True),
        ([0], JobState.CANCELLED, None, True),  # it ended while Batch cancelled it
        ([0], JobState.SUCCEEDED, "SUCCEEDED came after CANCELLED", True),
        ([7], JobState.FAILED, "FAILED came after CANCELLED", True),
        ([0], JobState.SUCCEEDED, None, False),
        ([0], JobState.SUCCEEDED, "x", False),
        ([0], JobState.SUCCEEDED, "FAILED came after CANCELLED", False),
        ([7], JobState.FAILED, None, False),
        ([KILLED], JobState.CANCELLED, "SUCCEEDED came after CANCELLED", False),
        ([], None, "SUCCEEDED came after CANCELLED", False),
        ([KILLED], JobState.SUCCEEDED, "SUCCEEDED came after CANCELLED", False),
        ([7], JobState.SUCCEEDED, "SUCCEEDED came after CANCELLED", False),
        ([0], None, None, False),
    ],
)
def test_the_end_of_a_cancelled_job_is_noted_as_ignored(
    books: Books, exit_codes: list[int], state: JobState | None, noted: str | None, agree: bool
) -> None:
    job = dataclasses.replace(books.row.job, status=JobStatus.CANCELLED)
    attempts = {**books.row.attempts, 2: Attempt(attempt=2, reason="cancelled", last_ignored=noted)}
    books.row = Row(job, [], attempts)
    books.submission.cancelled = True
    books.runs = [run(KEY, 1, 1), *(run(KEY, 2, code) for code in exit_codes)]
    books.states = {name(KEY, 1): JobState.FAILED} | ({name(KEY, 2): state} if state else {})
    assert books.wrong() == (set() if agree else {Wrong.BROKEN_RECORD})
