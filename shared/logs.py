"""What the tasks of a job have written: in pages, and as it grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.api.answers import LogEntryAnswer
from shared.buckets import Rate
from shared.config import Timing
from shared.errors import InvalidArgument, NotFound, ResourceExhausted
from shared.job_events import end
from shared.job_reads import may_exist, require_time
from shared.model import Attempt, Job, JobKey, JobStatus
from shared.pages import decode_token, encode_token
from shared.rows import Reads
from shared.streams import Event, Feed, News
from shared.task_logs import LogLine, LogPart, LogPlace, TaskLogs

_PROJECT = re.compile(r"projects/([^/]+)/")

# Bytes of text in which a page ends, whatever was asked for, and what is sent at once of a stream.
_MOST_TEXT = 4 * 1024 * 1024
_TEXT_AT_ONCE = 1024 * 1024
_LINES_AT_ONCE = 250
# Longer ones than any of ours would make a filter that Cloud Logging refuses (20,000 characters).
_LONGEST_ID = 1000


@dataclass(frozen=True, slots=True)
class _Log:
    """One task of one attempt: whose lines are read.

    Attributes:
        complete: the attempt is over for so long that no line comes late.
    """

    job: Job
    number: int
    task: int
    attempt: Attempt | None
    complete: bool

    @property
    def uid(self) -> str | None:
        """The Batch job's; None where there never was one, or not yet."""
        if self.attempt is not None and self.attempt.batch_uid is not None:
            return self.attempt.batch_uid
        return self.job.batch_uid if self.number == self.job.attempt else None

    @property
    def project(self) -> str | None:
        """Where the Batch job ran, by the row."""
        found = _PROJECT.match(self.job.batch_parent or self.job.gcp_batch_job_name or "")
        return found[1] if found else None


class Logs:
    """Reads the logs of tenants' jobs.

    Args:
        reads: committed rows.
        task_logs: brings the port to where logs are kept; called when the first is read.
        timing: how long a read may take, and for how long after its end lines of an attempt may still appear.
        now: the clock.
        rate: how often one tenant may have the place asked where logs are kept, whose quota is for all.
    """

    def __init__(
        self,
        *,
        reads: Reads,
        task_logs: Callable[[], TaskLogs],
        timing: Timing,
        now: Callable[[], datetime],
        rate: Rate,
    ) -> None:
        self._rate = rate
        self._reads = reads
        self._task_logs = task_logs
        self._timing = timing
        self._now = now

    def page(
        self, key: JobKey, *, attempt: int | None, task: int, page_size: int, page_token: str | None
    ) -> tuple[list[LogLine], str | None]:
        """Lines of one task of one attempt, oldest first, and the token to go on with.

        A page may hold less than was asked for: it ends where it holds much text, or took long. The token is
        None only where the attempt is over and all was read: until then, the same token shows what has been
        written since.

        Args:
            key: the job, by the id as it was sent.
            attempt: which attempt; None is the token's, or without a token the current one.
            task: the index of the task.
            page_size: how many lines at most.
            page_token: where to go on.

        Raises:
            NotFound: the tenant has no such job, or it no such attempt or task.
            InvalidArgument: the token is none of ours, or from another query.
            ResourceExhausted: the tenant reads logs too often.
            Unavailable: the log can't be read now.
        """
        until = self._now() + self._timing.log_page
        number, place = self._start(key, attempt, task, page_token)
        log = self._find(key, number, task)
        part = self._part(log, place, page_size, _MOST_TEXT, until)
        if log.complete and not part.more:
            return list(part.lines), None
        return list(part.lines), _token(log, part.lines[-1].place if part.lines else place)

    def feed(self, key: JobKey, *, attempt: int | None, task: int, page_token: str | None) -> Feed:
        """The same as events, each with the token after it as its id, until the attempt is over.

        A look costs 1 Spanner RPC (the first at an attempt that is not the current one, or was cancelled, 2)
        and one read of the log; where lines wait already, none of Spanner.

        Raises:
            InvalidArgument: as `page`; and what it raises else when it is asked first.
        """
        number, place = self._start(key, attempt, task, page_token)
        return _Tail(
            lambda known, attempt: self._find(key, known, task, attempt),
            lambda log, after: self._part(
                log, after, _LINES_AT_ONCE, _TEXT_AT_ONCE, self._now() + self._timing.log_look
            ),
            number,
            place,
        )

    def _start(
        self, key: JobKey, attempt: int | None, task: int, page_token: str | None
    ) -> tuple[int | None, LogPlace | None]:
        if not page_token:
            return attempt, None
        number, at, line_id = decode_token(page_token, query=_query(key, task), size=3)
        if not re.fullmatch(r"[1-9][0-9]{0,8}", number) or len(line_id) > _LONGEST_ID:
            raise InvalidArgument.of_field("page_token", "is not a token of this API")
        if at:
            require_time(at)
        if attempt not in {None, int(number)}:
            raise InvalidArgument.of_field("page_token", "belongs to another query")
        return int(number), LogPlace(at, line_id) if at else None

    def _find(self, key: JobKey, number: int | None, task: int, attempt: Attempt | None = None) -> _Log:
        job = self._reads.job(key) if may_exist(key.job_id) else None
        if job is None:
            raise NotFound.of_job()
        if number is None:
            number = job.attempt
        if number > job.attempt:
            raise NotFound(f"The job has no attempt {number}: it had {job.attempt} so far.")
        if task >= job.spec.task_count:
            raise NotFound(f"The job has no task {task}: it has {job.spec.task_count}, counted from 0.")
        if number == job.attempt:
            # While something is owed to a job that has ended, its task may still write.
            if not job.status.final or job.next_check_at is not None:
                return _Log(job, number, task, None, complete=False)
            if attempt is None and job.status is JobStatus.CANCELLED and job.batch_uid is not None:
                attempt = self._reads.attempt(key, number)  # the task may have ended later than its job
            ends = [job.completed_at or job.updated_at, attempt.finished_at if attempt else None]
            ended = max((end for end in ends if end is not None), default=None)
            return _Log(job, number, task, attempt, self._long_ago(ended))
        if attempt is None:
            attempt = self._reads.attempt(key, number)
        return _Log(job, number, task, attempt, self._long_ago(attempt.finished_at if attempt else None))

    def _long_ago(self, ended: datetime | None) -> bool:
        return ended is None or self._now() - ended >= self._timing.log_delay

    def _part(
        self, log: _Log, place: LogPlace | None, limit: int, most_text: int, until: datetime
    ) -> LogPart:
        if log.uid is None or log.project is None:
            return LogPart([], more=False)
        owe = self._rate.take(log.job.tenant_id)
        part = self._task_logs().lines(
            project=log.project,
            uid=log.uid,
            task=log.task,
            since=log.job.created_at,
            after=place,
            limit=limit,
            most_text=most_text,
            seconds=(until - self._now()).total_seconds(),
        )
        owe(part.asked - 1)
        kept = _cut(part.lines, most_text)
        return LogPart(kept, more=part.more or len(kept) < len(part.lines))


class _Tail:
    """A feed of one task's lines."""

    def __init__(
        self,
        find: Callable[[int | None, Attempt | None], _Log],
        part: Callable[[_Log, LogPlace | None], LogPart],
        number: int | None,
        place: LogPlace | None,
    ) -> None:
        self._find = find
        self._part = part
        self._number = number
        self._place = place
        self._log: _Log | None = None
        self._more = False
        self._begun = False

    def __call__(self) -> News:
        """What was written since."""
        if self._log is None or not self._more:
            try:
                # The row of an attempt that is not the current one changes no more.
                self._log = self._find(self._number, self._log.attempt if self._log else None)
            except NotFound:
                if self._log is None:
                    raise
                return News([end(None)], ended=True)  # deleted meanwhile
            self._number = self._log.number
        try:
            part = self._part(self._log, self._place)
        except ResourceExhausted:
            if not self._begun:
                raise
            return News()  # its turn comes
        self._begun, self._more = True, part.more
        if part.lines:
            self._place = part.lines[-1].place
        log = self._log
        events = [
            Event("log", LogEntryAnswer.of(log.task, line).shown(), _token(log, line.place))
            for line in part.lines
        ]
        if log.complete and not self._more:
            return News([*events, end(log.job.status)], ended=True)
        return News(events, more=self._more)


def _query(key: JobKey, task: int) -> tuple[str, ...]:
    return ("logs", *key, str(task))


def _token(log: _Log, place: LogPlace | None) -> str:
    position = [place.at, place.line_id] if place else ["", ""]
    return encode_token([str(log.number), *position], query=_query(log.job.key, log.task))


def _cut(lines: Sequence[LogLine], most_text: int) -> Sequence[LogLine]:
    """The first lines, as many as may be; one in any case."""
    size = 0
    for index, line in enumerate(lines):
        size += line.size
        if size > most_text:
            return lines[: max(1, index)]
    return lines
