"""Retries: verdicts against an oracle written the long way round, backoff within its limits, Spot VMs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.config import Timing
from shared.events import AttemptFailed, BatchRef, Failure
from shared.lifecycle import Applied, decide
from shared.model import Job, JobStatus
from shared.retry import judge, next_attempt, on_spot
from shared.spec import Backoff, FailureReason, JobSpec, Provisioning, RetryAction, RetryPolicy, RetryRule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMING = Timing()
REF = BatchRef("projects/p/locations/l/jobs/j-1", "uid-1")

# Few values, so that rules and failures meet.
codes = st.sampled_from([1, 2, 137, 50_001, 50_005])
reasons = st.sampled_from(FailureReason)
actions = st.sampled_from(RetryAction)
rules = st.lists(
    st.builds(RetryRule, exit_codes=st.lists(codes, min_size=1, max_size=3).map(tuple), action=actions)
    | st.builds(RetryRule, reasons=st.lists(reasons, min_size=1, max_size=3).map(tuple), action=actions),
    max_size=4,
).map(tuple)
failures = st.builds(Failure, reasons, st.just("it broke"), st.none() | codes)
backoffs = st.builds(
    Backoff,
    first_delay_seconds=st.integers(0, 86_400),
    factor=st.floats(1, 10) | st.integers(1, 10),
    max_delay_seconds=st.integers(0, 86_400),
)
policies = st.builds(
    RetryPolicy,
    backoff=st.none() | backoffs,
    rules=rules,
    max_infrastructure_retries=st.integers(0, 20),
)
specs = st.builds(
    JobSpec,
    name=st.none() | st.text(max_size=5),
    env=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    timeout_seconds=st.integers(1, 1_209_600),
    retry=policies,
    provisioning=st.sampled_from(Provisioning),
)


def a_job(policy: RetryPolicy | None = None, **fields: object) -> Job:
    """A job whose first attempt runs."""
    job = Job(
        tenant_id="t",
        job_id="j",
        image_uri="i",
        status=JobStatus.RUNNING,
        version=3,
        spec=JobSpec(retry=policy or RetryPolicy()),
        gcp_batch_job_name=REF.name,
        batch_uid=REF.uid,
    )
    return replace(job, **fields)  # type: ignore[arg-type]  # each test names real fields


def fail(job: Job, failure: Failure) -> Applied:
    """What becomes of a job whose attempt failed."""
    event = AttemptFailed(attempt=job.attempt, batch=REF, failure=failure, ran=True)
    decision = decide(job, event, now=NOW, timing=TIMING, jitter=0.5)
    assert isinstance(decision, Applied)
    return decision


def reasons_of(decision: Applied) -> list[str]:
    return [step.reason for step in decision.steps]


# Whose budget each cause spends; those that are missing are never tried again.
BUDGETS = {
    "user_exit": "tenant",
    "timeout": "tenant",
    "unknown": "tenant",
    "spot_preemption": "infrastructure",
    "vm_lost": "infrastructure",
    "vanished": "infrastructure",
    "queue_timeout": "infrastructure",
}


@given(
    rules=rules,
    failure=failures,
    tenants=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    infrastructures=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_the_verdict_is_the_first_matching_rules_then_the_budgets(
    rules: tuple[RetryRule, ...],
    failure: Failure,
    tenants: tuple[int, int],
    infrastructures: tuple[int, int],
) -> None:
    (used, budget), (infra_used, infra_budget) = tenants, infrastructures
    policy = RetryPolicy(rules=rules, max_infrastructure_retries=infra_budget)
    job = a_job(policy, retry_count=used, max_retries=budget, infra_retry_count=infra_used)

    whose = BUDGETS.get(failure.reason.value)
    left = {None: 0, "tenant": budget - used, "infrastructure": infra_budget - infra_used}[whose]
    matching = [
        rule.action.value
        for rule in rules
        if any(code == failure.exit_code for code in rule.exit_codes) or failure.reason in set(rule.reasons)
    ]
    expected = left > 0 and [*matching, "retry"][0] == "retry"

    decision = fail(job, failure)
    assert judge(job, failure).again == expected
    assert (decision.job.status is JobStatus.PENDING) == expected
    assert decision.job.retry_count == used + (expected and whose == "tenant")
    assert decision.job.infra_retry_count == infra_used + (expected and whose == "infrastructure")


@given(kinds=st.lists(st.tuples(st.booleans(), actions), min_size=1, max_size=4))
def test_of_several_rules_that_match_the_first_decides(kinds: list[tuple[bool, RetryAction]]) -> None:
    matching = tuple(
        RetryRule(exit_codes=(2,), action=action)
        if by_code
        else RetryRule(reasons=(FailureReason.USER_EXIT,), action=action)
        for by_code, action in kinds
    )
    verdict = judge(a_job(RetryPolicy(rules=matching)), EXIT_2)
    assert verdict.again == (kinds[0][1] is RetryAction.RETRY)
    assert "rule 1 says" in verdict.why


@pytest.mark.parametrize(
    "reason", [FailureReason.REJECTED, FailureReason.NAME_TAKEN, FailureReason.PLATFORM_FAULT]
)
def test_no_rule_brings_back_what_is_never_tried_again(reason: FailureReason) -> None:
    rule = RetryRule(reasons=(reason,), action=RetryAction.RETRY)
    decision = fail(a_job(RetryPolicy(rules=(rule,))), Failure(reason, "no"))
    assert decision.job.status is JobStatus.FAILED
    assert reasons_of(decision) == [f"{reason}: no; not retried: {reason} never is"]


FAIL_ON_2 = RetryRule(exit_codes=(1, 2), action=RetryAction.FAIL)
RETRY_TIMEOUTS = RetryRule(reasons=(FailureReason.TIMEOUT,), action=RetryAction.RETRY)
FAIL_ON_PREEMPTION = RetryRule(reasons=(FailureReason.SPOT_PREEMPTION,), action=RetryAction.FAIL)
EXIT_2 = Failure(FailureReason.USER_EXIT, "the container exited with code 2", 2)
EXIT_3 = Failure(FailureReason.USER_EXIT, "the container exited with code 3", 3)
LATE = Failure(FailureReason.TIMEOUT, "it ran longer than its timeout", 50_005)
PREEMPTED = Failure(FailureReason.SPOT_PREEMPTION, "the Spot VM was preempted", 50_001)


@pytest.mark.parametrize(
    ("failure", "fields", "why"),
    [
        (EXIT_3, {}, "retry 1 of 3"),
        (EXIT_3, {"retry_count": 2}, "retry 3 of 3"),
        (LATE, {}, "retry 1 of 3: rule 2 says retry on timeout"),
        (EXIT_2, {}, "not retried: rule 1 says fail on exit code 2"),
        (EXIT_3, {"retry_count": 3}, "not retried: 3 of 3 retries are used"),
        (LATE, {"retry_count": 3}, "not retried: 3 of 3 retries are used"),
        (EXIT_3, {"max_retries": 0}, "not retried: 0 of 0 retries are used"),
        (PREEMPTED, {"spec": JobSpec()}, "retry after spot_preemption, 1 of 5"),
        (
            PREEMPTED,
            {"spec": JobSpec(), "infra_retry_count": 5},
            "not retried: 5 of 5 infrastructure retries are used",
        ),
        (PREEMPTED, {}, "not retried: rule 3 says fail on spot_preemption"),
    ],
    ids=str,
)
def test_the_audit_trail_says_why_there_is_a_retry_or_none(
    failure: Failure, fields: dict[str, object], why: str
) -> None:
    policy = RetryPolicy(rules=(FAIL_ON_2, RETRY_TIMEOUTS, FAIL_ON_PREEMPTION))
    said = reasons_of(fail(a_job(policy, **fields), failure))
    failed = str(failure)
    assert said == ([f"{failed}; {why}"] if why.startswith("not") else [failed, why])


# The most attempts that the budgets of the API allow are 31.
@given(policy=policies, attempt=st.integers(1, 31), jitter=st.floats(0, 1, exclude_max=True))
@example(
    policy=RetryPolicy(backoff=Backoff(first_delay_seconds=86_400, factor=10.0, max_delay_seconds=86_400)),
    attempt=100_000,
    jitter=0.5,
)
@example(policy=RetryPolicy(), attempt=100_000, jitter=0.5)
def test_backoff_waits_a_share_of_a_delay_that_grows_to_its_limit(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    job = a_job(policy, attempt=attempt)
    after = next_attempt(job, FailureReason.USER_EXIT, now=NOW, timing=TIMING, jitter=jitter)
    # The deployment's own lets the first retry go at once, and then grows in the same way.
    backoff = policy.backoff or Backoff(first_delay_seconds=10, factor=2, max_delay_seconds=600)
    times = attempt if policy.backoff else attempt - 1
    longest = float(backoff.first_delay_seconds if times else 0)
    for _ in range(times - 1):
        longest = min(longest * backoff.factor, backoff.max_delay_seconds)
    longest = min(longest, backoff.max_delay_seconds)
    waited = timedelta() if after.not_before is None else after.not_before - NOW
    assert waited.total_seconds() == pytest.approx(longest * jitter, rel=1e-9, abs=2e-6)
    assert (after.not_before is None) == (longest == 0)


def test_the_deployments_backoff_retries_at_once_first_and_a_jobs_own_does_not() -> None:
    job = a_job()
    first = next_attempt(job, FailureReason.USER_EXIT, now=NOW, timing=TIMING, jitter=0.5)
    assert first.not_before is None
    own = a_job(RetryPolicy(backoff=Backoff()))
    first = next_attempt(own, FailureReason.USER_EXIT, now=NOW, timing=TIMING, jitter=0.5)
    assert first.not_before == NOW + timedelta(seconds=5)
    assert fail(own, EXIT_3).job.next_check_at == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("provisioning", list(Provisioning))
@given(used=st.integers(0, 20), budget=st.integers(0, 20))
def test_the_last_infrastructure_retry_may_leave_spot(
    provisioning: Provisioning, used: int, budget: int
) -> None:
    spec = JobSpec(provisioning=provisioning, retry=RetryPolicy(max_infrastructure_retries=budget))
    job = a_job(spec=spec, infra_retry_count=min(used, budget))
    last = budget - min(used, budget) == 0
    assert (
        on_spot(job)
        == {
            Provisioning.STANDARD: False,
            Provisioning.SPOT: True,
            Provisioning.SPOT_THEN_STANDARD: not last,
        }[provisioning]
    )


@given(spec=specs)
def test_a_spec_is_read_as_it_was_stored(spec: JobSpec) -> None:
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


OLD = {"name": "n", "env": {"A": "1"}, "timeout_seconds": 60, "max_infrastructure_retries": 2}


def test_rows_from_before_the_retry_policy_are_read() -> None:
    policy = RetryPolicy(max_infrastructure_retries=2)
    assert JobSpec.from_json(OLD) == JobSpec(name="n", env={"A": "1"}, timeout_seconds=60, retry=policy)
    assert JobSpec.from_json(None) == JobSpec.from_json({}) == JobSpec()
    newer = {"max_infrastructure_retries": 2, "retry": {"max_infrastructure_retries": 7}}
    assert JobSpec.from_json(newer).retry.max_infrastructure_retries == 7


@given(spec=specs)
def test_what_a_newer_release_stored_beside_is_ignored(spec: JobSpec) -> None:
    stored = spec.to_json()
    stored["tier"] = {"class": "high"}
    stored["retry"]["per_day"] = 5
    for rule in stored["retry"]["rules"]:
        rule["within_seconds"] = 60
    if stored["retry"]["backoff"]:
        stored["retry"]["backoff"]["jitter"] = "none"
    assert JobSpec.from_json(stored) == spec


@pytest.mark.parametrize(
    "stored",
    [
        {"provisioning": "reserved"},
        {"retry": {"rules": [{"reasons": ["timeout"], "action": "pause"}]}},
        {"retry": {"rules": [{"reasons": ["eclipse"], "action": "fail"}]}},
    ],
    ids=str,
)
def test_a_value_that_this_release_does_not_know_is_not_guessed(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        JobSpec.from_json(stored)
