"""The judge of rows: whether what a commit wrote is a true step, and whether what is owed is still owed.

Its rules are DESIGN §3, written down a second time and apart from the code that is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from shared.batch import BatchState
from shared.model import JobKey
from tests.simulation import judge_attempts
from tests.simulation.batch import BatchJob
from tests.simulation.judge_attempts import failure, infrastructure
from tests.simulation.judge_books import FINAL, Books, Key, Row
from tests.simulation.judge_retries import wrong_backoff
from tests.simulation.pubsub import SKEW
from tests.simulation.store import Change
from tests.simulation.store_schema import load
from tests.simulation.world import EPOCH

_COLUMNS = {name: tuple(table.columns) for name, table in load().items()}
# The diagram of DESIGN §2, written down a second time.
_STEPS = {
    (None, "PENDING"),
    ("PENDING", "SCHEDULED"),
    ("PENDING", "FAILED"),
    ("PENDING", "CANCELLED"),
    ("SCHEDULED", "RUNNING"),
    ("SCHEDULED", "FAILED"),
    ("SCHEDULED", "CANCELLED"),
    ("RUNNING", "COMPLETED"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "CANCELLED"),
    ("FAILED", "PENDING"),
}
# How an attempt may end in Batch, and the state that stands for it.
_ENDS = {"SUCCEEDED": "COMPLETED", "FAILED": "FAILED", "CANCELLED": "CANCELLED"}
_TIMES = ("CreatedAt", "ScheduledAt", "StartedAt", "CompletedAt", "UpdatedAt")
# A live job is looked at every half an hour at least, and clocks are off.
_LONGEST_CHECK = timedelta(minutes=34)
_SKEW = timedelta(seconds=SKEW)
# So long, at most, a job waits for another look while dispatch is paused.
_PAUSED = timedelta(minutes=5) + _SKEW
# Since when a job must have waited that was given up because no Batch job could be made.
_MAX_AGE = timedelta(days=2) - _SKEW
# So that a tick a minute later finds it due, whatever this one still takes.
_FIRST_CHECK = timedelta(seconds=45)
_IN_BATCH = ("SCHEDULED", "RUNNING")
_MUTABLE_WHEN_FINAL = {"NextCheckAt"}


@dataclass
class RowJudge(Books):
    """Looks after every applied commit."""

    _asked: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    _stored: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def asked(self, tenant_id: str, idempotency_key: str | None) -> None:
        """A client sends a submission; with a key, all of them are one."""
        if idempotency_key is None or not self._asked[tenant_id, idempotency_key]:
            self._asked[tenant_id, idempotency_key] += 1

    def committed(self, changes: Sequence[Change]) -> None:
        """Look at what a commit changed."""
        over: list[tuple[Key, Row]] = []
        ignored: list[Key] = []
        for change in changes:
            if change.table == "JobStateTransitions":
                self._keep(self.steps, change)
            elif change.table == "JobAttempts":
                before = self.attempts.get(change.key)
                if change.key in self.ended and change.after is not None:
                    over.append((change.key, self.attempts[change.key]))
                self._keep(self.attempts, change)
                now = self.attempts.get(change.key)
                if now and now["LastIgnored"] and (not before or before["LastIgnored"] != now["LastIgnored"]):
                    ignored.append(change.key)
        for change in changes:
            if change.table == "Jobs":
                self._job_changed(JobKey(*change.key), change)
        for key, before in over:
            self._ended_changed(key, before)
        for key in ignored:
            self._ignored_is_true(key)

    def _keep(self, kept: dict[Key, Row], change: Change) -> None:
        if change.after is None:
            kept.pop(change.key, None)
        else:
            kept[change.key] = _named(change)

    def _ended_changed(self, key: Key, before: Row) -> None:
        """Whether an attempt that is over learned no more than a late event, or when it ended in Batch."""
        row, job_key, attempt = self.attempts[key], JobKey(*key[:2]), key[2]
        learned = {name for name in ("StartedAt", "FinishedAt") if before[name] is None}
        for column, value in row.items():
            if column != "LastIgnored" and column not in learned and value != before[column]:
                self.fail(job_key, f"attempt {attempt} was over, and its {column} changed")
        if found := judge_attempts.wrong_times(row, self.truths(job_key, attempt)):
            self.fail(job_key, f"the row of attempt {attempt} is not true: {found}")

    def _ignored_is_true(self, key: Key) -> None:
        """Whether the last event that changed nothing is one that somebody told of, and came too late."""
        row, job_key, attempt = self.attempts[key], JobKey(*key[:2]), key[2]
        said = row["LastIgnored"]
        job = self.rows.get(job_key)
        if job is None:
            return
        came, _, after = said.partition(" came after ")
        was = job["Status"] if job["Attempt"] == attempt else f"FAILED ({row['Reason']})"
        truths = self.truths(job_key, attempt)
        told = any(truth.state == came or (truth.uid, came) in self.said for truth in truths)
        if after != was or came not in _ENDS or _ENDS[came] == was or not told:
            self.fail(job_key, f"attempt {attempt} says {said!r}, and that is not true")

    def _job_changed(self, key: JobKey, change: Change) -> None:
        before = self.rows.get(key)
        if change.after is None:
            self.rows.pop(key, None)
            self.checks.pop(key, None)
            self.moved_at[key] = self.world.time
            if before is not None:
                self.left_at.setdefault((key, before["Attempt"]), self.world.time)
            return
        row = self.rows[key] = _named(change)
        check = row["NextCheckAt"]
        self.checks[key] = None if check is None else (check - EPOCH).total_seconds()
        if self.world.trace is not None:
            self.world.note(f"{key.job_id[:4]} {row['Status']} v{row['Version']} attempt {row['Attempt']}")
        if before is None:
            of = key.tenant_id, row["IdempotencyKey"]
            self._stored[of] += 1
            if self._stored[of] > self._asked[of]:
                self.fail(key, "nobody asked for it")
        version = before["Version"] if before else 0
        if row["Version"] < version:
            self.fail(key, "its version went back")
        if before is not None and version == row["Version"]:
            self._touched(key, before, row)
        else:
            self._moved(key, before, row)
        self._owed(key, row)

    def _moved(self, key: JobKey, before: Row | None, row: Row) -> None:
        """Whether the new audit rows lead from the row before to this one, by true steps."""
        status = before["Status"] if before else None
        self.moved_at[key] = self.world.time
        entered: dict[int, str] = {}
        if status in FINAL:
            self.fail(key, f"it was {status}, and changed")
        for number in range(before["Version"] + 1 if before else 1, row["Version"] + 1):
            step = self._step(key, number, status)
            self._true(key, row, step, before)
            status = step["ToStatus"]
            if status != "PENDING":
                entered[step["Attempt"]] = status
            if status == "FAILED":
                self._policy_is_kept(key, row, step["Attempt"], ended=number == row["Version"])
            elif status == "PENDING":
                self._waits(key, row)
        if status != row["Status"]:
            self.fail(key, f"the row is {row['Status']}, its history {status}")
        for attempt, to in entered.items():
            self._attempt_is_true(key, attempt, to, row)
        # A commit that comes late is nobody's any more: its process may have had another clock.
        skew = timedelta() if self.world.process else _SKEW
        if row["Status"] in _IN_BATCH and row["NextCheckAt"] > self.world.now() + _FIRST_CHECK + skew:
            self.fail(key, "the next tick will miss it: its check is due too late for that")
        self._times_are_in_order(key, row)

    def _waits(self, key: JobKey, row: Row) -> None:
        """Whether a job that is new, or to be tried again, waits for as long as it is to."""
        self.retries_due[key, row["Attempt"]] = row["NotBefore"]
        if row["Attempt"] > 1 and (wrong := wrong_backoff(row, self.world.true_now())):
            self.fail(key, wrong)

    def _times_are_in_order(self, key: JobKey, row: Row) -> None:
        times = [at for at in (row[name] for name in _TIMES) if at is not None]
        if times != sorted(times):
            self.fail(key, f"its times are in no order: {', '.join(map(str, times))}")

    def _step(self, key: JobKey, number: int, status: str | None) -> Row:
        """The audit row that brings a job from `status` to this version."""
        step = self.steps.get((*key, f"{number:020d}"))
        if step is None:
            self.fail(key, f"version {number} has no audit row")
        if step["FromStatus"] != status or (status, step["ToStatus"]) not in _STEPS:
            self.fail(key, f"{status} → {step['FromStatus']} → {step['ToStatus']} is no step")
        if status == "PENDING" and step["ToStatus"] == "FAILED" and self.truths(key, step["Attempt"]):
            self.fail(key, "it failed in Batch, and was never SCHEDULED")
        return step

    def _attempt_is_true(self, key: JobKey, attempt: int, to: str, row: Row) -> None:
        """Whether the attempt's own row says what really ran, and how it ended."""
        self.left_at.setdefault((key, attempt), self.world.time)
        if to in FINAL:
            self.ended[*key, attempt] = self.world.time
            self._nothing_runs_on(key, attempt, to)
        name = self.name(key, attempt)
        refusals = ["rejected"] if row["Commands"][0] == "invalid" else []
        if name in self.batch.platform_faults:
            refusals.append("platform_fault")
        if self.taken(key, attempt):
            refusals.append("name_taken")
        written = self.attempts.get((*key, attempt))
        if written is None:
            self.fail(key, f"attempt {attempt} is {to}, and has no row")
        if found := judge_attempts.wrong(written, to, name, self.truths(key, attempt), refusals):
            self.fail(key, f"the row of attempt {attempt} is not true: {found}")

    def _touched(self, key: JobKey, before: Row, row: Row) -> None:
        if row["Status"] in FINAL and before["NextCheckAt"] is None is not row["NextCheckAt"]:
            self.fail(key, "it was settled, and is looked at again")
        put_off = row["NotBefore"] != before["NotBefore"]
        if put_off and row["NotBefore"] > self.world.true_now() + _PAUSED:
            self.fail(key, f"it was put off until {row['NotBefore']}")
        may = _MUTABLE_WHEN_FINAL if row["Status"] in FINAL else {"NextCheckAt", "StatusDetail", "NotBefore"}
        for column, value in row.items():
            if column not in may and value != before.get(column):
                self.fail(key, f"{column} changed without a transition")

    def _true(self, key: JobKey, row: Row, step: Row, before: Row | None) -> None:
        """Whether the truth in Batch justifies this step."""
        attempt, to = step["Attempt"], step["ToStatus"]
        jobs = self.truths(key, attempt)
        match to:
            case "SCHEDULED":
                justified = bool(jobs)
            case "RUNNING":
                justified = any(job.started is not None for job in jobs)
            case "COMPLETED":
                justified = any(job.state is BatchState.SUCCEEDED for job in jobs)
            case "FAILED":
                justified = self._failure_is_true(key, row, attempt, jobs, before)
            case "CANCELLED":
                outside = any(job.state is BatchState.CANCELLED and job.outside for job in jobs)
                asked = key in self.cancels or key.tenant_id in self.leaving
                justified = asked if step["Actor"] == "tenant" else outside
            case _:
                justified = before is None or self._retry_is_true(key, row, attempt - 1, before)
        if not justified:
            self.fail(key, f"{to} at attempt {attempt} is not true: {step['Reason']}")

    def _failure_is_true(
        self, key: JobKey, row: Row, attempt: int, jobs: list[BatchJob], before: Row | None
    ) -> bool:
        if row["Commands"][0] == "invalid":
            return True
        if any(job.state is BatchState.FAILED or job.lost for job in jobs):
            return True
        if any(job.stuck and job.state is BatchState.CANCELLED for job in jobs):
            return True
        return not jobs and (self.taken(key, attempt) or self._waited_in_vain(key, attempt, before))

    def _waited_in_vain(self, key: JobKey, attempt: int, before: Row | None) -> bool:
        """Whether no Batch job could be made for it until it was of its maximum age."""
        if before is None or self.name(key, attempt) not in self.batch.platform_faults:
            return False
        since = max(before["UpdatedAt"], before["NotBefore"] or before["UpdatedAt"])
        return bool(self.world.true_now() - since > _MAX_AGE)

    def _nothing_runs_on(self, key: JobKey, attempt: int, to: str) -> None:
        """Whether an attempt that failed was stopped before, as far as who says so could see."""
        process = self.world.process
        if to != "FAILED" or process is None:
            return
        for job in self.truths(key, attempt):
            seen = self.saw.get((process, job.name))
            stopped = job.lost or job.stopping or job.deleting or not job.live
            if not stopped and seen and job.created < seen:
                self.fail(key, f"attempt {attempt} is over, and nobody stopped {job.uid}")

    def _retry_is_true(self, key: JobKey, row: Row, failed: int, before: Row) -> bool:
        """Whether the budget that is spent fits the cause."""
        if row["Attempt"] != before["Attempt"] + 1:
            return False
        # The last one counts: an earlier one was deleted outside before anybody knew of it.
        job = self.truths(key, failed)[-1]
        spent = row["InfraRetryCount"] - before["InfraRetryCount"], row["RetryCount"] - before["RetryCount"]
        if row["RetryCount"] > row["MaxRetries"]:
            return False
        if job.lost and job.ended is not None:
            return spent in {(1, 0), (0, 1)}  # which of the two was seen first, nobody can know
        return spent == ((1, 0) if infrastructure(job) else (0, 1))

    def _policy_is_kept(self, key: JobKey, row: Row, attempt: int, *, ended: bool) -> None:
        """Whether a failed attempt was retried if and only if the job's policy says so. `row` is after it."""
        jobs = self.truths(key, attempt)
        if row["Commands"][0] == "invalid" or len(jobs) != 1:
            if not ended and (row["Commands"][0] == "invalid" or not jobs):
                self.fail(key, "it never came to Batch, and is tried again")
            return
        job, policy = jobs[0], row["Spec"]["retry"]
        reason = "vanished" if job.lost else failure(job)[0]
        used, most = (
            (row["InfraRetryCount"], policy["max_infrastructure_retries"])
            if infrastructure(job)
            else (row["RetryCount"], row["MaxRetries"])
        )
        rules = (
            rule["action"]
            for rule in policy["rules"]
            if (not job.lost and job.exit_code in rule.get("exit_codes", ()))
            or reason in rule.get("reasons", ())
        )
        if job.stuck or (job.lost and job.ended is not None):
            return
        again = next(rules, "retry") == "retry" and (used if ended else used - 1) < most
        if again is ended:
            self.fail(key, f"{reason} at attempt {attempt} {'ended it' if ended else 'was retried'}")

    def _owed(self, key: JobKey, row: Row) -> None:
        """Nothing that may still move is without a check, and no check is too far away."""
        check = row["NextCheckAt"]
        if row["Status"] not in FINAL:
            if check is None:
                self.fail(key, "it lives, and nobody will look at it")
            allowed = max(self.world.true_now(), row["NotBefore"] or self.world.true_now()) + _LONGEST_CHECK
            if check > allowed:
                self.fail(key, f"nobody will look at it before {check}")
            return
        self.final_at.setdefault(key, self.world.time)
        if check is None and self._may_run(key, row["Attempt"]):
            self.fail(key, f"it is {row['Status']}, its Batch job may run, and nobody will look at it")

    def _may_run(self, key: JobKey, attempt: int) -> bool:
        name = self.name(key, attempt)
        job = self.batch.jobs.get(name)
        if job is not None:
            return job.live and not job.foreign
        # A create that still comes makes none where there was one: Batch knows the request's id.
        return name not in self.batch.gone and self.batch.coming.get(name, 0) > 0


def _named(change: Change) -> Row:
    assert change.after is not None
    return dict(zip(_COLUMNS[change.table], change.after, strict=True))
