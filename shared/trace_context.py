"""Which trace something belongs to, as it travels: in headers, in attributes of messages, in a job's row.

The formats are W3C Trace Context's `traceparent` and Google's older `X-Cloud-Trace-Context`. Standard library
only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

TRACEPARENT = "traceparent"
"""The header, and the attribute of messages."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CLOUD = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")
_SAMPLED = 1
_LARGEST_SPAN = 2**64 - 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace: 32 and 16 hexadecimal digits, and whether the trace is kept."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @classmethod
    def parse(cls, text: str | None) -> TraceContext | None:
        """Read a `traceparent`; None for anything else."""
        match = _TRACEPARENT.fullmatch(text or "")
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        # A later version begins as this one does, and may go on.
        known = version != "ff" and not (version == "00" and more)
        if not known or not int(trace_id, 16) or not int(span_id, 16):
            return None
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def of_headers(header: Callable[[str], str | None]) -> TraceContext | None:
    """The context that a request came with. Whoever sent the request chose it: it proves nothing."""
    found = TraceContext.parse(header("Traceparent"))
    if found is not None:
        return found
    match = _CLOUD.fullmatch(header("X-Cloud-Trace-Context") or "")
    if match is None:
        return None
    trace_id, span, option = match.groups()
    number = int(span or "0")
    if not int(trace_id, 16) or not 0 < number <= _LARGEST_SPAN:
        return None
    return TraceContext(trace_id.lower(), f"{number:016x}", option == "1")
