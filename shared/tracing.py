"""Spans and metrics, which are off unless `install` is called: then each of these costs next to nothing.

Nothing of OpenTelemetry is imported here; `otel` does that, where the settings ask for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from threading import Lock
from typing import Protocol, Self

from shared.model import JobKey
from shared.semantics import Attribute, Metric
from shared.trace_context import TraceContext, of_headers

Attributes = Mapping[str, str | int]

_LONGEST_ID = 64


class Kind(Enum):
    """What a span is to the one at the other end."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    PRODUCER = auto()
    CONSUMER = auto()


class Span(Protocol):
    """A piece of work that is being measured."""

    @property
    def context(self) -> TraceContext | None:
        """Its place in its trace, for whatever comes of it; None while spans are off."""

    def rename(self, name: str) -> None:
        """Name it, now that it is known what it is."""

    def set(self, attributes: Attributes) -> None:
        """Say more of it."""


class Instruments(Protocol):
    """What `install` takes; the functions below say what each does."""

    def span(  # noqa: D102
        self,
        name: str,
        kind: Kind,
        *,
        parent: TraceContext | None,
        root: bool,
        links: Sequence[TraceContext],
        attributes: Attributes,
        start: int | None,
    ) -> AbstractContextManager[Span]: ...
    def current(self) -> TraceContext | None: ...  # noqa: D102
    def count(self, metric: Metric, attributes: Attributes) -> None: ...  # noqa: D102
    def record(self, metric: Metric, value: float, attributes: Attributes) -> None: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102


class _NoSpan:
    """Stands for every span while they are off."""

    context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def rename(self, name: str) -> None:
        pass

    def set(self, attributes: Attributes) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Request:
    """What is served now.

    Attributes:
        execution_id: what Cloud Functions calls this execution.
        trace: the context that came with it: its sender's word.
        began: when, in nanoseconds since 1970.
    """

    execution_id: str | None
    trace: TraceContext | None
    began: int


_NO_SPAN = _NoSpan()
_instruments: Instruments | None = None
_request: ContextVar[Request | None] = ContextVar("request", default=None)
_in_flight = 0
_counting = Lock()


def install(instruments: Instruments | None) -> None:
    """Switch spans and metrics on for this process, or off again."""
    global _instruments  # noqa: PLW0603 - like logging, of which a process has one as well
    _instruments = instruments


def on() -> bool:
    """Whether they are on."""
    return _instruments is not None


@contextmanager
def request(header: Callable[[str], str | None]) -> Iterator[Request]:
    """Serve a request. When no other is being served at its end, what was measured is sent away.

    For an instance without requests gets no processor time: what is left then may never be sent.

    Args:
        header: gives a header by its name.
    """
    global _in_flight  # noqa: PLW0603
    execution_id = header("Function-Execution-Id")
    arrived = Request(execution_id and execution_id[:_LONGEST_ID], of_headers(header), time.time_ns())
    token = _request.set(arrived)
    with _counting:
        _in_flight += 1
    try:
        yield arrived
    finally:
        _request.reset(token)
        with _counting:
            _in_flight -= 1
            last = _in_flight == 0
        if last and _instruments is not None:
            _instruments.flush()


def served() -> Request | None:
    """The request that is being served."""
    return _request.get()


def job_attributes(key: JobKey, attempt: int) -> Attributes:
    """Which job a span is of."""
    return {
        Attribute.TENANT_ID: key.tenant_id,
        Attribute.JOB_ID: key.job_id,
        Attribute.JOB_ATTEMPT: attempt,
    }


def span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    parent: TraceContext | None = None,
    root: bool = False,
    links: Sequence[TraceContext] = (),
    attributes: Attributes | None = None,
    start: int | None = None,
) -> AbstractContextManager[Span]:
    """Measure a piece of work.

    Args:
        name: low in cardinality: no ids.
        kind: what it is to the one at the other end.
        parent: what it is a part of; None: of what is being measured now, if anything is.
        root: it begins a trace of its own.
        links: what else it follows from.
        attributes: what is known of it.
        start: when it began, in nanoseconds since 1970; None: now.
    """
    if _instruments is None:
        return _NO_SPAN
    return _instruments.span(
        name, kind, parent=parent, root=root, links=links, attributes=attributes or {}, start=start
    )


def here() -> TraceContext | None:
    """The span that is being measured."""
    return _instruments.current() if _instruments is not None else None


def current() -> TraceContext | None:
    """The span that is being measured, or else what the request came with, which is its sender's word."""
    if context := here():
        return context
    arrived = _request.get()
    return arrived.trace if arrived else None


def count(metric: Metric, attributes: Attributes) -> None:
    """Count one."""
    if _instruments is not None:
        _instruments.count(metric, attributes)


def record(metric: Metric, seconds: float, attributes: Attributes) -> None:
    """Note a duration."""
    if _instruments is not None:
        _instruments.record(metric, seconds, attributes)
