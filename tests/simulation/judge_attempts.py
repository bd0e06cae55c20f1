"""Whether the row of an attempt tells the truth about what ran in Batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.batch import BatchState
from tests.simulation.batch import BatchJob
from tests.simulation.judge_books import Row
from tests.simulation.world import EPOCH

_INFRASTRUCTURE = {50001, 50002, 50003, 50004, 50006}
# What Batch's reserved codes mean, written down a second time.
_REASONS = dict.fromkeys(_INFRASTRUCTURE, "vm_lost") | {50001: "spot_preemption", 50005: "timeout"}
_FIRST_RESERVED = 50_000
_ROUNDING = timedelta(milliseconds=1)

Cause = tuple[str | None, int | None]


def infrastructure(job: BatchJob) -> bool:
    """Whether neither the tenant's program nor its request is to blame for the end of this Batch job."""
    return job.lost or job.stuck or job.exit_code in _INFRASTRUCTURE


def failure(job: BatchJob) -> tuple[str, int | None]:
    """Why a Batch job failed, and its exit code: it has none if it never ran."""
    if not job.exit_code:
        return "unknown", None
    reserved = "unknown" if job.exit_code >= _FIRST_RESERVED else "user_exit"
    return _REASONS.get(job.exit_code, reserved), job.exit_code


def wrong(row: Row, to: str, name: str, jobs: Sequence[BatchJob], refusals: Sequence[str]) -> str | None:
    """What is not true in the row of an attempt that has just entered a state; None if all of it is.

    Args:
        row: the attempt's.
        to: the state.
        name: what its Batch job is called.
        jobs: every Batch job that it ever had.
        refusals: for what it may have failed without one.
    """
    job = next((job for job in jobs if job.uid == row["BatchUid"]), None)
    if (row["BatchUid"] is None) != (row["GcpBatchJobName"] is None):
        return "it has a uid without a name, or a name without a uid"
    if job is None and row["BatchUid"] is not None:
        return f"there never was a Batch job {row['BatchUid']}"
    if job is not None and row["GcpBatchJobName"] != name:
        return f"its Batch job is not called {row['GcpBatchJobName']}"
    cause = row["Reason"], row["ExitCode"]
    allowed = _allowed(to, job, refusals)
    if cause not in allowed:
        return f"it ended with {cause}, not with {' or '.join(map(str, allowed))}"
    if (
        job is not None
        and not job.lost
        and to in {"COMPLETED", "FAILED"}
        and (found := _missing_times(row, job))
    ):
        return found
    return wrong_times(row, jobs)


def _allowed(to: str, job: BatchJob | None, refusals: Sequence[str]) -> list[Cause]:
    """With which reasons and exit codes an attempt may enter this state."""
    if to == "CANCELLED":
        return [("cancelled", None)]
    if to != "FAILED":
        # One that was given up may still run.
        return [(None, None), *([("queue_timeout", None)] if to != "COMPLETED" and job and job.stuck else [])]
    if job is None:
        return [(reason, None) for reason in refusals]
    causes: list[Cause] = []
    if job.state is BatchState.FAILED:
        causes.append(failure(job))
        if job.lost:  # between the look at it and the one at its tasks
            causes.append(("unknown", None))
    if job.lost:
        causes.append(("vanished", None))
    if job.stuck:
        causes.append(("queue_timeout", None))
    return causes


def wrong_times(row: Row, jobs: Sequence[BatchJob]) -> str | None:
    """Which of the times in an attempt's row is not Batch's own; None if none is."""
    # What was cancelled outside before it was SCHEDULED here ended, and has no uid in its row.
    mine = [job for job in jobs if row["BatchUid"] in (job.uid, None)]
    began, ended = [job.started for job in mine], [job.ended for job in mine]
    for said, true, what in ((row["StartedAt"], began, "began"), (row["FinishedAt"], ended, "ended")):
        if said is not None and not any(at is not None and abs(said - _time(at)) <= _ROUNDING for at in true):
            return f"it says that it {what} at {said}, which is not when it did"
    return None


def _missing_times(row: Row, job: BatchJob) -> str | None:
    if row["FinishedAt"] is None:
        return "it does not say when it ended"
    # Batch has no figure for one that ended as it began.
    ran = job.ended is not None and job.started is not None and job.ended - job.started > 1
    return "it does not say when it began" if ran and row["StartedAt"] is None else None


def _time(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
