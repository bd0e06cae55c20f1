"""The names that telemetry uses: of log events, spans, metrics and their attributes. Standard library only.

Alerts, dashboards and tests know these names, so they do not change; docs/telemetry.md lists them. Those that
do not begin with `jennah.` are OpenTelemetry's semantic conventions (release 1.4x, whose package
`opentelemetry-semantic-conventions` a test compares them with) or Cloud Logging's.
"""

from __future__ import annotations

import logging
from enum import Enum, StrEnum
from typing import Final


class LogEvent(Enum):
    """What a line of the log is about: its `event`, and its severity."""

    # A job's life.
    JOB_TRANSITION = "job_transition", logging.INFO
    JOB_TRANSITION_INTENDED = "job_transition_intended", logging.DEBUG
    JOB_TRANSITION_FORESTALLED = "job_transition_forestalled", logging.DEBUG
    EVENT_IGNORED = "event_ignored", logging.INFO
    JOB_REPAIRED = "job_repaired", logging.INFO
    JOB_MESSAGE_REPEATED = "job_message_repeated", logging.INFO
    JOB_MESSAGE_LOST = "job_message_lost", logging.WARNING
    BATCH_JOB_STOPPED = "batch_job_stopped", logging.INFO
    PLATFORM_FAULT = "platform_fault", logging.ERROR
    NAME_TAKEN = "name_taken", logging.ERROR
    TENANT_DELETED = "tenant_deleted", logging.INFO
    # Requests and events.
    HTTP_REQUEST = "http_request", logging.INFO
    HTTP_UNEXPECTED_ERROR = "http_unexpected_error", logging.ERROR
    HTTP_BUSY = "http_busy", logging.WARNING
    EVENT_REFUSED = "event_refused", logging.ERROR
    EVENT_DEFERRED = "event_deferred", logging.WARNING
    # Reconciliation.
    RECONCILE_TICK = "reconcile_tick", logging.INFO
    CHECK_FAILED = "check_failed", logging.ERROR
    SWEEP_FAILED = "sweep_failed", logging.ERROR
    SWEEP_CUT_SHORT = "sweep_cut_short", logging.INFO
    ORPHAN_CANCELLED = "orphan_cancelled", logging.WARNING
    ORPHANS_LEFT_ALONE = "orphans_left_alone", logging.ERROR
    BATCH_JOB_FOREIGN = "batch_job_foreign", logging.WARNING
    BATCH_NOT_LISTED = "batch_not_listed", logging.WARNING
    TENANT_NOT_DELETED = "tenant_not_deleted", logging.ERROR
    # What is wrong around it.
    ROW_UNREADABLE = "row_unreadable", logging.ERROR
    LIMIT_UNREADABLE = "limit_unreadable", logging.ERROR
    SIGNING_KEYS_NOT_FETCHED = "signing_keys_not_fetched", logging.WARNING
    STREAM_STALLED = "stream_stalled", logging.WARNING
    STREAM_BROKEN = "stream_broken", logging.ERROR
    TELEMETRY_NOT_EXPORTED = "telemetry_not_exported", logging.WARNING

    def __init__(self, label: str, level: int) -> None:
        self.label = label
        self.level = level


class Ignored(StrEnum):
    """Why an event changed nothing."""

    DUPLICATE = "duplicate"
    STALE = "stale"
    NOT_FOUND = "not_found"
    FOREIGN = "foreign"
    EARLY = "early"


class LogField(StrEnum):
    """Keys of a line that Cloud Logging takes out of it, and gives a meaning."""

    SEVERITY = "severity"
    MESSAGE = "message"
    TIME = "time"
    TRACE = "logging.googleapis.com/trace"
    SPAN_ID = "logging.googleapis.com/spanId"
    TRACE_SAMPLED = "logging.googleapis.com/trace_sampled"
    LABELS = "logging.googleapis.com/labels"


class Attribute(StrEnum):
    """Attributes of spans and metrics."""

    ERROR_TYPE = "error.type"
    HTTP_REQUEST_METHOD = "http.request.method"
    HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
    HTTP_ROUTE = "http.route"
    MESSAGING_SYSTEM = "messaging.system"
    MESSAGING_OPERATION_NAME = "messaging.operation.name"
    MESSAGING_OPERATION_TYPE = "messaging.operation.type"
    MESSAGING_DESTINATION_NAME = "messaging.destination.name"
    RPC_SYSTEM_NAME = "rpc.system.name"
    RPC_METHOD = "rpc.method"
    # Ours.
    TENANT_ID = "jennah.tenant.id"
    JOB_ID = "jennah.job.id"
    JOB_ATTEMPT = "jennah.job.attempt"
    JOB_VERSION = "jennah.job.version"
    JOB_STATUS = "jennah.job.status"
    TRANSITION_FROM = "jennah.transition.from"
    TRANSITION_TO = "jennah.transition.to"
    TRANSITION_OUTCOME = "jennah.transition.outcome"
    TRANSITION_ACTOR = "jennah.transition.actor"
    IGNORED_REASON = "jennah.event.ignored"
    REPAIR = "jennah.repair"


PUBSUB: Final = "gcp_pubsub"
GRPC: Final = "grpc"
OTHER_METHOD: Final = "_OTHER"
"""Stands for an HTTP method that is none of the known ones."""

BATCH_SERVICE: Final = "google.cloud.batch.v1.BatchService"


class SpanName(StrEnum):
    """Names of spans; those of HTTP requests are `METHOD route`, those of calls of Batch the rpc.method."""

    SEND = "send"
    PROCESS = "process"
    TRANSITION = "job transition"
    CHECK = "job check"


class Metric(StrEnum):
    """Names of instruments. None has a tenant's or a job's id among its attributes."""

    TRANSITIONS = "jennah.job.transitions"
    ATTEMPT_DURATION = "jennah.job.attempt.duration"
    QUEUE_DURATION = "jennah.job.queue.duration"
    REPAIRS = "jennah.reconcile.repairs"
    IGNORED = "jennah.events.ignored"
