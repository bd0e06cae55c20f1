"""A job's audit trail as it grows, for streams."""

from __future__ import annotations

from collections.abc import Sequence

from shared.api.answers import TransitionAnswer
from shared.errors import NotFound
from shared.job_reads import may_exist
from shared.model import JobKey, JobStatus, Transition
from shared.rows import Reads, is_ours
from shared.streams import Event, News

# More than any job has: retries are few.
_ALL = 100_000


class Trail:
    """A feed of the transitions of one job, each once, that ends once the job is final.

    A look costs 1 RPC; only the first at a job without a history costs 2.

    Args:
        reads: committed rows.
        tenant_id: whose job it is.
        job_id: the id, as it was sent.
        after: the last transition that is known already. One that the job does not have: nothing is known.

    Raises:
        NotFound: when it is asked first, and the tenant has no such job.
    """

    def __init__(self, reads: Reads, tenant_id: str, job_id: str, after: str | None) -> None:
        self._reads = reads
        self._key = JobKey(tenant_id, job_id)
        self._after = after
        self._told = False
        self._look_at_row = False

    def __call__(self) -> News:
        """What has been added."""
        if self._look_at_row:
            self._look_at_row = False
            return self._row()
        history = self._reads.transitions(self._key, after=None, limit=_ALL) if self._may_exist() else []
        if not history and not self._told:
            return self._row()  # one that was adopted without a history, or none at all
        self._told = True
        added = _added(history, self._after)
        if added:
            self._after = added[-1].transition_id
        events = [Event("transition", TransitionAnswer.of(row).shown(), row.transition_id) for row in added]
        last = history[-1] if history else None
        if last is not None and is_ours(last):
            if JobStatus(last.to_status).final:
                return News([*events, end(last.to_status)], ended=True)
        else:  # the history does not tell how the job stands: its row does, in the next look
            self._look_at_row = True
        return News(events)

    def _row(self) -> News:
        job = self._reads.job(self._key) if self._may_exist() else None
        if job is None and not self._told:
            raise NotFound.of_job()
        self._told = True
        if job is None or job.status.final:
            return News([end(job.status if job else None)], ended=True)
        return News()

    def _may_exist(self) -> bool:
        return may_exist(self._key.job_id)


def end(status: str | None) -> Event:
    """The last event of a stream; without a status, the job was deleted meanwhile."""
    return Event("end", {"status": status})


def _added(history: Sequence[Transition], after: str | None) -> Sequence[Transition]:
    start = next((i + 1 for i, row in enumerate(history) if row.transition_id == after), 0)
    return history[start:]
