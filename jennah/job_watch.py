"""Following jobs by asking for them again."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence

from jennah.answers import Job
from jennah.connection import ApiError
from jennah.job_fields import checked_id

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
_GROWTH = 1.3
# Between two looks at any jobs: who watches 100 of them sees each every 5 s.
_LEAST_SECONDS = 1 / 20


def watched(
    get_job: Callable[[str], Job],
    job_ids: Sequence[str],
    on_missing: Callable[[str, ApiError], None] | None = None,
) -> Iterator[Job]:
    """Give each job as it is, again whenever it changed, and last in its final status.

    Each job has a pause of its own, which grows while nothing changes. After the first look at all of them
    there are at most 20 looks a second, however many jobs they are.

    Args:
        get_job: asks for one.
        job_ids: the jobs; the first look at them goes in this order.
        on_missing: is told of a job that there is not, or no longer, and of the 404; without it that is
            raised.

    Raises:
        ApiError: the server refused.
        ValueError: an id can't be one; none was asked for.
    """
    ids = [checked_id(job_id) for job_id in dict.fromkeys(job_ids)]
    known: dict[str, Job] = {}
    pauses = dict.fromkeys(ids, _FIRST_PAUSE)
    # When each is due: first all at once, in their order.
    due = [(0.0, number, job_id) for number, job_id in enumerate(ids)]
    looked = 0.0
    while due:
        at, number, job_id = heapq.heappop(due)
        if at:
            time.sleep(max(0.0, max(at, looked + _LEAST_SECONDS) - time.monotonic()))
        looked = time.monotonic()
        try:
            job = get_job(job_id)
        except ApiError as error:
            if on_missing is None or error.code != "NOT_FOUND":
                raise
            on_missing(job_id, error)
            continue
        if job != known.get(job_id):
            known[job_id], pauses[job_id] = job, _FIRST_PAUSE
            yield job
        if not job.is_final:
            heapq.heappush(due, (time.monotonic() + pauses[job_id], number, job_id))
            pauses[job_id] = min(pauses[job_id] * _GROWTH, _LONGEST_PAUSE)
