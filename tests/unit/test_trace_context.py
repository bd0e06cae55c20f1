"""Trace contexts as they travel: what is none, or is another's idea of one, is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.trace_context import TraceContext, of_headers

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_traceparent_is_read(text: str, sampled: bool) -> None:
    assert TraceContext.parse(text) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"\u06600-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_traceparent_is_nothing(text: str | None) -> None:
    assert TraceContext.parse(text) is None


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    TraceContext.parse(text)
    of_headers({"X-Cloud-Trace-Context": text}.get)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_can_be_read(trace: int, span: int, sampled: bool) -> None:
    context = TraceContext(f"{trace:032x}", f"{span:016x}", sampled)
    assert TraceContext.parse(str(context)) == context
    assert len(str(context)) == 55  # as long as the column


@pytest.mark.parametrize(
    ("text", "context"),
    [
        (f"{TRACE}/10;o=1", TraceContext(TRACE, "000000000000000a", sampled=True)),
        (f"{TRACE.upper()}/10;o=0", TraceContext(TRACE, "000000000000000a", sampled=False)),
        (f"{TRACE}/18446744073709551615", TraceContext(TRACE, "f" * 16, sampled=False)),
        (f"{TRACE}/18446744073709551616;o=1", None),
        (f"{TRACE};o=1", None),
        (f"{TRACE}/0;o=1", None),
        (f"{'0' * 32}/1;o=1", None),
        ("x", None),
    ],
)
def test_googles_older_header_is_read(text: str, context: TraceContext | None) -> None:
    assert of_headers({"X-Cloud-Trace-Context": text}.get) == context


def test_traceparent_comes_first() -> None:
    headers = {"Traceparent": f"00-{TRACE}-{SPAN}-01", "X-Cloud-Trace-Context": f"{'a' * 32}/1"}
    assert of_headers(headers.get) == TraceContext(TRACE, SPAN, sampled=True)
