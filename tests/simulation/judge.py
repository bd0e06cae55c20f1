"""The judge: knows the whole truth of a simulated world, and says where the platform's state departs from it.

It looks after every applied commit (`judge_rows`), after every Batch job that comes to be, at every
acknowledgement, at every answer to a client, and at the end. Its rules are DESIGN §3, written down a second
time and apart from the code that is judged.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf

from jennah.operations.history import violations
from shared.batch import BatchState
from shared.config import Timing
from shared.model import Attempt, Job, JobKey, Transition
from shared.rows import ATTEMPT_COLUMNS, JOB_COLUMNS, TRANSITION_COLUMNS, job_from_row
from tests.simulation.batch import BatchJob
from tests.simulation.judge_books import FINAL, Row, parsed
from tests.simulation.judge_retries import on_spot
from tests.simulation.judge_rows import RowJudge
from tests.simulation.pubsub import SKEW, Message
from tests.simulation.world import EPOCH, Process, Violation

# A Batch job that appears late is looked for after 1, 2, 4, 8 and 16 minutes.
_LONGEST_STOP = 20 * 60.0
# Looks at one Batch job, at most: half-hourly for a day, and often before.
_MOST_ASKED = 500
# Ticks that were carried out and left the same check due: one that comes too late may drop what it finds.
_MOST_OVERDUE = 20
# How long after a pause a function may still go by what it read before: its own timeout, and the cache.
_LONGEST_CALLS = 60 + 5 + 2 * SKEW
# An orphan is left alone for so long, and more than so many are left alone for ever.
_YOUNG, _MOST_SWEPT = 3600.0, 20
# States of which something follows.
_TOLD = {"RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"}
_UNCONFIRMED = timedelta(seconds=30 + 2 * SKEW + 5)


@dataclass
class Judge(RowJudge):
    """Looks at everything else, too."""

    _keys: dict[tuple[str, str], str] = field(default_factory=dict)
    _creates: Counter[str] = field(default_factory=Counter)
    _looks: Counter[str] = field(default_factory=Counter)
    _overdue: dict[JobKey, tuple[float, int]] = field(default_factory=dict)
    _request_ids: dict[str, str] = field(default_factory=dict)
    _swept: Counter[Process] = field(default_factory=Counter)

    # When a Batch job comes to be.

    def created(self, made: BatchJob) -> None:
        """Look at a Batch job that has just come to be."""
        key, attempt = parsed(made.name)
        self._creates[made.name] += 1
        if self._creates[made.name] > 1 + len(self.batch.gone.get(made.name, ())):
            self.fail(key, f"attempt {attempt} has two Batch jobs")
        row = self._row(key)
        if row is None:
            return
        if row["Attempt"] == attempt and made.spot is not on_spot(row):
            self.fail(key, f"attempt {attempt} runs {'' if made.spot else 'not '}on Spot")
        if row["Status"] in FINAL and row["Attempt"] == attempt and row["NextCheckAt"] is None:
            self.fail(key, f"it is {row['Status']}, a Batch job appears, and nobody will look at it")
        if row["Attempt"] > attempt and not self.batch.gone.get(made.name):
            self.fail(key, f"a Batch job of attempt {attempt} appears at attempt {row['Attempt']}")

    def creating(self, name: str, request_id: str) -> None:
        """Look at a CreateJob that is about to be sent."""
        key, attempt = parsed(name)
        if self._request_ids.setdefault(name, request_id) != request_id:
            self.fail(key, f"attempt {attempt} is sent to Batch again under another request id")
        process = self.world.process
        assert process is not None
        if self.left_at.get((key, attempt), inf) < process.began:
            self.fail(key, f"attempt {attempt} was PENDING no more, and is sent to Batch again")
        if self.world.time - self.paused_from > _LONGEST_CALLS:
            self.fail(key, "it was sent to Batch while dispatch is paused")
        due = self.retries_due.get((key, attempt))
        if due is not None and self.world.true_now() < due - timedelta(seconds=SKEW):
            self.fail(key, "its retry was started before its time")

    def cancelling(self, name: str) -> None:
        """Look at a CancelJob that is about to be sent."""
        job, process = self.batch.jobs.get(name), self.world.process
        assert process is not None
        if job is None or not job.live:
            return
        if job.foreign:
            raise Violation(f"{name}: a foreign Batch job is cancelled")
        key, attempt = parsed(name)
        row = self.rows.get(key)
        if (row and row["Attempt"] == attempt) or self.moved_at.get(key, -inf) >= process.began:
            return
        # It is an orphan: none that is young is stopped, and none where there are many.
        if self.world.time - job.created < _YOUNG - SKEW:
            self.fail(key, f"{job.uid} is an orphan for less than an hour, and is cancelled")
        self._swept[process] += 1
        if self._swept[process] > _MOST_SWEPT:
            self.fail(key, f"{self._swept[process]} orphans are cancelled at once")

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
        row = self._row(key)
        if row is None or row["Status"] != "PENDING" or row["Attempt"] != attempt:
            return
        due = row["NotBefore"]
        if due and (due - EPOCH).total_seconds() > began - SKEW:
            return
        if self.batch.platform_faults.get(self.name(key, attempt), -inf) >= began or self._paused(began):
            return
        self.fail(key, "its message was acknowledged, and nothing came of it")

    def notification_acknowledged(self, message: Message, began: float, skew: float) -> None:
        """Topic `batch-events`: an end in Batch is known, or soon looked at, once its message is gone."""
        attributes = json.loads(message.body)["message"]["attributes"]
        key, attempt = parsed(attributes["JobName"])
        state = attributes["NewJobState"]
        if state not in _TOLD:
            return
        self._late_is_noted(key, attempt, attributes["JobUID"], state, began)
        if not message.genuine:
            return
        row = self._row(key)
        if row is None or row["Attempt"] != attempt or row["BatchUid"] != attributes["JobUID"]:
            return
        if row["Status"] in FINAL:
            return
        if state == "RUNNING":
            if row["Status"] == "SCHEDULED" and row["ScheduledAt"] < EPOCH + timedelta(seconds=began):
                self.fail(key, "its RUNNING was acknowledged, and nothing came of it")
            return
        # A job that moved meanwhile has the check time of its new state.
        moved = row["UpdatedAt"] >= EPOCH + timedelta(seconds=began)
        soon = _UNCONFIRMED if moved else timedelta(seconds=31 + max(0.0, skew))
        if row["NextCheckAt"] > self.world.true_now() + soon:
            self.fail(key, f"its {state} was acknowledged, and nothing came of it")

    def _late_is_noted(self, key: JobKey, attempt: int, uid: str, state: str, began: float) -> None:
        """Whether an attempt that failed, and was retried, says that it was said to have ended otherwise."""
        row, said = self.rows.get(key), self.attempts.get((*key, attempt))
        over = self.ended.get((*key, attempt), inf) < began
        if row is None or said is None or row["Attempt"] <= attempt or not over or said["BatchUid"] != uid:
            return
        ours = said["Reason"] == "queue_timeout" and state == "CANCELLED"
        if state in {"SUCCEEDED", "CANCELLED"} and not ours and said["LastIgnored"] is None:
            self.fail(key, f"attempt {attempt} was said to be {state} after it failed, and that is not noted")

    def tick_acknowledged(self, _message: Message, began: float, _skew: float) -> None:
        """Topic `ticks`: whatever is due is looked at, and then not due any more."""
        overdue = {
            key: check for key, check in self.checks.items() if check is not None and check < began - SKEW
        }
        before, self._overdue = self._overdue, {}
        for key, check in overdue.items():
            since, ticks = before.get(key, (check, 0))
            ticks = ticks + 1 if since == check else 1
            self._overdue[key] = check, ticks
            if ticks > _MOST_OVERDUE:
                self.fail(key, "it is looked at by every tick, and stays due")

    def looked(self, name: str) -> None:
        """Look at a GetJob."""
        if self.world.process is not None:
            self.saw[self.world.process, name] = self.world.time
        self._looks[name] += 1
        if self._looks[name] > _MOST_ASKED:
            self.fail(parsed(name)[0], "Batch is asked for it without end")

    def unstopped(self, job: BatchJob) -> None:
        """Look at a Batch job that was queued for longer than a day, and that nobody stopped.

        Without a row it is an orphan, which the sweep leaves alone where there are too many.
        """
        if job not in self.orphans():
            self.fail(parsed(job.name)[0], f"{job.uid} was queued for more than a day, and nobody stopped it")

    def submitted(self, job: Job, idempotency_key: str | None) -> None:
        """A client was told that its job is accepted."""
        if job.tenant_id in self.deleted:
            return
        if job.key not in self.rows:
            self.fail(job.key, "it was accepted, and is not there")
        if idempotency_key is not None:
            first = self._keys.setdefault((job.tenant_id, idempotency_key), job.job_id)
            if first != job.job_id:
                self.fail(job.key, "two jobs have one idempotency key")
        self.accepted[job.key] = idempotency_key

    def cancel_asked(self, key: JobKey) -> None:
        """A client sends a cancel."""
        self.cancels.add(key)

    def cancelled(self, key: JobKey) -> None:
        """A client was told that its job is cancelled."""
        row = self._row(key)
        if row is not None and row["Status"] != "CANCELLED":
            self.fail(key, "its cancel was confirmed, and it is not cancelled")

    def cancel_refused(self, key: JobKey) -> None:
        """A client was told that its job has ended already, and not by a cancel."""
        row = self._row(key)
        if row is not None and row["Status"] not in {"COMPLETED", "FAILED"}:
            self.fail(key, f"its cancel was refused, and it is {row['Status']}")

    def tenant_gone(self, tenant_id: str) -> None:
        """A client was told that what it had is gone."""
        left = tenant_id in self.deleted or tenant_id in self.leaving
        if not left and not any(key.tenant_id == tenant_id for key in self.gone):
            raise Violation(f"tenant {tenant_id}: it is there, and was told that it, or its job, is not")

    def _row(self, key: JobKey) -> Row | None:
        """The row of a job that was there; None where it or its tenant was deleted."""
        row = self.rows.get(key)
        if row is None and key not in self.gone and key.tenant_id not in self.deleted:
            self.fail(key, "its row is gone")
        return row

    def _paused(self, began: float) -> bool:
        """Whether dispatch may have seemed paused to a function since then."""
        return self.paused_from < inf or self.resumed_at > began - _LONGEST_CALLS

    # At the end.

    def orphans(self) -> list[BatchJob]:
        """Batch jobs that live, and that no row speaks of."""
        found = []
        for job in self.batch.jobs.values():
            if job.live and not job.foreign:
                key, attempt = parsed(job.name)
                row = self.rows.get(key)
                if row is None or row["Attempt"] != attempt:
                    found.append(job)
        return found

    def all_stopped(self) -> None:
        """Soon after the last fault, nothing runs in Batch for a job that has been final for a while."""
        for key, since in self.final_at.items():
            row = self.rows.get(key)
            job = self.batch.jobs.get(self.name(key, row["Attempt"])) if row else None
            if job is None or job.foreign or not job.live or job.state is BatchState.CANCELLATION_IN_PROGRESS:
                continue
            if job.deadly_until:
                continue
            if self.world.time - max(since, job.created) > _LONGEST_STOP:
                self.fail(key, f"it is final, and nobody stops {job.uid}")

    def all_final(self) -> None:
        """Long after the last fault, only a job may live that Batch keeps queued, or hides from all."""
        for key, row in self.rows.items():
            jobs = self.truths(key, row["Attempt"])
            slow = any(job.stuck or job.deadly_until or job.slow_until for job in jobs)
            if row["Status"] not in FINAL and not slow:
                self.fail(key, f"it is still {row['Status']}, hours after the last fault")

    def end(self) -> None:
        """Look at everything once more, when nothing is left to happen."""
        for key in self.accepted:
            if key not in self.rows and key.tenant_id not in self.deleted:
                self.fail(key, "it was accepted, and is lost")
        for key, row in self.rows.items():
            if row["Status"] not in FINAL:
                self.fail(key, f"it is {row['Status']} for ever")
            if row["NextCheckAt"] is not None:
                self.fail(key, "it is checked for ever")
            self._late_is_recorded(key, row)
        for job in self.batch.jobs.values():
            if job.live and not job.foreign:
                self.fail(parsed(job.name)[0], f"{job.uid} runs for ever in Batch")
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
            of_job = histories.get(job_key, []), attempts.get(job_key, [])
            for found in violations(job, *of_job, now=self.world.true_now(), timing=Timing()):
                self.fail(job_key, found)

    def _late_is_recorded(self, key: JobKey, row: Row) -> None:
        """Whether a job that was cancelled, and ended otherwise in Batch, says so."""
        if row["Status"] != "CANCELLED":
            return
        job = self.batch.jobs.get(self.name(key, row["Attempt"]))
        if job is None or job.foreign or job.state not in {BatchState.SUCCEEDED, BatchState.FAILED}:
            return
        attempt = self.attempts.get((*key, row["Attempt"]))
        if attempt is None or not attempt["LastIgnored"]:
            self.fail(key, f"it is CANCELLED, {job.state} in Batch, and its attempt does not say so")
