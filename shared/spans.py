"""The spans of a job's trace.

A job has one trace. The span that opens an attempt (its submission, or the failure that it is retried after)
is kept in the job's row; whatever happens to that attempt hangs beneath it, whoever does it. The opening of a
retry links to the opening of the attempt before.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from shared import tracing
from shared.messages import JobMessage
from shared.model import Job, JobKey
from shared.semantics import BATCH_SERVICE, GRPC, PUBSUB, Attribute, SpanName
from shared.trace_context import TraceContext
from shared.tracing import Attributes, Kind, Span


def sending(message: JobMessage, topic: str) -> AbstractContextManager[Span]:
    """The publishing of a message about a job."""
    return tracing.span(
        f"{SpanName.SEND} {topic}",
        Kind.PRODUCER,
        parent=message.trace,
        attributes=_messaging(message.key, message.attempt, topic, "send") if tracing.on() else None,
    )


def processing(job: Job, topic: str, sent: TraceContext | None = None) -> AbstractContextManager[Span]:
    """What a function does about a job, from the moment at which the message came.

    Args:
        job: the row.
        topic: where the message came from.
        sent: what the message says that it follows from. It is believed only within the job's own trace.
    """
    if not tracing.on():
        return tracing.span("")
    own = TraceContext.parse(job.trace_context)
    ours = sent is not None and own is not None and sent.trace_id == own.trace_id
    served = tracing.served()
    return tracing.span(
        f"{SpanName.PROCESS} {topic}",
        Kind.CONSUMER,
        parent=sent if ours else own,
        root=own is None,
        links=[sent] if sent and not ours else [],
        attributes=_messaging(job.key, job.attempt, topic, "process"),
        start=served.began if served else None,
    )


def checking(job: Job) -> AbstractContextManager[Span]:
    """What reconciliation does about a job."""
    if not tracing.on():
        return tracing.span("")
    own, tick = TraceContext.parse(job.trace_context), tracing.here()
    return tracing.span(
        SpanName.CHECK,
        parent=own,
        root=own is None,
        links=[tick] if tick else [],
        attributes=tracing.job_attributes(job.key, job.attempt),
    )


def ticking() -> AbstractContextManager[Span]:
    """All that reconciliation does in one tick; what it does about a job is in the job's trace."""
    return tracing.span(f"{SpanName.PROCESS} ticks", Kind.CONSUMER, root=True)


def calling(method: str) -> AbstractContextManager[Span]:
    """A call of the Batch API."""
    if not tracing.on():
        return tracing.span("")
    name = f"{BATCH_SERVICE}/{method}"
    attributes: Attributes = {
        Attribute.RPC_SYSTEM_NAME: GRPC,
        Attribute.RPC_METHOD: name,
    }
    return tracing.span(name, Kind.CLIENT, attributes=attributes)


def _messaging(key: JobKey, attempt: int, topic: str, operation: str) -> Attributes:
    return {
        **tracing.job_attributes(key, attempt),
        Attribute.MESSAGING_SYSTEM: PUBSUB,
        Attribute.MESSAGING_OPERATION_NAME: operation,
        Attribute.MESSAGING_OPERATION_TYPE: operation,
        Attribute.MESSAGING_DESTINATION_NAME: topic,
    }
