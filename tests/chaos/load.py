"""The load: tenants that submit jobs over HTTP as real clients do, and keep their own journal of it.

A client repeats a request with the same key and body until it is answered. What was acknowledged to it is the
first of the four books that `books` compares.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from jennah.client import ApiError, Client, ConnectionFailed
from jennah.local.cloud import LocalCloud
from jennah.local.tokens import fetch_token

TENANTS: Final = ("ann@example.com", "ben@example.com", "eve@example.com")

_THREADS: Final = 16
_LEAST_UNFINISHED, _MOST_UNFINISHED = 10, 150
_PAUSE_SECONDS: Final = 0.2
_SHARE_SUBMITTED_TWICE: Final = 0.15
_LONGEST_SLEEP, _LONGEST_UNTIL_CANCEL = 2.0, 3.0


class Kind(StrEnum):
    """How a job ends by itself."""

    QUICK = "quick"
    SLEEPS = "sleeps"
    FAILS_ONCE = "fails once"
    ALWAYS_FAILS = "always fails"
    NEVER_ENDS = "never ends"


_MIX: Final = {
    Kind.QUICK: 40,
    Kind.SLEEPS: 25,
    Kind.FAILS_ONCE: 15,
    Kind.ALWAYS_FAILS: 10,
    Kind.NEVER_ENDS: 10,
}
_ALWAYS_CANCELLED: Final = frozenset({Kind.NEVER_ENDS})
_SHARE_CANCELLED: Final = 0.1  # of the others


@dataclass(slots=True)
class Submission:
    """One idempotency key: what is asked under it, and every answer that came.

    Attributes:
        tenant: index into `TENANTS`.
        cancel_after: seconds from its acknowledgement to its cancellation; None: it is not cancelled.
        job_ids: the ids that were acknowledged: one, if the key does what it promises.
        cancelled: whether the cancellation was accepted (True) or came too late (False); None: not asked.
    """

    tenant: int
    key: str
    kind: Kind
    commands: Sequence[str]
    max_retries: int
    cancel_after: float | None = None
    job_ids: list[str] = field(default_factory=list)
    cancelled: bool | None = None


def plan(count: int, choose: random.Random) -> list[Submission]:
    """A mix of `count` submissions."""
    kinds = choose.choices(list(_MIX), weights=list(_MIX.values()), k=count)
    return [_submission(kind, choose) for kind in kinds]


def _submission(kind: Kind, choose: random.Random) -> Submission:
    commands = {
        Kind.QUICK: ["true"],
        Kind.SLEEPS: ["sleep", f"{choose.uniform(0, _LONGEST_SLEEP):.2f}"],
        Kind.FAILS_ONCE: ["sh", "-c", 'test "$JENNAH_ATTEMPT" -ge 2'],
        Kind.ALWAYS_FAILS: ["sh", "-c", "exit 7"],
        Kind.NEVER_ENDS: ["sleep", "3600"],
    }[kind]
    cancel = kind in _ALWAYS_CANCELLED or choose.random() < _SHARE_CANCELLED
    return Submission(
        tenant=choose.randrange(len(TENANTS)),
        key=str(uuid.UUID(int=choose.getrandbits(128), version=4)),
        kind=kind,
        commands=commands,
        max_retries=1 if kind is Kind.ALWAYS_FAILS else 2,
        cancel_after=choose.uniform(0, _LONGEST_UNTIL_CANCEL) if cancel else None,
    )


class Load:
    """Submits what was planned, from several threads. A context manager: leaving it gives up what is left.

    Attributes:
        submissions: the journal.
        refusals: how often a request had to be repeated, by why.
        finished: how many jobs are final, told from outside. A job is submitted only while few others are
            unfinished, so that the faults hit the jobs' whole lives, not only their submission.
    """

    def __init__(self, cloud: LocalCloud, submissions: Sequence[Submission], choose: random.Random) -> None:
        self.submissions = submissions
        self.refusals: Counter[str] = Counter()
        self.finished = 0
        self._cloud = cloud
        self._choose = choose
        self._clients: list[Client] = []
        self._stopping = threading.Event()
        self._counting = threading.Lock()
        self._most_unfinished = min(max(len(submissions) // 8, _LEAST_UNFINISHED), _MOST_UNFINISHED)
        self._begun = 0
        self._work: list[Future[None]] = []
        self._resources = ExitStack()

    @property
    def acknowledged(self) -> int:
        """How many submissions were answered."""
        return sum(bool(submission.job_ids) for submission in self.submissions)

    @property
    def cancellations(self) -> int:
        """How many cancellations were accepted."""
        return sum(submission.cancelled is True for submission in self.submissions)

    @property
    def done(self) -> bool:
        """Whether everything was asked and answered.

        Raises:
            ApiError: a request was refused for good.
        """
        for work in self._work:
            if work.done():
                work.result()
        return all(work.done() for work in self._work)

    def __enter__(self) -> Load:
        env = self._cloud.env
        for email in TENANTS:
            token = fetch_token(env["JENNAH_ISSUER_URL"], email, env["JENNAH_AUDIENCE"])
            client = Client(env["JENNAH_URL"], token, retry_seconds=0)
            self._clients.append(self._resources.enter_context(client))
        pool = ThreadPoolExecutor(_THREADS)
        self._resources.callback(pool.shutdown, cancel_futures=True)
        self._resources.callback(self._stopping.set)
        for submission in self.submissions:
            self._work.append(pool.submit(self._perform, submission))
            if self._choose.random() < _SHARE_SUBMITTED_TWICE:
                self._work.append(pool.submit(self._submit, submission))
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _perform(self, submission: Submission) -> None:
        with self._counting:
            self._begun += 1
            place = self._begun
        while place - self.finished > self._most_unfinished and not self._stopping.wait(_PAUSE_SECONDS):
            pass
        self._submit(submission)
        if submission.cancel_after is not None and not self._stopping.wait(submission.cancel_after):
            self._cancel(submission)

    def _submit(self, submission: Submission) -> None:
        while not self._stopping.is_set():
            try:
                job = self._clients[submission.tenant].submit_job(
                    "busybox",
                    submission.commands,
                    max_retries=submission.max_retries,
                    idempotency_key=submission.key,
                )
            except (ApiError, ConnectionFailed) as error:
                self._repeat_after(error)
            else:
                submission.job_ids.append(job.job_id)
                return

    def _cancel(self, submission: Submission) -> None:
        while not self._stopping.is_set():
            try:
                self._clients[submission.tenant].cancel_job(submission.job_ids[0])
            except (ApiError, ConnectionFailed) as error:
                if isinstance(error, ApiError) and error.code == "FAILED_PRECONDITION":
                    submission.cancelled = False
                    return
                self._repeat_after(error)
            else:
                submission.cancelled = True
                return

    def _repeat_after(self, error: ApiError | ConnectionFailed) -> None:
        """Wait before a request is repeated; an answer that no repetition would change is raised."""
        if isinstance(error, ApiError) and error.status < 500:
            raise error
        why = f"HTTP {error.status}" if isinstance(error, ApiError) else "no answer"
        with self._counting:
            self.refusals[why] += 1
        time.sleep(_PAUSE_SECONDS)
