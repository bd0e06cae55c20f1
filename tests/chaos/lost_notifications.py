"""How long a job waits when no notification of Batch ever arrives, measured on real processes.

    python -m tests.chaos.lost_notifications --jobs 200 [--keep]

Production's times (`shared.config.Timing`) and the jobs' own are scaled down alike: a tick and a check each
minute become one every 3 s, a job that runs under a minute one under 3 s. Production's bounds shrink with
them: detection, from Batch's end to the job's, 120 s to 6 s; repair, from submission to the job's end, 240 s
to 12 s. What does not shrink is the work itself (RPCs, the start of a process, a machine shared with others):
nothing is granted for it. The last line is the figure; the exit code is 1 if a bound was broken.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from jennah.client import Client
from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_runner import Run, read_ledger
from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port
from jennah.local.tokens import fetch_token
from jennah.render import show
from shared.batch_ids import parse_batch_id
from shared.config import Timing
from shared.model import Actor, JobKey, JobStatus
from tests.chaos.books import Row, read_rows
from tests.chaos.scene import Progress, RunFailed, count_jobs, open_database, run_in_folder

_SCALE: Final = 20
_DETECTION, _REPAIR = 120 / _SCALE, 240 / _SCALE
_LONGEST_RUN: Final = 60 / _SCALE
_SECONDS_BETWEEN_SUBMISSIONS: Final = 0.1
_PATIENCE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Wait:
    """What one job waited, in seconds: from Batch's end to its own, and from its submission to its end."""

    job_id: str
    detection: float
    repair: float


def scaled_settings() -> dict[str, str]:
    """Production's times, made short."""
    timing = Timing()
    return {
        f"JENNAH_{name.upper()}_SECONDS": str(getattr(timing, name).total_seconds() / _SCALE)
        for name in ("tick", "pending_check", "live_check", "unconfirmed_check", "retry_base")
    }


def measure(folder: Path, jobs: int, progress: Progress) -> str:
    """Run the jobs; return the figure.

    Raises:
        RunFailed: a job was not repaired, or not in time.
    """
    progress.phase("starting a local cloud")
    with LocalCloud(folder, free_port(), settings=scaled_settings()) as cloud:
        database = open_database(cloud)
        with BatchFaults(cloud.address_of("batch")) as faults:
            dropped = faults.drop()
            progress.phase(f"submitting {jobs} jobs, every notification dropped")
            _submit(cloud, jobs, progress)
            progress.phase("waiting for reconciliation")
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while (final := count_jobs(database)[0]) < jobs:
                if time.monotonic() > deadline:
                    raise RunFailed(f"{jobs - final} of {jobs} jobs were not repaired.")
                progress.update({"final": final, "dropped": dropped.acted()})
                time.sleep(_POLL_SECONDS)
            lost = dropped.acted()
        runs = read_ledger(Path(cloud.env["JENNAH_BATCH_DIRECTORY"]))
        waits = _waits(read_rows(database), runs)
    if len(waits) < jobs:
        raise RunFailed(f"{jobs - len(waits)} of {jobs} jobs are missing in the database.")
    return _verdict(waits, f"{jobs} jobs, {lost} notifications lost, {_at_once(runs)} tasks at once")


def _submit(cloud: LocalCloud, jobs: int, progress: Progress) -> None:
    env = cloud.env
    token = fetch_token(env["JENNAH_ISSUER_URL"], "ann@example.com", env["JENNAH_AUDIENCE"])
    choose = random.Random(0)
    with Client(env["JENNAH_URL"], token) as client:
        began = time.monotonic()
        for number in range(jobs):
            client.submit_job("busybox", ["sleep", f"{choose.uniform(0, _LONGEST_RUN):.2f}"])
            progress.update({"submitted": number + 1})
            next_one = began + (number + 1) * _SECONDS_BETWEEN_SUBMISSIONS
            time.sleep(max(0.0, next_one - time.monotonic()))


def _waits(rows: Sequence[Row], runs: Sequence[Run]) -> list[Wait]:
    """What each job waited.

    Raises:
        RunFailed: a job did not end as it should, or not by reconciliation.
    """
    ended: dict[JobKey, datetime] = {
        parse_batch_id(run.job)[0]: datetime.fromisoformat(run.end) for run in runs
    }
    waits = []
    for row in rows:
        job, last = row.job, row.history[-1]
        if job.status is not JobStatus.COMPLETED or last.actor != Actor.RECONCILER:
            raise RunFailed(f"{job.job_id} became {job.status} by {last.actor}: {last.reason}.")
        if job.completed_at is None or job.created_at is None:
            raise RunFailed(f"{job.job_id} is {job.status} without its times.")
        waits.append(
            Wait(
                job.job_id,
                (job.completed_at - ended[job.key]).total_seconds(),
                (job.completed_at - job.created_at).total_seconds(),
            )
        )
    return waits


def _verdict(waits: Sequence[Wait], what: str) -> str:
    detection, repair = [wait.detection for wait in waits], [wait.repair for wait in waits]
    figure = (
        f"{what}: detection {_spread(detection)} (bound {_DETECTION:.0f} s), "
        f"repair {_spread(repair)} (bound {_REPAIR:.0f} s), all times 1/{_SCALE}"
    )
    late = [wait.job_id for wait in waits if wait.detection > _DETECTION or wait.repair > _REPAIR]
    if late:
        raise RunFailed(f"{figure}; {len(late)} too late: {', '.join(late[:5])}")
    return figure


def _spread(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s"


def _at_once(runs: Sequence[Run]) -> int:
    """The most processes that ran side by side: below the service's limit none had to queue."""
    changes = sorted([(run.start, 1) for run in runs] + [(run.end, -1) for run in runs])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.lost_notifications", description="Reconciliation alone, measured."
    )
    parser.add_argument("--jobs", type=int, default=200, help="how many to submit (default: 200)")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the cloud")
    chosen = parser.parse_args()
    if chosen.jobs < 1:
        parser.error("--jobs must be at least 1")

    def body(folder: Path, console: Console) -> str:
        with Progress(console) as progress:
            figure = measure(folder, chosen.jobs, progress)
        show(console, Text("every job was repaired in time"))
        return figure

    return run_in_folder("lost notifications", body, keep=chosen.keep, seconds=180 + chosen.jobs)


if __name__ == "__main__":
    sys.exit(main())
