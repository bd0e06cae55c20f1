"""The judge: knows the whole truth of a simulated world, and says where the platform's state departs from it.

It looks after every applied commit, after every Batch job that comes to be, at every acknowledgement, and
at the end. Its rules are DESIGN §3, written down a second time and apart from the code that is judged.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Any, NoReturn

from jennah.operations.history import violations
from shared.batch import BatchState
from shared.batch_ids import batch_id, parse_batch_id
from shared.model import Attempt, Job, JobKey, JobStatus, Transition
from shared.rows import ATTEMPT_COLUMNS, JOB_COLUMNS, TRANSITION_COLUMNS, job_from_row
from tests.simulation.batch import BatchJob, SimulatedBatch
from tests.simulation.pubsub import SKEW, Message
from tests.simulation.store import Change
from tests.simulation.store_schema import load
from tests.simulation.world import EPOCH, Violation, World

Key = tuple[Any, ...]
_COLUMNS = {name: tuple(table.columns) for name, table in load().items()}

_PARENT = "projects/simulated/locations/us-central1"
_FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
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
# A Batch job that appears late is looked for after 1, 2, 4, 8 and 16 minutes.
_LONGEST_STOP = 20 * 60.0
# Looks at one Batch job, at most: half-hourly for a day, and often before.
_MOST_ASKED = 500
_INFRASTRUCTURE = {50001, 50002, 50003, 50004, 50006}
_REASONS = {50001: "spot_preemption", 50002: "vm_lost", 50005: "timeout"}
# How long after a pause a function may still go by what it read before: its own timeout, and the cache.
_LONGEST_CALLS = 60 + 5 + 2 * SKEW
# A live job is looked at every half an hour at least, and clocks are off.
_LONGEST_CHECK = timedelta(minutes=34)
_UNCONFIRMED = timedelta(seconds=30 + 2 * SKEW + 5)
_MUTABLE_WHEN_FINAL = {"NextCheckAt"}


@dataclass
class Judge:
    """What was seen so far.

    Attributes:
        checks: NextCheckAt of each job, in virtual seconds.
        accepted: the jobs that a client was told of, with the idempotency key.
        deleted: tenants that are gone.
    """

    world: World
    batch: SimulatedBatch
    checks: dict[JobKey, float | None] = field(default_factory=dict)
    rows: dict[JobKey, dict[str, Any]] = field(default_factory=dict)
    accepted: dict[JobKey, str | None] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    paused_from: float = inf
    resumed_at: float = -inf
    final_at: dict[JobKey, float] = field(default_factory=dict)
    steps: dict[Key, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[Key, dict[str, Any]] = field(default_factory=dict)
    retries_due: dict[tuple[JobKey, int], datetime | None] = field(default_factory=dict)
    _keys: dict[tuple[str, str], str] = field(default_factory=dict)
    _creates: Counter[str] = field(default_factory=Counter)
    _asked: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    _stored: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    _looks: Counter[str] = field(default_factory=Counter)

    # After every commit.

    def committed(self, changes: Sequence[Change]) -> None:
        """Look at what a commit changed."""
        for change in changes:
            if change.table == "JobStateTransitions":
                self._keep(self.steps, change)
            elif change.table == "JobAttempts":
                self._keep(self.attempts, change)
        for change in changes:
            if change.table == "Jobs":
                self._job_changed(JobKey(*change.key), change)

    def _keep(self, kept: dict[Key, dict[str, Any]], change: Change) -> None:
        if change.after is None:
            kept.pop(change.key, None)
        else:
            kept[change.key] = _named(change)

    def _job_changed(self, key: JobKey, change: Change) -> None:
        before = self.rows.get(key)
        if change.after is None:
            self.rows.pop(key, None)
            self.checks.pop(key, None)
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
                self._fail(key, "nobody asked for it")
        version = before["Version"] if before else 0
        if row["Version"] < version:
            self._fail(key, "its version went back")
        if before is not None and version == row["Version"]:
            self._touched(key, before, row)
        else:
            self._moved(key, before, row)
        self._owed(key, row)

    def _moved(self, key: JobKey, before: dict[str, Any] | None, row: dict[str, Any]) -> None:
        """Whether the new audit rows lead from the row before to this one, by true steps."""
        status = before["Status"] if before else None
        if status in _FINAL:
            self._fail(key, f"it was {status}, and changed")
        for number in range(before["Version"] + 1 if before else 1, row["Version"] + 1):
            step = self.steps.get((*key, f"{number:020d}"))
            if step is None:
                self._fail(key, f"version {number} has no audit row")
            if step["FromStatus"] != status or (status, step["ToStatus"]) not in _STEPS:
                self._fail(key, f"{status} → {step['FromStatus']} → {step['ToStatus']} is no step")
            if status == "PENDING" and step["ToStatus"] == "FAILED" and self.truths(key, step["Attempt"]):
                self._fail(key, "it failed in Batch, and was never SCHEDULED")
            self._true(key, row, step, before)
            status = step["ToStatus"]
            if status == "FAILED":
                self._policy_is_kept(key, row, step["Attempt"], ended=number == row["Version"])
            elif status == "PENDING":
                self.retries_due[key, row["Attempt"]] = row["NotBefore"]
        if status != row["Status"]:
            self._fail(key, f"the row is {row['Status']}, its history {status}")

    def _touched(self, key: JobKey, before: dict[str, Any], row: dict[str, Any]) -> None:
        if row["Status"] in _FINAL and before["NextCheckAt"] is None is not row["NextCheckAt"]:
            self._fail(key, "it was settled, and is looked at again")
        may = _MUTABLE_WHEN_FINAL if row["Status"] in _FINAL else {"NextCheckAt", "StatusDetail", "NotBefore"}
        for column, value in row.items():
            if column not in may and value != before.get(column):
                self._fail(key, f"{column} changed without a transition")

    def _true(
        self, key: JobKey, row: dict[str, Any], step: dict[str, Any], before: dict[str, Any] | None
    ) -> None:
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
                justified = self._failure_is_true(row, jobs)
            case "CANCELLED":
                justified = step["Actor"] == "tenant" or any(
                    job.state is BatchState.CANCELLED and job.outside for job in jobs
                )
            case _:
                justified = before is None or self._retry_is_true(key, row, attempt - 1, before)
        if not justified:
            self._fail(key, f"{to} at attempt {attempt} is not true: {step['Reason']}")

    def _failure_is_true(self, row: dict[str, Any], jobs: list[BatchJob]) -> bool:
        if row["Commands"][0] == "invalid":
            return True
        if any(job.state is BatchState.FAILED or job.lost for job in jobs):
            return True
        return any(job.stuck and job.state is BatchState.CANCELLED for job in jobs)

    def _retry_is_true(self, key: JobKey, row: dict[str, Any], failed: int, before: dict[str, Any]) -> bool:
        """Whether the budget that is spent fits the cause."""
        if row["Attempt"] != before["Attempt"] + 1:
            return False
        # The last one counts: an earlier one was deleted outside before anybody knew of it.
        job = self.truths(key, failed)[-1]
        infrastructure = job.lost or job.stuck or job.exit_code in _INFRASTRUCTURE
        spent = row["InfraRetryCount"] - before["InfraRetryCount"], row["RetryCount"] - before["RetryCount"]
        if row["RetryCount"] > row["MaxRetries"]:
            return False
        if job.lost and job.ended is not None:
            return spent in {(1, 0), (0, 1)}  # which of the two was seen first, nobody can know
        return spent == ((1, 0) if infrastructure else (0, 1))

    def _policy_is_kept(self, key: JobKey, row: dict[str, Any], attempt: int, *, ended: bool) -> None:
        """Whether a failed attempt was retried if and only if the job's policy says so. `row` is after it."""
        jobs = self.truths(key, attempt)
        if row["Commands"][0] == "invalid" or len(jobs) != 1:
            if not ended and row["Commands"][0] == "invalid":
                self._fail(key, "Batch refuses it, and it is tried again")
            return
        job, policy = jobs[0], row["Spec"]["retry"]
        infrastructure = job.lost or job.stuck or job.exit_code in _INFRASTRUCTURE
        reason = "vanished" if job.lost else _REASONS.get(job.exit_code, "user_exit")
        used, most = (
            (row["InfraRetryCount"], policy["max_infrastructure_retries"])
            if infrastructure
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
            self._fail(key, f"{reason} at attempt {attempt} {'ended it' if ended else 'was retried'}")

    def _owed(self, key: JobKey, row: dict[str, Any]) -> None:
        """Nothing that may still move is without a check, and no check is too far away."""
        check = row["NextCheckAt"]
        if row["Status"] not in _FINAL:
            if check is None:
                self._fail(key, "it lives, and nobody will look at it")
            allowed = max(self.world.true_now(), row["NotBefore"] or self.world.true_now()) + _LONGEST_CHECK
            if check > allowed:
                self._fail(key, f"nobody will look at it before {check}")
            return
        self.final_at.setdefault(key, self.world.time)
        if check is None and self._may_run(key, row["Attempt"]):
            self._fail(key, f"it is {row['Status']}, its Batch job may run, and nobody will look at it")

    def _may_run(self, key: JobKey, attempt: int) -> bool:
        name = self.name(key, attempt)
        job = self.batch.jobs.get(name)
        return (job is not None and job.live) or (job is None and self.batch.coming.get(name, 0) > 0)

    # When a Batch job comes to be.

    def created(self, made: BatchJob) -> None:
        """Look at a Batch job that has just come to be."""
        key, attempt = _parsed(made.name)
        self._creates[made.name] += 1
        if self._creates[made.name] > 1 + len(self.batch.gone.get(made.name, ())):
            self._fail(key, f"attempt {attempt} has two Batch jobs")
        row = self.rows.get(key)
        if row is None:
            return
        if row["Status"] in _FINAL and row["Attempt"] == attempt and row["NextCheckAt"] is None:
            self._fail(key, f"it is {row['Status']}, a Batch job appears, and nobody will look at it")
        if row["Attempt"] > attempt and not self.batch.gone.get(made.name):
            self._fail(key, f"a Batch job of attempt {attempt} appears at attempt {row['Attempt']}")

    def creating(self, name: str) -> None:
        """Look at a CreateJob that is about to be sent."""
        if self.world.time - self.final_at.get(_parsed(name)[0], inf) > _LONGEST_CALLS:
            self._fail(_parsed(name)[0], "it was final long ago, and is sent to Batch")
        if self.world.time - self.paused_from > _LONGEST_CALLS:
            self._fail(_parsed(name)[0], "it was sent to Batch while dispatch is paused")
        due = self.retries_due.get(_parsed(name))
        if due is not None and self.world.true_now() < due - timedelta(seconds=SKEW):
            self._fail(_parsed(name)[0], "its retry was started before its time")

    # At every acknowledgement.

    def job_message_acknowledged(self, message: Message, began: float, _skew: float) -> None:
        """Topic `jobs`: nothing is acknowledged before its effect is committed."""
        try:
            fields = json.loads(b64decode(json.loads(message.body)["message"]["data"]))
        except ValueError:
            raise Violation(f"{message.number} on jobs: it is malformed, and was acknowledged") from None
        if not message.genuine:
            return
        key, attempt = JobKey(fields["tenant_id"], fields["job_id"]), fields["attempt"]
        row = self.rows.get(key)
        if row is None or row["Status"] != "PENDING" or row["Attempt"] != attempt:
            return
        due = row["NotBefore"]
        if due and (due - EPOCH).total_seconds() > began - SKEW:
            return
        if self.name(key, attempt) in self.batch.platform_faults or self._paused(began):
            return
        self._fail(key, "its message was acknowledged, and nothing came of it")

    def notification_acknowledged(self, message: Message, began: float, skew: float) -> None:
        """Topic `batch-events`: an end in Batch is known, or soon looked at, once its message is gone."""
        if not message.genuine:
            return
        attributes = json.loads(message.body)["message"]["attributes"]
        key, attempt = _parsed(attributes["JobName"])
        row = self.rows.get(key)
        if row is None or row["Attempt"] != attempt or row["BatchUid"] != attributes["JobUID"]:
            return
        if row["Status"] in _FINAL:
            return
        if attributes["NewJobState"] == "RUNNING":
            if row["Status"] == "SCHEDULED" and row["ScheduledAt"] < EPOCH + timedelta(seconds=began):
                self._fail(key, "its RUNNING was acknowledged, and nothing came of it")
            return
        # A job that moved meanwhile has the check time of its new state.
        moved = row["UpdatedAt"] >= EPOCH + timedelta(seconds=began)
        soon = _UNCONFIRMED if moved else timedelta(seconds=31 + max(0.0, skew))
        if row["NextCheckAt"] > self.world.true_now() + soon:
            self._fail(key, f"its {attributes['NewJobState']} was acknowledged, and nothing came of it")

    def asked(self, tenant_id: str, idempotency_key: str | None) -> None:
        """A client sends a submission; with a key, all of them are one."""
        if idempotency_key is None or not self._asked[tenant_id, idempotency_key]:
            self._asked[tenant_id, idempotency_key] += 1

    def looked(self, name: str) -> None:
        """Look at a GetJob."""
        self._looks[name] += 1
        if self._looks[name] > _MOST_ASKED:
            self._fail(_parsed(name)[0], "Batch is asked for it without end")

    def unstopped(self, job: BatchJob) -> None:
        """Look at a Batch job that nobody stopped in three days for which Batch found no machine."""
        self._fail(_parsed(job.name)[0], f"{job.uid} was queued for days, and nobody stopped it")

    def submitted(self, job: Job, idempotency_key: str | None) -> None:
        """A client was told that its job is accepted."""
        if job.tenant_id in self.deleted:
            return
        if job.key not in self.rows:
            self._fail(job.key, "it was accepted, and is not there")
        if idempotency_key is not None:
            first = self._keys.setdefault((job.tenant_id, idempotency_key), job.job_id)
            if first != job.job_id:
                self._fail(job.key, "two jobs have one idempotency key")
        self.accepted[job.key] = idempotency_key

    def cancelled(self, key: JobKey) -> None:
        """A client was told that its job is cancelled."""
        row = self.rows.get(key)
        if row is not None and row["Status"] != "CANCELLED":
            self._fail(key, "its cancel was confirmed, and it is not cancelled")

    def _paused(self, began: float) -> bool:
        """Whether dispatch may have seemed paused to a function since then."""
        return self.paused_from < inf or self.resumed_at > began - _LONGEST_CALLS

    # At the end.

    def orphans(self) -> list[BatchJob]:
        """Batch jobs that live, and that no row speaks of."""
        found = []
        for job in self.batch.jobs.values():
            if job.live:
                key, attempt = _parsed(job.name)
                row = self.rows.get(key)
                if row is None or row["Attempt"] != attempt:
                    found.append(job)
        return found

    def all_stopped(self) -> None:
        """Soon after the last fault, nothing runs in Batch for a job that has been final for a while."""
        for key, since in self.final_at.items():
            row = self.rows.get(key)
            job = self.batch.jobs.get(self.name(key, row["Attempt"])) if row else None
            if job is None or not job.live or job.state is BatchState.CANCELLATION_IN_PROGRESS:
                continue
            if self.world.time - max(since, job.created) > _LONGEST_STOP:
                self._fail(key, f"it is final, and nobody stops {job.uid}")

    def all_final(self) -> None:
        """Long after the last fault, only a job that Batch keeps queued may still live."""
        for key, row in self.rows.items():
            if row["Status"] not in _FINAL and not any(job.stuck for job in self.truths(key, row["Attempt"])):
                self._fail(key, f"it is still {row['Status']}, hours after the last fault")

    def end(self) -> None:
        """Look at everything once more, when nothing is left to happen."""
        for key in self.accepted:
            if key not in self.rows and key.tenant_id not in self.deleted:
                self._fail(key, "it was accepted, and is lost")
        for key, row in self.rows.items():
            if row["Status"] not in _FINAL:
                self._fail(key, f"it is {row['Status']} for ever")
            if row["NextCheckAt"] is not None:
                self._fail(key, "it is checked for ever")
            self._late_is_recorded(key, row)
        for job in self.batch.jobs.values():
            if job.live:
                self._fail(_parsed(job.name)[0], f"{job.uid} runs for ever in Batch")
        self.audit()

    def audit(self) -> None:
        """What `jennah check` would say now."""
        histories: dict[JobKey, list[Transition]] = {}
        for key, row in sorted(self.steps.items()):
            made = Transition(**{name: row[column] for name, column in TRANSITION_COLUMNS.items()})
            histories.setdefault(JobKey(*key[:2]), []).append(made)
        attempts: dict[JobKey, list[Attempt]] = {}
        for key, row in sorted(self.attempts.items()):
            attempt = Attempt(**{name: row[column] for name, column in ATTEMPT_COLUMNS.items()})
            attempts.setdefault(JobKey(*key[:2]), []).append(attempt)
        for job_key, row in self.rows.items():
            job = job_from_row([row[column] for column in JOB_COLUMNS.values()])
            for found in violations(job, histories.get(job_key, []), attempts.get(job_key, [])):
                self._fail(job_key, found)

    def _late_is_recorded(self, key: JobKey, row: dict[str, Any]) -> None:
        if row["Status"] != JobStatus.CANCELLED:
            return
        job = self.batch.jobs.get(self.name(key, row["Attempt"]))
        if job is None or job.state is not BatchState.SUCCEEDED:
            return
        attempt = self.attempts.get((*key, row["Attempt"]))
        if attempt is None or not attempt["LastIgnored"]:
            self._fail(key, "it is CANCELLED, succeeded in Batch, and its attempt does not say so")

    # The truth.

    def truths(self, key: JobKey, attempt: int) -> list[BatchJob]:
        """Every Batch job that there ever was for this attempt."""
        name = self.name(key, attempt)
        job = self.batch.jobs.get(name)
        return [*self.batch.gone.get(name, ()), *([job] if job else ())]

    def name(self, key: JobKey, attempt: int) -> str:
        """The full name of the Batch job of an attempt."""
        return _name(key, attempt)

    def _fail(self, key: JobKey, what: str) -> NoReturn:
        raise Violation(f"job {key.job_id}: {what}")


def _named(change: Change) -> dict[str, Any]:
    assert change.after is not None
    return dict(zip(_COLUMNS[change.table], change.after, strict=True))


@lru_cache(maxsize=4096)
def _name(key: JobKey, attempt: int) -> str:
    return f"{_PARENT}/jobs/{batch_id(key, attempt)}"


_parsed = lru_cache(maxsize=4096)(parse_batch_id)
