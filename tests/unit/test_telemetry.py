"""The log: whatever is said, a line of it is one JSON object."""

from __future__ import annotations

import json
import logging

import pytest

from shared import telemetry
from tests.submissions import HOSTILE

TEXTS = [*HOSTILE, "\0", "\ud800", "x" * 1_000_000, "\n" * 1000, "\u2028{}\u2029"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:40])
def test_every_line_is_one_json_object(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("shared")
    before, propagates = logger.handlers[:], logger.propagate
    logger.handlers.clear()
    telemetry.configure()
    try:
        logger.info("said: %s", text, extra={"job": text, "batch": text})
        logger.error("raised", exc_info=ValueError(text))
    finally:
        logger.handlers[:], logger.propagate = before, propagates
    said, raised = map(json.loads, capsys.readouterr().out.split("\n")[:-1])
    assert said == {"severity": "INFO", "message": f"said: {text}", "job": text, "batch": text}
    assert (raised["severity"], raised["message"]) == ("ERROR", "raised")
    assert text.strip() in raised["exception"] or len(text) > 1000
