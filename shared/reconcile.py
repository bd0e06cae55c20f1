"""Reconciliation: looks at jobs whose check time has come, and so heals whatever messages lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared import tracing
from shared.batch import BatchState, batch_name
from shared.config import Settings
from shared.errors import Unavailable
from shared.follow import Batch, Follower
from shared.lifecycle import Applied
from shared.listing import FEW, Listings
from shared.messages import JobMessage, Tick
from shared.model import Actor, Job, JobKey, JobStatus
from shared.orphans import Orphans
from shared.rounds import CHUNK, Round
from shared.rows import CHECK_SHARDS, Reads
from shared.semantics import Attribute, LogEvent, Metric
from shared.spans import checking, ticking
from shared.switches import Switches
from shared.telemetry import emit
from shared.tenant_deletion import TenantDeletion
from shared.transitions import Touch, Transitions

_PAGE = 1000

# What one tick does at most. Beyond it, rows wait for the next.
_MOST_CHECKS = 1000
_MOST_PUBLISHED = 200

# Failures in a row after which a parent in Batch, or Pub/Sub, is not asked again in this tick. One that took
# as long as a call that is waited for in vain counts for all of them: another would eat the tick.
_MOST_FAILURES = 3
_SLOW = timedelta(seconds=2)

# Where ticks come every second, a busy machine delivers them later than that: dropping all would be the end.
_LEAST_AGE = timedelta(seconds=5)

# How much of the function's time is kept for the check that is under way when the tick's own time is over:
# the slowest asks Batch twice (10 s each, all pages of ListTasks together) and commits (2 s, and a last try
# of 10 s); 13 s are left for the chunk's touches. Where that is not enough, see `Round.is_left_over`.
_ROOM = timedelta(seconds=45)

# A row that was due for so much of a tick was due when the tick before this one came.
_NEARLY = 0.95

_IN_BATCH = frozenset({JobStatus.SCHEDULED, JobStatus.RUNNING})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reconciliation:
    """Drives every job that is owed a check, by the same steps as the functions do.

    Args:
        transitions: the one writer of jobs.
        reads: committed rows.
        batch: GCP Batch.
        follower: what Batch's record means for a job.
        orphans: stops Batch jobs that no job wants.
        deletion: goes on with the deletion of tenants.
        switches: what operators have switched off.
        publish: sends a message to topic `jobs`; True if it is in the topic for sure.
        settings: the deployment's.
        now: the clock.
        jitter: a number in [0, 1), which spreads check times.
        few: how many due jobs of one parent are asked for one by one; where more are, they are listed.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        reads: Reads,
        batch: Batch,
        follower: Follower,
        orphans: Orphans,
        deletion: TenantDeletion,
        switches: Switches,
        publish: Callable[[JobMessage], bool],
        settings: Settings,
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
        few: int = FEW,
    ) -> None:
        self._transitions = transitions
        self._reads = reads
        self._batch = batch
        self._follower = follower
        self._orphans = orphans
        self._deletion = deletion
        self._switches = switches
        self._publish = publish
        self._settings = settings
        self._timing = settings.timing
        self._now = now
        self._jitter = jitter
        self._few = few

    def reconcile(self, tick: Tick) -> int:
        """Look at the jobs that are due. A tick older than its interval, and than 5 s, is dropped.

        The longest due come first, from every shard alike. PENDING rows that this tick may not publish any
        more are laid out over the next ticks, so that they never stand before live rows.

        Returns:
            How many rows were looked at.
        """
        start = self._now()
        if start - tick.published_at > max(self._timing.tick, _LEAST_AGE):
            return 0
        with ticking():
            return self._reconcile(tick, start)

    def _reconcile(self, tick: Tick, start: datetime) -> int:
        whole = max(self._timing.function_timeout - _ROOM, self._timing.function_timeout / 4)
        sweep = self._crosses_sweep(tick) or self._orphans.under_way
        done = Round(
            end=start + (whole / 2 if sweep else whole),
            before=start - max(self._timing.tick * _NEARLY, _LEAST_AGE),
            listings=Listings(self._batch, self._settings, now=self._now, few=self._few),
        )
        # First, or whoever has jobs enough would put it off for ever; and briefly.
        self._delete_tenants(until=start + whole / 8)
        while keys := [key for key in self._reads.due(self._now(), _PAGE) if key not in done.seen]:
            for first in range(0, len(keys), CHUNK):
                if not self._spent(done):
                    self._look(keys[first : first + CHUNK], done)
            # So few that no shard can have more.
            if len(keys) < _PAGE // CHECK_SHARDS or self._spent(done):
                break
        if sweep:
            self._sweep(until=start + whole)
        emit(
            LogEvent.RECONCILE_TICK,
            "looked at %d due jobs",
            done.looked,
            looked=done.looked,
            asked=done.checks,
            published=done.published,
            failed=done.failed,
            over_cap=done.over_cap,
            overdue_seconds=done.overdue,
            took_seconds=round((self._now() - start).total_seconds(), 3),
        )
        return done.looked

    def _crosses_sweep(self, tick: Tick) -> bool:
        """Whether this tick is the first of its hour. One that is lost is not made up for."""
        at = tick.published_at - _EPOCH
        return at // self._timing.sweep != (at - self._timing.tick) // self._timing.sweep

    def _sweep(self, *, until: datetime) -> None:
        try:
            self._orphans.sweep(until=until)
        except Exception:  # noqa: BLE001 - it is logged
            why = "the sweep for orphans failed; the next tick goes on, or the next hour begins anew"
            emit(LogEvent.SWEEP_FAILED, why, error=True)

    def _delete_tenants(self, *, until: datetime) -> None:
        try:
            self._deletion.proceed(until=until)
        except Exception:  # noqa: BLE001 - it is logged
            emit(LogEvent.TENANT_NOT_DELETED, "no tenant is deleted; the next tick tries again", error=True)

    def _spent(self, done: Round) -> bool:
        return done.checks >= _MOST_CHECKS or self._now() > done.end

    def _look(self, keys: Sequence[JobKey], done: Round) -> None:
        jobs = self._reads.many(keys)
        # Without a recorded name there may be none to derive either: such a row is judged by itself.
        in_batch = [
            job for job in jobs.values() if job and job.status in _IN_BATCH and job.gcp_batch_job_name
        ]
        # Half of the time that is left: a listing that is slow must leave some for the jobs themselves.
        now = self._now()
        done.listings.expect(in_batch, until=now + (done.end - now) / 2)
        touches: list[Touch] = []
        for key in keys:
            if self._spent(done):
                break
            done.seen.add(key)
            if key not in jobs:
                continue
            done.looked += 1
            job = jobs[key]
            if job and job.next_check_at is not None:
                late = (self._now() - job.next_check_at).total_seconds()
                done.overdue = max(done.overdue, round(late, 3))
            if job is None:
                self._transitions.postpone(key, until=self._now() + self._timing.live_check_limit)
            elif job.next_check_at is not None and job.next_check_at <= self._now():
                touch = self._check(job, done)
                touches += [touch] if touch else []
        if touches:
            self._transitions.touch_all(touches)

    def _check(self, job: Job, done: Round) -> Touch | None:
        """Do what is owed to one job. What is to be set on a job that did not move is returned."""
        planned = Touch(job, next_check_at=self._now() + self._follower.spacing(job))
        touch: Touch | None
        row = job
        try:
            with checking(job):
                if done.is_left_over(job):
                    self._transitions.touch(planned)
                    row = replace(job, next_check_at=planned.next_check_at)
                if job.status is JobStatus.PENDING:
                    touch = self._pending(job, done, planned)
                else:
                    touch = self._in_batch(job, done)
        except Exception:  # noqa: BLE001 - it is logged
            # One row that can't be repaired must not stop the others, nor come first each time.
            done.failed += 1
            emit(LogEvent.CHECK_FAILED, "check failed", key=job.key, attempt=job.attempt, error=True)
            touch = self._later(job, self._timing.live_check)
        if touch is None or (touch is planned and row is not job):
            return None
        return replace(touch, job=row)

    def _in_batch(self, job: Job, done: Round) -> Touch | None:
        parent = _parent(job)
        if done.batch_failures[parent] >= _MOST_FAILURES:
            return self._later(job, self._timing.live_check)
        done.checks += 1
        with self._counting(parent, done):
            if job.status.final:
                self._follower.settle(job)
                return None
            record = done.listings.record(job)
            if record is None:
                record = self._batch.get(batch_name(job))
        if record is not None and record.state is BatchState.FAILED:
            # Why it failed is listed task by task. That may take long, and says nothing of other jobs.
            parent = f"{parent}, tasks"
            if done.batch_failures[parent] >= _MOST_FAILURES:
                return self._later(job, self._timing.live_check)
        with self._counting(parent, done):
            decision = self._follower.follow(job, record, Actor.RECONCILER)
        return None if isinstance(decision, Applied) else self._follower.waiting(job, record)

    @contextmanager
    def _counting(self, parent: str, done: Round) -> Iterator[None]:
        began = self._now()
        try:
            yield
        except Unavailable:
            done.batch_failures[parent] += self._weight(began)
            raise
        done.batch_failures[parent] = 0

    def _pending(self, job: Job, done: Round, planned: Touch) -> Touch:
        """Publish it, if it may be; `planned` is what is set if that was all."""
        if self._switches.dispatch_paused():
            return self._follower.paused(job)
        if done.published >= _MOST_PUBLISHED:
            ticks = self._timing.pending_check_limit // self._timing.tick
            turn = done.over_cap // _MOST_PUBLISHED % max(ticks, 1)
            done.over_cap += 1
            return Touch(job=job, next_check_at=self._now() + self._timing.tick * (turn + self._jitter()))
        if done.publish_failures < _MOST_FAILURES:
            began = self._now()
            if self._publish(JobMessage.of(job)):
                _say_repeated(job)
                done.published += 1
                done.publish_failures = 0
                return planned
            done.publish_failures += self._weight(began)
        return self._later(job, self._timing.pending_check)

    def _weight(self, began: datetime) -> int:
        """How much a call that failed counts."""
        return _MOST_FAILURES if self._now() - began > _SLOW else 1

    def _later(self, job: Job, wait: timedelta) -> Touch:
        return Touch(job=job, next_check_at=self._now() + wait * (1 + self._jitter()))


def _say_repeated(job: Job) -> None:
    """A retry is published when its backoff is over; anything else should have been started by now."""
    planned = job.not_before is not None and job.not_before == job.next_check_at
    emit(
        LogEvent.JOB_MESSAGE_REPEATED,
        "the job's backoff is over: it is published" if planned else "the job is published again",
        key=job.key,
        attempt=job.attempt,
        planned=planned,
    )
    if not planned:
        tracing.count(Metric.REPAIRS, {Attribute.REPAIR: "message"})


def _parent(job: Job) -> str:
    """Where the job is in Batch: its project and region."""
    return (job.gcp_batch_job_name or "").rpartition("/jobs/")[0] or job.batch_parent or ""
