"""Following jobs by asking for them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from jennah.answers import Job
from jennah.connection import ApiError
from jennah.job_fields import checked_id

_FIRST_POLL, _LONGEST_POLL = 0.2, 3.0


def watched(
    get_job: Callable[[str], Job],
    job_ids: Sequence[str],
    on_missing: Callable[[str, ApiError], None] | None = None,
) -> Iterator[Job]:
    """Give each job as it is, again whenever it changed, and last in its final status.

    Args:
        get_job: asks for one.
        job_ids: the jobs; the first look at them goes in this order.
        on_missing: is told of a job that there is not, or no longer, and of the 404; without it that is
            raised.

    Raises:
        ApiError: the server refused.
        ValueError: an id can't be one; none was asked for.
    """
    live = [checked_id(job_id) for job_id in dict.fromkeys(job_ids)]
    known: dict[str, Job] = {}
    pause = _FIRST_POLL
    while live:
        for job_id in tuple(live):
            try:
                job = get_job(job_id)
            except ApiError as error:
                if on_missing is None or error.code != "NOT_FOUND":
                    raise
                live.remove(job_id)
                on_missing(job_id, error)
                continue
            if job != known.get(job_id):
                known[job_id], pause = job, _FIRST_POLL
                yield job
            if job.is_final:
                live.remove(job_id)
        if live:
            time.sleep(pause)
            pause = min(pause * 1.3, _LONGEST_POLL)
