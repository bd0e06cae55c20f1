"""Reconciliation: looks at jobs whose check time has come, and so heals whatever messages lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from shared.batch import batch_name
from shared.config import Timing
from shared.follow import Batch, Follower
from shared.lifecycle import Applied
from shared.messages import JobMessage, Tick
from shared.model import Actor, Job, JobKey, JobStatus
from shared.rows import Reads
from shared.transitions import Transitions

_logger = logging.getLogger(__name__)

# Bounds one tick's work, so that it ends well before the function's timeout.
_MOST_PER_TICK = 200


class Reconciliation:
    """Drives every job that is owed a check, by the same steps as the functions do.

    Args:
        transitions: the one writer of jobs.
        reads: committed rows.
        batch: GCP Batch.
        follower: what Batch's record means for a job.
        publish: sends a message to topic `jobs`; may fail silently.
        timing: how long to wait for what.
        now: the clock.
    """

    def __init__(
        self,
        *,
        transitions: Transitions,
        reads: Reads,
        batch: Batch,
        follower: Follower,
        publish: Callable[[JobMessage], object],
        timing: Timing,
        now: Callable[[], datetime],
    ) -> None:
        self._transitions = transitions
        self._reads = reads
        self._batch = batch
        self._follower = follower
        self._publish = publish
        self._timing = timing
        self._now = now

    def reconcile(self, tick: Tick) -> int:
        """Look at the jobs that are due. A tick older than its interval is dropped: the next one is near.

        Returns:
            How many jobs were looked at.
        """
        if self._now() - tick.published_at > self._timing.tick:
            return 0
        # A Batch that answers slowly must not keep this tick past the function's timeout.
        end = self._now() + self._timing.function_timeout / 2
        looked = 0
        for key in self._reads.due(self._now(), _MOST_PER_TICK):
            try:
                self.check(key)
            except Exception:
                # One row that can't be repaired, or read, must not stop the others, nor come first each time.
                _logger.exception("check failed", extra={"job": key.job_id})
                self._transitions.postpone(key, until=self._now() + self._timing.live_check)
            looked += 1
            if self._now() > end:
                break
        return looked

    def check(self, key: JobKey) -> None:
        """Do what is owed to one job, by what Batch says of it.

        Raises:
            Unavailable: try again later.
        """
        job = self._reads.job(key)
        if job is None or job.next_check_at is None or job.next_check_at > self._now():
            return
        if job.status.final:
            self._follower.settle(job)
        elif job.status is JobStatus.PENDING:
            self._publish(JobMessage(key, job.attempt))
            self._postpone(job)
        else:
            record = self._batch.get(batch_name(job))
            decision = self._follower.follow(job, record, Actor.RECONCILER)
            if not isinstance(decision, Applied):
                self._postpone(job)

    def _postpone(self, job: Job) -> None:
        if job.next_check_at is not None:
            self._transitions.touch(job, next_check_at=self._now() + self._follower.spacing(job))
