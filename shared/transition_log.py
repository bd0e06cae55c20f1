"""What is said of transitions: lines, spans and counts, for every job and whoever moves it.

A job's history can be rebuilt from the lines alone. A process may die between its commit and the line; so
each commit is announced before (`job_transition_intended`), and a line tells from which version it leads on:
the reader fills a gap with the announcement that fits and was not taken back (`job_transition_forestalled`).
Only a job's first line needs none: it is always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from shared import tracing
from shared.events import AttemptFailed, Cancelled, Event, Succeeded
from shared.lifecycle import Applied, Decision, Duplicate, NotFound, Stale
from shared.model import Actor, Job, JobKey, JobStatus
from shared.semantics import Attribute, Ignored, LogEvent, Metric, SpanName
from shared.telemetry import emit, heard
from shared.trace_context import TraceContext


@contextmanager
def applying(
    before: Job | None, applied: Applied, actor: Actor, within: TraceContext | None = None
) -> Iterator[Applied]:
    """Announce a commit, and measure it.

    Args:
        before: the row as it was read; None for a new job, whose `trace_context` is that of the job that it
            does again.
        applied: what is going to be committed.
        actor: who caused it.
        within: the span that is being measured, where others are entered meanwhile.

    Yields:
        The same, where the row knows which span its attempt hangs beneath.
    """
    if before is not None:
        _tell(LogEvent.JOB_TRANSITION_INTENDED, before, applied, actor)
    job, opens = applied.job, before is None or applied.job.attempt > before.attempt
    if not tracing.on():
        yield replace(applied, job=replace(job, trace_context=None)) if before is None else applied
        return
    here, own = within or tracing.here(), TraceContext.parse((before or job).trace_context)
    links = [own] if own and opens else []
    if before is not None and own and (here is None or here.trace_id != own.trace_id):
        # Of another trace, as a cancel's request is: the transition belongs to the job's.
        links += [here] if here else []
        here = own
    attributes = {
        **tracing.job_attributes(job.key, job.attempt),
        Attribute.JOB_VERSION: job.version,
        Attribute.TRANSITION_FROM: applied.steps[0].from_status or "",
        Attribute.TRANSITION_TO: job.status,
        Attribute.TRANSITION_ACTOR: actor,
    }
    with tracing.span(SpanName.TRANSITION, parent=here, links=links, attributes=attributes) as span:
        if opens:
            applied = replace(
                applied, job=replace(job, trace_context=str(span.context) if span.context else None)
            )
        yield applied


def applied(before: Job | None, after: Applied, event: Event, actor: Actor) -> None:
    """Say what was committed.

    Args:
        before: the row as it was; None for a new job.
        after: what was committed, with the commit's time.
        event: what happened.
        actor: who caused it.
    """
    _tell(LogEvent.JOB_TRANSITION, before, after, actor)
    for step in after.steps:
        _count("applied", step.from_status, step.to_status)
    if before is None:
        return
    job = after.job
    if actor is Actor.RECONCILER:
        emit(
            LogEvent.JOB_REPAIRED,
            "reconciliation found what no message told: %s is %s",
            before.status,
            job.status,
            key=job.key,
            attempt=before.attempt,
            found=before.status,
            now=job.status,
            version=job.version,
        )
        tracing.count(Metric.REPAIRS, {Attribute.REPAIR: "transition"})
    if tracing.on() and job.updated_at is not None:
        _measure(before, after, event, job.updated_at)


def forestalled(before: Job, applied: Applied, actor: Actor) -> None:
    """Say that what was announced was not committed: somebody else moved the job first."""
    _tell(LogEvent.JOB_TRANSITION_FORESTALLED, before, applied, actor)


def ignored(key: JobKey, event: Event, decision: Decision) -> None:
    """Say that an event changed nothing, and why."""
    job: Job | None
    match decision:
        case Duplicate(job=job):
            reason, why = Ignored.DUPLICATE, f"the job is already {job.status}"
        case Stale(job=job, why=why):
            reason = Ignored.STALE
        case NotFound():
            reason, why, job = Ignored.NOT_FOUND, "there is no such job", None
        case _:
            return
    drop(reason, why, key, type(event).__name__, attempt=event.attempt, job=job)
    _count(reason, job.status if job else None, None)


def drop(
    reason: Ignored, why: str, key: JobKey, what: str, *, attempt: int | None = None, job: Job | None = None
) -> None:
    """Say that an event or a message changed nothing.

    Args:
        reason: why, for programs.
        why: for people.
        key: which job it is about.
        what: kind of event.
        attempt: of the job, as the event says.
        job: the row, as it stands.
    """
    emit(
        LogEvent.EVENT_IGNORED,
        "%s ignored: %s",
        what,
        why,
        key=key,
        attempt=attempt,
        ignored=reason,
        what=what,
        why=why,
        status=job.status if job else None,
        version=job.version if job else None,
    )
    tracing.count(Metric.IGNORED, {Attribute.IGNORED_REASON: reason})


def _tell(event: LogEvent, before: Job | None, applied: Applied, actor: Actor) -> None:
    """A line for each step of a commit."""
    if not heard(event):
        return
    job = applied.job
    since = job.version - len(applied.steps)
    for version, step in enumerate(applied.steps, start=since + 1):
        counted = job if before is None or step.attempt > before.attempt else before
        emit(
            event,
            "%s -> %s",
            step.from_status or "new",
            step.to_status,
            key=job.key,
            attempt=step.attempt,
            transition={
                "from": step.from_status,
                "to": step.to_status,
                "version": version,
                "commit": [since, job.version],
                "attempt": step.attempt,
                "retry_count": counted.retry_count,
                "reason": _reason(step.reason, job),
                "actor": actor,
            },
        )


def _reason(reason: str, job: Job) -> str:
    """Without values of the job's environment, which Batch may have quoted."""
    for value in job.spec.env.values():
        if len(value) > 3 and value in reason:
            reason = reason.replace(value, "[env]")
    return reason


def _count(outcome: str, source: JobStatus | None, target: JobStatus | None) -> None:
    if tracing.on():
        attributes: tracing.Attributes = {
            Attribute.TRANSITION_FROM: source or "",
            Attribute.TRANSITION_TO: target or "",
            Attribute.TRANSITION_OUTCOME: outcome,
        }
        tracing.count(Metric.TRANSITIONS, attributes)


def _measure(before: Job, after: Applied, event: Event, at: datetime) -> None:
    """Note how long the attempt waited, and how long it ran."""
    reached = {step.to_status for step in after.steps}
    if before.status is JobStatus.PENDING and JobStatus.SCHEDULED in reached:
        since = max(filter(None, (before.updated_at, before.not_before)), default=at)
        _record(Metric.QUEUE_DURATION, since, at, JobStatus.PENDING)
    if before.status is JobStatus.SCHEDULED and JobStatus.RUNNING in reached and before.scheduled_at:
        _record(Metric.QUEUE_DURATION, before.scheduled_at, at, JobStatus.SCHEDULED)
    if not isinstance(event, Succeeded | AttemptFailed | Cancelled):
        return
    # Batch's own times, where it told them: a notification may be late.
    began, ended = event.started_at or before.started_at, event.finished_at or at
    if began is not None:
        end = {AttemptFailed: JobStatus.FAILED, Succeeded: JobStatus.COMPLETED}.get(
            type(event), JobStatus.CANCELLED
        )
        _record(Metric.ATTEMPT_DURATION, began, ended, end)


def _record(metric: Metric, began: datetime, ended: datetime, status: JobStatus) -> None:
    tracing.record(metric, max((ended - began).total_seconds(), 0.0), {Attribute.JOB_STATUS: status})
