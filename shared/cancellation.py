"""Cancelling a job, for whoever may."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import FailedPrecondition, NotFound
from shared.events import Cancelled
from shared.lifecycle import Applied, Duplicate, Stale
from shared.lifecycle import NotFound as NoSuchJob
from shared.messages import JobMessage
from shared.model import Actor, Job, JobKey
from shared.transitions import Transitions


class Cancellation:
    """Ends jobs that are not wanted any more.

    Args:
        transitions: the one writer of jobs.
        publish: sends a message to topic `jobs`. It may fail: reconciliation looks at the job as well.
    """

    def __init__(self, transitions: Transitions, publish: Callable[[JobMessage], object]) -> None:
        self._transitions = transitions
        self._publish = publish

    def cancel(self, key: JobKey, *, reason: str) -> Job:
        """Cancel a job. Whatever it left in Batch is stopped by the scheduling function, and checked later.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: it is COMPLETED or FAILED already.
        """
        decision = self._transitions.apply(key, Cancelled(reason=reason), Actor.TENANT)
        match decision:
            case NoSuchJob():
                raise NotFound.of_job()
            case Stale(job=job):
                raise FailedPrecondition(
                    f"The job is {job.status} already: only a live job can be cancelled."
                )
            case Applied(job=job) | Duplicate(job=job):
                if job.next_check_at is not None:
                    self._publish(JobMessage.of(job))
                return job
