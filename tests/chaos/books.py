"""Books that must agree: what clients were told, what Batch ran, what the database and the log say.

Only the last two are the platform's own opinion of itself, and they are read directly. Whether the database
agrees with itself is for `jennah check` to say, which is run as operators do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import grpc
from google.cloud import batch_v1
from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport
from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_jobs import LIVE, JobState
from jennah.local.batch_runner import Run
from shared.batch_ids import parse_batch_id
from shared.model import Attempt, Job, JobKey, JobStatus, Transition
from shared.rows import ATTEMPT_COLUMNS, JOB_COLUMNS, TRANSITION_COLUMNS, job_from_row
from tests.chaos.load import Kind, Submission
from tests.chaos.retold import Output, differences, retell

_KILLED = 128  # exit codes from here on are signals, by which alone Batch ends what it cancels
_AT_WORK = LIVE | {JobState.CANCELLATION_IN_PROGRESS, JobState.DELETION_IN_PROGRESS}


class Wrong(StrEnum):
    """How the books can disagree."""

    LOST = "lost"
    RUN_TWICE = "run twice"
    OTHER_END = "ended otherwise"
    STILL_RUNS = "still runs"
    BROKEN_RECORD = "record broken"
    TOLD_OTHERWISE = "told otherwise"
    TOO_HARMLESS = "too harmless"


@dataclass(frozen=True, slots=True)
class Offence:
    """One disagreement.

    `job` is the id that finds the job, or the key where it has none; where a fault was missing, its name;
    "output" for a line.
    """

    wrong: Wrong
    job: str
    what: str

    def __str__(self) -> str:
        return f"{self.wrong}: {self.job}: {self.what}"


@dataclass(frozen=True, slots=True)
class Row:
    """All that the database holds of one job."""

    job: Job
    history: Sequence[Transition]
    attempts: Mapping[int, Attempt]


def read_rows(database: Database) -> list[Row]:
    """Every job of the database, as one snapshot shows it."""
    with database.snapshot(multi_use=True) as snapshot:
        jobs = [
            job_from_row(row) for row in snapshot.read("Jobs", [*JOB_COLUMNS.values()], KeySet(all_=True))
        ]
        history: dict[JobKey, list[Transition]] = defaultdict(list)
        columns = ["TenantId", "JobId", *TRANSITION_COLUMNS.values()]
        for tenant, job, *row in snapshot.read("JobStateTransitions", columns, KeySet(all_=True)):
            history[JobKey(tenant, job)].append(Transition(**dict(zip(TRANSITION_COLUMNS, row, strict=True))))
        attempts: dict[JobKey, dict[int, Attempt]] = defaultdict(dict)
        columns = ["TenantId", "JobId", *ATTEMPT_COLUMNS.values()]
        for tenant, job, *row in snapshot.read("JobAttempts", columns, KeySet(all_=True)):
            attempt = Attempt(**dict(zip(ATTEMPT_COLUMNS, row, strict=True)))
            attempts[JobKey(tenant, job)][attempt.attempt] = attempt
    return [Row(job, history[job.key], attempts[job.key]) for job in jobs]


def batch_states(address: str, parent: str) -> dict[str, JobState]:
    """All Batch jobs by name, with their state."""
    with grpc.insecure_channel(address) as channel:
        client = batch_v1.BatchServiceClient(transport=BatchServiceGrpcTransport(channel=channel))
        return {
            job.name: JobState(job.status.state)
            for job in client.list_jobs(batch_v1.ListJobsRequest(parent=parent, page_size=1000))
        }


def at_work(states: Mapping[str, JobState]) -> bool:
    """Whether any Batch job runs, or may yet."""
    return any(state in _AT_WORK for state in states.values())


def owed(database: Database, states: Mapping[str, JobState]) -> bool:
    """Whether any job with a Batch job is still to be looked at: only then its last event is known."""
    made = {parse_batch_id(name) for name in states}
    with database.snapshot() as snapshot:
        sql = "SELECT TenantId, JobId, Attempt FROM Jobs WHERE NextCheckAt IS NOT NULL"
        return any((JobKey(*key), attempt) in made for *key, attempt in snapshot.execute_sql(sql))


def checked(env: Mapping[str, str]) -> list[Offence]:
    """What `jennah check` finds in the database that these settings name.

    Raises:
        OSError: the command found no fault, and failed.
    """
    command = [sys.executable, "-c", "from jennah.cli import main; main()", "check", "--json"]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    offences = [
        Offence(Wrong.BROKEN_RECORD, line["job_id"], line["violation"]) for line in found if "job_id" in line
    ]
    if done.returncode and not offences:
        raise OSError(f"`jennah check` failed: {done.stderr.strip()}")
    return offences


def told_otherwise(output: Output, rows: Sequence[Row]) -> Iterator[Offence]:
    """Where the lines of the functions tell another history than the database holds."""
    stored = {row.job.key: row.history for row in rows}
    for key, why in differences(retell(output), stored):
        yield Offence(Wrong.TOLD_OTHERWISE, key.job_id, why)


def unexplained(output: Output, kills: int) -> Iterator[Offence]:
    """Lines that are no JSON though nobody was killed over them: of each kill one may be left, cut off."""
    strange = [line for line in output.torn if not line.startswith("{")]
    for line in strange or output.torn[kills:]:
        yield Offence(Wrong.TOLD_OTHERWISE, "output", f"is no JSON: {line[:80]}")


def compare(
    submissions: Sequence[Submission],
    rows: Sequence[Row],
    runs: Sequence[Run],
    states: Mapping[str, JobState],
) -> Iterator[Offence]:
    """Where the books disagree, once everything should have ended.

    Args:
        submissions: the clients' journal.
        rows: the database.
        runs: the ledger of the local Batch service.
        states: all Batch jobs, with their state.
    """
    by_id = {row.job.job_id: row for row in rows}
    exit_codes: dict[JobKey, dict[int, list[int | None]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        key, attempt = parse_batch_id(run.job)
        exit_codes[key][attempt].append(run.exit_code)
    by_attempt = {parse_batch_id(name): state for name, state in states.items()}
    for submission in submissions:
        yield from _judge_promise(submission, by_id)
    acknowledged = {job_id for submission in submissions for job_id in submission.job_ids}
    for row in rows:
        if row.job.job_id not in acknowledged:
            yield Offence(Wrong.RUN_TWICE, row.job.job_id, "a job that no client was told of")
        codes = exit_codes.pop(row.job.key, {})
        yield from _judge_runs(row, codes)
        if row.job.status is JobStatus.CANCELLED:
            of_last = row.job.attempt
            state = by_attempt.get((row.job.key, of_last))
            yield from _judge_late_end(row, state, codes.get(of_last, ()))
    for key in exit_codes:
        yield Offence(Wrong.BROKEN_RECORD, key.job_id, "Batch ran it, and the database does not know it")
    for name, state in states.items():
        if state in _AT_WORK:
            yield Offence(Wrong.STILL_RUNS, parse_batch_id(name)[0].job_id, f"{name} is {state.name}")


def _judge_promise(submission: Submission, rows: Mapping[str, Row]) -> Iterator[Offence]:
    """What the client was told must be so."""
    ids = set(submission.job_ids)
    if not ids:
        yield Offence(Wrong.LOST, submission.key, "never acknowledged")
        return
    if len(ids) > 1:
        yield Offence(Wrong.RUN_TWICE, min(ids), f"one key gave {len(ids)} jobs: {', '.join(sorted(ids))}")
    for job_id in ids:
        row = rows.get(job_id)
        if row is None:
            yield Offence(Wrong.LOST, job_id, "acknowledged, and not in the database")
        elif not row.job.status.final:
            yield Offence(Wrong.LOST, job_id, f"stays {row.job.status}, next check {row.job.next_check_at}")
        elif problem := _other_end(submission, row.job):
            yield Offence(Wrong.OTHER_END, job_id, f"{submission.kind}: {problem}")


def _other_end(submission: Submission, job: Job) -> str | None:
    if submission.cancelled:
        return None if job.status is JobStatus.CANCELLED else f"cancelled, yet {job.status}"
    status, attempt = {
        Kind.QUICK: (JobStatus.COMPLETED, 1),
        Kind.SLEEPS: (JobStatus.COMPLETED, 1),
        Kind.FAILS_ONCE: (JobStatus.COMPLETED, 2),
        Kind.ALWAYS_FAILS: (JobStatus.FAILED, 2),
        Kind.NEVER_ENDS: (JobStatus.CANCELLED, 1),
    }[submission.kind]
    expected = (status, attempt, attempt - 1)
    found = (job.status, job.attempt, job.retry_count)
    if found == expected:
        return None
    return "{} in attempt {} after {} retries".format(*found) + f" ({job.error_message})"


def _judge_runs(row: Row, exit_codes: Mapping[int, Sequence[int | None]]) -> Iterator[Offence]:
    """Each attempt of the row ran once, and nothing else did."""
    job = row.job
    for attempt, codes in exit_codes.items():
        if len(codes) > 1:
            yield Offence(Wrong.RUN_TWICE, job.job_id, f"attempt {attempt} ran {len(codes)} times")
        if attempt not in row.attempts or attempt > job.attempt:
            yield Offence(Wrong.BROKEN_RECORD, job.job_id, f"attempt {attempt} ran, and is not recorded")
    for number, attempt_row in row.attempts.items():
        ran = exit_codes.get(number, ())
        if number < job.attempt or job.status is JobStatus.FAILED:
            expected = attempt_row.exit_code
        elif job.status is JobStatus.COMPLETED:
            expected = 0
        else:
            continue  # cancelled: it may have run or not
        if expected is not None and expected not in ran:
            yield Offence(
                Wrong.BROKEN_RECORD,
                job.job_id,
                f"attempt {number} ended with {expected} by the database, in Batch's ledger: {list(ran)}",
            )


def _judge_late_end(row: Row, state: JobState | None, exit_codes: Sequence[int | None]) -> Iterator[Offence]:
    """What ended by itself although its job was cancelled is the attempt's last ignored event; else none is.

    Args:
        row: of a cancelled job.
        state: of its last attempt's Batch job; None: there was none.
        exit_codes: of the processes that the ledger has for that attempt.
    """
    job = row.job
    by_itself = [code for code in exit_codes if code is not None and code < _KILLED]
    end = (JobState.FAILED if any(by_itself) else JobState.SUCCEEDED) if by_itself else None
    # A process may end by itself while Batch cancels it.
    if state not in {end, JobState.CANCELLED}:
        shown = state and state.name
        what = f"attempt {job.attempt} is {shown} in Batch, and ended with {[*exit_codes]} in its ledger"
        yield Offence(Wrong.BROKEN_RECORD, job.job_id, what)
    expected = f"{end.name} came after CANCELLED" if end and state is end else None
    attempt = row.attempts.get(job.attempt)
    noted = attempt.last_ignored if attempt else None
    if noted != expected:
        what = (
            f"attempt {job.attempt} was cancelled, and its last ignored event is {noted!r}, not {expected!r}"
        )
        yield Offence(Wrong.BROKEN_RECORD, job.job_id, what)
