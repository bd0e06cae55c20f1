"""The transition module on the Spanner emulator: row, audit trail and attempts stay one."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.database import Database
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jennah.operations.replay import differences, replay
from shared.config import Timing
from shared.database import connect
from shared.events import (
    AttemptFailed,
    BatchRef,
    Cancelled,
    Event,
    Failure,
    Rejected,
    Scheduled,
    Started,
    Succeeded,
)
from shared.lifecycle import Applied, Decision, Duplicate, NotFound, Stale, decide
from shared.model import Actor, Job, JobKey, JobStatus
from shared.rows import Reads
from shared.semantics import LogEvent
from shared.spec import FailureReason, JobSpec, RetryPolicy
from shared.transitions import Touch, Transitions
from tests.integration.wire import Answers, Forward, Wire, applied_and_answer_lost, never_arrived

TIMING = Timing()
NAME = "projects/p/locations/l/jobs/x"


def now() -> datetime:
    return datetime.now(UTC)


def make_tenant(database: Database) -> str:
    """A tenant; returns its id."""
    tenant_id = str(uuid.uuid4())
    with database.batch() as batch:
        batch.insert("Tenants", ["TenantId", "CreatedAt"], [[tenant_id, COMMIT_TIMESTAMP]])
    return tenant_id


def new_job(tenant_id: str, **changes: object) -> Job:
    """A job about to be submitted."""
    fields: dict[str, object] = {
        "tenant_id": tenant_id,
        "job_id": str(uuid.uuid4()),
        "image_uri": "busybox",
        "commands": ("sh", "-c", "true"),
        "spec": JobSpec(name="näme", env={"A": "1"}, retry=RetryPolicy(max_infrastructure_retries=1)),
        "batch_parent": "projects/p/locations/l",
    }
    return Job(**(fields | changes))  # type: ignore[arg-type]  # each test names real fields


def assert_consistent(database: Database, key: JobKey) -> Job:
    """The row, its replayed history and its attempts agree. Returns the row."""
    reads = Reads(database)
    job = reads.job(key)
    assert job is not None
    attempts = {attempt.attempt: attempt for attempt in reads.attempts(key)}
    history = reads.transitions(key, after=None, limit=1000)
    assert differences(job, replay(history, attempts)) == []
    assert set(attempts) <= set(range(1, job.attempt + 1))
    assert set(range(1, job.attempt)) <= set(attempts)
    if not job.status.final:
        assert job.next_check_at is not None
    return job


def events(attempt: int) -> st.SearchStrategy[Event]:
    """Events of every kind: mostly about `attempt` and one Batch job, some about others."""
    number = st.sampled_from([attempt] * 4 + [attempt - 1, attempt + 1])
    ref = st.sampled_from([BatchRef(NAME, "uid")] * 3 + [BatchRef(NAME, "another")])
    failure = st.builds(Failure, st.sampled_from(FailureReason), st.just("text"), st.just(3))
    at, ran = st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)), st.booleans()
    return st.one_of(
        st.builds(Scheduled, attempt=number, batch=ref),
        st.builds(Started, attempt=number, batch=ref, confirmed=st.booleans()),
        st.builds(Succeeded, attempt=number, batch=ref, finished_at=at),
        st.builds(AttemptFailed, attempt=number, batch=ref, failure=failure, ran=ran, started_at=at),
        st.builds(Rejected, attempt=number, failure=failure),
        st.builds(Cancelled, attempt=st.none() | number, reason=st.just("text")),
    )


def make_machine(database: Database, tenant_id: str) -> type[RuleBasedStateMachine]:
    transitions = Transitions(database, timing=TIMING, now=now)

    class Machine(RuleBasedStateMachine):
        """Random events against one job, compared with the pure decision on a copy of the row."""

        @initialize(max_retries=st.integers(0, 2))
        def submit(self, max_retries: int) -> None:
            outcome = transitions.submit(new_job(tenant_id, max_retries=max_retries))
            assert isinstance(outcome, Applied)
            self.job = outcome.job

        @rule(data=st.data(), remembered=st.booleans())
        def happen(self, data: st.DataObject, remembered: bool) -> None:
            before = self.job
            event = data.draw(events(before.attempt))
            expected = decide(before, event, now=now(), timing=TIMING, jitter=0)
            known = before if remembered else None
            decision = transitions.apply(before.key, event, Actor.BATCH, known=known)
            assert type(decision) is type(expected)
            assert not isinstance(decision, NotFound)
            assert not isinstance(expected, NotFound)
            assert decision.job.status is expected.job.status
            assert decision.job.version == expected.job.version
            self.job = decision.job

        @rule(minutes=st.integers(0, 5))
        def touch(self, minutes: int) -> None:
            later = None if self.job.status.final else now() + timedelta(minutes=minutes)
            assert transitions.touch(Touch(self.job, next_check_at=later, status_detail="detail"))

        @invariant()
        def row_and_history_agree(self) -> None:
            stored = assert_consistent(database, self.job.key)
            # What `apply` returned is what is stored, the commit's times included.
            for field in (
                "status",
                "version",
                "attempt",
                "updated_at",
                "completed_at",
                "scheduled_at",
                "batch_uid",
            ):
                assert getattr(stored, field) == getattr(self.job, field)

    return Machine


@pytest.mark.timeout(240)
def test_any_sequence_of_events_keeps_row_history_and_attempts_one(database: Database) -> None:
    run_state_machine_as_test(
        make_machine(database, make_tenant(database)),
        settings=settings(
            max_examples=30,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_is_submitted_is_what_is_stored(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database), idempotency_key="k", request_hash="h"))
    assert isinstance(outcome, Applied)
    assert Reads(database).job(outcome.job.key) == outcome.job


def test_the_same_submission_again_collides_and_shows_what_is_there(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    tenant_id = make_tenant(database)
    job = new_job(tenant_id, idempotency_key="k", request_hash="h")
    assert isinstance(transitions.submit(job), Applied)
    again = transitions.submit(job)
    assert isinstance(again, Duplicate)
    assert again.job.job_id == job.job_id
    same_key = transitions.submit(new_job(tenant_id, idempotency_key="k", request_hash="other"))
    assert isinstance(same_key, Duplicate)
    assert (same_key.job.job_id, same_key.job.request_hash) == (job.job_id, "h")


def test_keys_of_two_tenants_never_meet(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    for _ in range(2):
        job = new_job(make_tenant(database), idempotency_key="same")
        assert isinstance(transitions.submit(job), Applied)


def test_a_submission_without_a_tenant_and_an_event_without_a_job_are_not_found(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    job = new_job(str(uuid.uuid4()))
    assert transitions.submit(job) == NotFound()
    assert transitions.apply(job.key, Cancelled(reason="text"), Actor.TENANT) == NotFound()


def test_a_job_deleted_since_it_was_read_is_not_found(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database)))
    assert isinstance(outcome, Applied)
    with database.batch() as batch:
        batch.delete("Jobs", KeySet(keys=[outcome.job.key]))
    event = Cancelled(reason="text")
    assert transitions.apply(outcome.job.key, event, Actor.TENANT, known=outcome.job) == NotFound()


def test_concurrent_writers_give_one_winner_and_one_audit_row(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database)))
    assert isinstance(outcome, Applied)
    key = outcome.job.key
    event = Scheduled(attempt=1, batch=BatchRef(NAME, "uid"))
    results: list[Decision] = []
    gate = threading.Barrier(8)

    def fire() -> None:
        gate.wait()
        results.append(transitions.apply(key, event, Actor.SCHEDULER, known=outcome.job))

    threads = [threading.Thread(target=fire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(result).__name__ for result in results) == ["Applied"] + ["Duplicate"] * 7
    assert assert_consistent(database, key).version == 2


def test_racing_different_events_end_in_one_valid_history(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    ref = BatchRef(NAME, "uid")
    for _ in range(5):
        outcome = transitions.submit(new_job(make_tenant(database)))
        assert isinstance(outcome, Applied)
        key = outcome.job.key
        events: list[Event] = [
            Scheduled(attempt=1, batch=ref),
            Started(attempt=1, batch=ref, confirmed=True),
            Succeeded(attempt=1, batch=ref),
            Cancelled(reason="text"),
        ]
        gate = threading.Barrier(len(events))

        def fire(
            event: Event, key: JobKey = key, job: Job = outcome.job, gate: threading.Barrier = gate
        ) -> None:
            gate.wait()
            transitions.apply(key, event, Actor.BATCH, known=job)

        threads = [threading.Thread(target=fire, args=(event,)) for event in events]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert assert_consistent(database, key).status in {JobStatus.COMPLETED, JobStatus.CANCELLED}


def test_a_late_touch_hides_nothing(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database)))
    assert isinstance(outcome, Applied)
    cancelled = transitions.apply(outcome.job.key, Cancelled(reason="text"), Actor.TENANT)
    assert isinstance(cancelled, Applied)
    assert not transitions.touch(Touch(outcome.job, next_check_at=None))
    stored = Reads(database).job(outcome.job.key)
    assert stored is not None
    assert stored.next_check_at is not None
    assert transitions.touch(Touch(cancelled.job, next_check_at=None, last_ignored="late"))
    assert [row.last_ignored for row in Reads(database).attempts(outcome.job.key)] == ["late"]


def test_a_touch_by_an_older_look_keeps_the_earlier_check_that_was_asked_for_meanwhile(
    database: Database,
) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database)))
    assert isinstance(outcome, Applied)
    key, at = outcome.job.key, now()

    def stored() -> Job:
        job = Reads(database).job(key)
        assert job is not None
        return job

    older = stored()
    soon, later, latest = (at + timedelta(minutes=minutes) for minutes in (1, 30, 60))
    assert transitions.touch(Touch(older, next_check_at=soon))
    assert transitions.touch(Touch(older, next_check_at=later, status_detail="waiting"))
    assert (stored().next_check_at, stored().status_detail) == (soon, "waiting")
    # A look that saw it may put it off, and one that did not may still be the earlier of the two.
    assert transitions.touch(Touch(stored(), next_check_at=latest))
    assert stored().next_check_at == latest
    assert transitions.touch(Touch(older, next_check_at=later))
    assert stored().next_check_at == later


def test_a_settled_job_is_not_owed_a_check_again(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database)))
    assert isinstance(outcome, Applied)
    cancelled = transitions.apply(outcome.job.key, Cancelled(reason="text"), Actor.TENANT)
    assert isinstance(cancelled, Applied)
    for settled in (now() + timedelta(minutes=2), None):
        assert transitions.touch(Touch(cancelled.job, next_check_at=settled))
    assert transitions.touch(Touch(cancelled.job, next_check_at=now() + timedelta(minutes=1)))
    stored = Reads(database).job(outcome.job.key)
    assert stored is not None
    assert stored.next_check_at is None


def test_stale_and_duplicate_write_nothing(database: Database) -> None:
    transitions = Transitions(database, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(database)))
    assert isinstance(outcome, Applied)
    key = outcome.job.key
    event = Cancelled(reason="text")
    transitions.apply(key, event, Actor.TENANT)
    before = Reads(database).job(key)
    assert isinstance(transitions.apply(key, event, Actor.TENANT), Duplicate)
    ref = BatchRef(NAME, "uid")
    assert isinstance(transitions.apply(key, Succeeded(attempt=1, batch=ref), Actor.BATCH), Stale)
    assert Reads(database).job(key) == before


@pytest.mark.parametrize("fault", [applied_and_answer_lost, never_arrived])
@pytest.mark.parametrize("times", [1, 3])
def test_an_unknown_outcome_is_settled_by_the_same_write_again(
    wired: Database,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Forward], Answers],
    times: int,
) -> None:
    caplog.set_level(logging.DEBUG, logger="shared")
    transitions = Transitions(wired, timing=TIMING, now=now)
    left = 0

    def on_commit(forward: Forward) -> Answers:
        nonlocal left
        left -= 1
        return fault(forward) if left >= 0 else forward()

    job = new_job(make_tenant(wired), max_retries=1)
    wire.on_commit = on_commit
    left = times
    outcome = transitions.submit(job)
    assert not isinstance(outcome, NotFound)
    assert outcome.job.job_id == job.job_id
    for event in (
        Scheduled(attempt=1, batch=BatchRef(NAME, "uid")),
        AttemptFailed(
            attempt=1, batch=BatchRef(NAME, "uid"), failure=Failure(FailureReason.UNKNOWN, "x"), ran=True
        ),
    ):
        left = times
        decision = transitions.apply(job.key, event, Actor.BATCH)
        assert isinstance(decision, Applied)
        assert decision.job == assert_consistent(wired, job.key)
    stored = assert_consistent(wired, job.key)
    assert (stored.status, stored.attempt, stored.version) == (JobStatus.PENDING, 2, 5)
    assert _versions_told(caplog, LogEvent.JOB_TRANSITION) == [1, 2, 3, 4, 5]
    assert _versions_told(caplog, LogEvent.JOB_TRANSITION_FORESTALLED) == []


def test_what_somebody_else_forestalled_is_said_and_not_told_as_done(
    wired: Database, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    transitions = Transitions(wired, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(wired)))
    assert isinstance(outcome, Applied)
    caplog.set_level(logging.DEBUG, logger="shared")
    key, scheduled = outcome.job.key, Scheduled(attempt=1, batch=BatchRef(NAME, "uid"))
    others = Transitions(wired, timing=TIMING, now=now)
    tries = 0

    def on_commit(forward: Forward) -> Answers:
        nonlocal tries
        tries += 1
        if tries == 1:
            others.apply(key, Cancelled(reason="text"), Actor.TENANT)
            # Nothing came of the first try, which this one does not know.
            raise TimeoutError
        return forward()

    wire.on_commit = on_commit
    assert isinstance(transitions.apply(key, scheduled, Actor.SCHEDULER), Stale)
    told = [(line["fields"]["transition"]["to"], line["event"]) for line in _transitions_told(caplog)]
    assert told == [
        ("SCHEDULED", LogEvent.JOB_TRANSITION_INTENDED.label),
        ("CANCELLED", LogEvent.JOB_TRANSITION_INTENDED.label),
        ("CANCELLED", LogEvent.JOB_TRANSITION.label),
        ("SCHEDULED", LogEvent.JOB_TRANSITION_FORESTALLED.label),
    ]
    assert_consistent(wired, key)


def _transitions_told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    lines = [vars(record) for record in caplog.records]
    return [line for line in lines if "transition" in line.get("fields", {})]


def _versions_told(caplog: pytest.LogCaptureFixture, event: LogEvent) -> list[int]:
    told = [line for line in _transitions_told(caplog) if line["event"] == event.label]
    return [line["fields"]["transition"]["version"] for line in told]


def test_a_commit_that_is_applied_late_collides(wired: Database, wire: Wire) -> None:
    transitions = Transitions(wired, timing=TIMING, now=now)
    outcome = transitions.submit(new_job(make_tenant(wired)))
    assert isinstance(outcome, Applied)
    held: list[Forward] = []

    def on_commit(forward: Forward) -> Answers:
        if not held:
            held.append(forward)
            raise TimeoutError
        return forward()

    wire.on_commit = on_commit
    transitions.apply(outcome.job.key, Cancelled(reason="text"), Actor.TENANT)
    with pytest.raises(grpc.RpcError) as collision:
        list(held[0]())
    assert collision.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert assert_consistent(wired, outcome.job.key).version == 2


def test_a_commit_that_is_never_answered_ends_in_time_and_is_settled(
    wired: Database, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.COMMIT_TIMEOUT", 0.3)
    bounded = connect("jennah-test", wired._instance.instance_id, wired.database_id)
    transitions = Transitions(bounded, timing=TIMING, now=now)
    job = new_job(make_tenant(wired))
    answer, commits = threading.Event(), wire.calls.count("Commit")

    def on_commit(forward: Forward) -> Answers:
        if wire.calls.count("Commit") == commits + 1:
            # The other commits have time: the machine may be busy.
            monkeypatch.undo()
            answer.wait(30)
        return forward()

    wire.on_commit = on_commit
    try:
        outcome = transitions.submit(job)
        assert isinstance(outcome, Applied)
    finally:
        answer.set()
    assert assert_consistent(wired, job.key).version == 1
    # Its read-write transactions work too.
    assert transitions.touch(Touch(outcome.job, next_check_at=None))
