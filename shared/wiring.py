"""Puts the pieces together, once per process and only when first needed: importing this connects to nothing.

What one function never uses is not imported for it: its instances start faster and stay smaller.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial, wraps
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from flask import Request, Response
from google.cloud.spanner_v1.database import Database

from shared import telemetry, tracing
from shared.commits import PATIENT, Patience
from shared.config import Settings
from shared.database import connect
from shared.errors import JennahError, MethodNotAllowed, SettingsError
from shared.rows import Reads
from shared.transitions import Transitions

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from shared.dispatch import Dispatch
    from shared.follow import Batch, Follower
    from shared.http import Api
    from shared.identity import TokenVerifier
    from shared.messages import JobMessage
    from shared.publisher import JobPublisher
    from shared.reconcile import Reconciliation
    from shared.switches import Switches
    from shared.task_logs import TaskLogs


# How long a reconciliation repeats a commit: the next tick comes soon, and other rows wait meanwhile.
_SHORT = Patience(seconds=2)

_T = TypeVar("_T")
_making = RLock()


def _once(make: Callable[[], _T]) -> Callable[[], _T]:
    """Like functools.cache, but threads that arrive together wait for one to make it."""
    cached = cache(make)

    @wraps(make)
    def get() -> _T:
        with _making:
            return cached()

    return get


@_once
def settings() -> Settings:
    """The settings of this process."""
    chosen = Settings.from_env(os.environ)
    telemetry.configure(chosen.project)
    return chosen


@_once
def _instruments() -> None:
    """Switch spans and metrics on, if they are wanted.

    With the first request: by then the server has forked, which the exporters would not have survived.
    """
    if settings().telemetry.on:
        from shared.otel import Otel  # noqa: PLC0415

        tracing.install(Otel(settings().telemetry))


def start(*needed: Callable[[], object]) -> None:
    """Refuse to start with wrong settings: one sentence on standard error, exit code 1.

    Args:
        needed: what else to make now, because it may find a setting wrong. It must not connect.
    """
    try:
        settings()
        for make in needed:
            make()
    except SettingsError as error:
        raise SystemExit(str(error)) from None


@_once
def _started() -> None:
    """Let the collector begin (see `cold_start`), and never look through what is there by now."""
    gc.freeze()
    gc.enable()


def job_account() -> None:
    """What a function that creates jobs needs to start."""
    settings().require_job_account()


@_once
def database() -> Database:
    """The Spanner database."""
    chosen = settings()
    if chosen.spanner_emulator_host:
        # The emulator (1.5.28) breaks concurrent read-write transactions on multiplexed sessions.
        os.environ.setdefault("GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW", "false")
    return connect(chosen.project, chosen.spanner_instance, chosen.spanner_database)


@_once
def verifier() -> TokenVerifier:
    """Proves who is calling; reaches the issuers only when the first token comes."""
    from shared.identity import TokenVerifier  # noqa: PLC0415

    return TokenVerifier(settings().issuers, operators=settings().operators)


@_once
def api() -> Api:
    """The HTTP API."""
    _instruments()
    from shared.buckets import Rate  # noqa: PLC0415
    from shared.handlers import Handlers  # noqa: PLC0415
    from shared.http import Api  # noqa: PLC0415
    from shared.job_events import Trail  # noqa: PLC0415
    from shared.jobs import Jobs  # noqa: PLC0415
    from shared.limits import Limiter  # noqa: PLC0415
    from shared.logs import Logs  # noqa: PLC0415
    from shared.places import Places  # noqa: PLC0415
    from shared.streams import Streams  # noqa: PLC0415
    from shared.tenants import Tenants  # noqa: PLC0415
    from shared.usage import OpenJobs  # noqa: PLC0415

    chosen = settings()
    jobs = Jobs(
        transitions=_transitions(),
        reads=Reads(database()),
        publish=_publisher().publish,
        batch_parent=chosen.batch_parent,
        images=chosen.images,
    )
    tenants = Tenants(database(), chosen.admission)
    limiter = Limiter(chosen.limits, OpenJobs(database()))
    reads, timing = Reads(database()), chosen.timing
    handlers = Handlers(
        jobs=jobs,
        tenants=tenants,
        limiter=limiter,
        streams=Streams(Places("streams", chosen.threads // 2), seconds=timing.stream.total_seconds()),
        trail=partial(Trail, reads),
        logs=Logs(
            reads=reads,
            task_logs=_task_logs,
            timing=timing,
            now=_now,
            rate=Rate("log_reads", timing.log_spacing.total_seconds()),
        ),
        log_pause=timing.log_pause.total_seconds(),
        # A quarter of the threads, so that with all streams open another one is left for everything else.
        log_reads=Places("log_reads", max(1, chosen.threads // 4)),
    )
    made = Api(
        handlers=handlers,
        tenants=tenants,
        verifier=verifier(),
        body_seconds=timing.body.total_seconds(),
    )
    _started()
    return made


@_once
def dispatch() -> Dispatch:
    """Scheduling and notification."""
    from shared.dispatch import Dispatch  # noqa: PLC0415

    return Dispatch(
        transitions=_transitions(),
        reads=Reads(database()),
        batch=_batch(),
        follower=_follower(_transitions()),
        switches=_switches(),
        settings=settings(),
        now=_now,
    )


@_once
def reconciliation() -> Reconciliation:
    """Reconciliation."""
    from shared.orphans import Orphans  # noqa: PLC0415
    from shared.reconcile import Reconciliation  # noqa: PLC0415
    from shared.tenant_deletion import TenantDeletion  # noqa: PLC0415

    transitions, reads = _transitions(_SHORT), Reads(database())
    return Reconciliation(
        transitions=transitions,
        reads=reads,
        batch=_batch(),
        follower=_follower(transitions),
        orphans=Orphans(reads=reads, batch=_batch(), settings=settings(), now=_now),
        deletion=TenantDeletion(
            database(),
            reads=reads,
            transitions=transitions,
            publish=_publish,
            timing=settings().timing,
            now=_now,
        ),
        switches=_switches(),
        publish=_publish,
        settings=settings(),
        now=_now,
    )


def handle_event(request: Request, use: Callable[[CloudEvent], object]) -> Response:
    """Decode a pushed event, use it, and answer: 204 once its effect is committed.

    Any other answer makes Pub/Sub deliver again, and in the end keep the event in the dead-letter topic:
    400 for one that nothing can repair, 503 for one that may succeed later.
    """
    from shared.delivery import receive  # noqa: PLC0415

    if request.method != "POST":
        return _refused(MethodNotAllowed("Events are posted here.", {"allowed": ["POST"]}))
    _instruments()
    try:
        with tracing.request(request.headers.get):
            refusal = receive(dict(request.headers), request.get_data(), use)
    finally:
        _started()
    return _refused(refusal) if refusal else Response(status=204)


def _refused(error: JennahError) -> Response:
    from shared.http import error_response  # noqa: PLC0415

    return error_response(error)


def _transitions(patience: Patience = PATIENT) -> Transitions:
    return Transitions(database(), timing=settings().timing, now=_now, patience=patience)


def _switches() -> Switches:
    from shared.switches import Switches  # noqa: PLC0415

    return Switches(database(), now=_now)


@_once
def _batch() -> Batch:
    from shared.batch_client import BatchClient, connect  # noqa: PLC0415

    chosen = settings()
    return BatchClient(connect(chosen.batch_emulator_host), create_deadline=chosen.timing.create_deadline)


@_once
def _task_logs() -> TaskLogs:
    from shared.log_client import LogClient  # noqa: PLC0415

    return LogClient(emulator_host=settings().logging_emulator_host)


@_once
def _publisher() -> JobPublisher:
    from shared.publisher import JobPublisher, connect  # noqa: PLC0415

    chosen = settings()
    topic = f"projects/{chosen.project}/topics/{chosen.jobs_topic}"
    return JobPublisher(topic, connect(chosen.pubsub_emulator_host))


def _publish(*messages: JobMessage) -> bool:
    """Publish, seldom: the client is imported with the first message."""
    return _publisher().publish(*messages)


def _follower(transitions: Transitions) -> Follower:
    from shared.follow import Follower  # noqa: PLC0415

    return Follower(
        transitions=transitions,
        reads=Reads(database()),
        batch=_batch(),
        publish=_publish,
        settings=settings(),
        now=_now,
    )


def _now() -> datetime:
    return datetime.now(UTC)
