"""The log: whatever is said, a line of it is one JSON object of bounded length, and tells nothing secret."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import telemetry, tracing
from shared.model import JobKey
from shared.semantics import LogEvent
from tests.submissions import HOSTILE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text()
KEY = JobKey("7a1e8d1e-0000-4000-8000-000000000001", "7a1e8d1e-0000-4000-8000-000000000002")
TEXTS = [*HOSTILE, "\0", "x" * 1_000_000, "\n" * 1000, "\u2028{}\u2029", "\u202eabc", "%s %d"]

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was written, parsed; each line must be one JSON object."""
    logger, written = logging.getLogger("shared"), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(telemetry.lines_of("p"))
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)

    def read() -> list[dict[str, Any]]:
        *read, end = written.getvalue().split("\n")
        assert end == ""
        assert all(len(line) <= telemetry.MOST_LINE_CHARACTERS and line.isascii() for line in read)
        return [json.loads(line, parse_constant=fail) for line in read]

    yield read
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_the_log_goes_to_standard_output() -> None:
    said = "from shared import telemetry, semantics; telemetry.configure('p'); telemetry.configure('p'); "
    said += "telemetry.emit(semantics.LogEvent.TENANT_DELETED, 'gone')"
    done = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["message"] == "gone"
    assert done.stderr == ""


def test_half_a_character_is_one_json_object() -> None:
    """Formatted alone: pytest's workers can't tell each other of such a text."""
    told = {"msg": "said: \ud800", "event": "e", "labels": {"job": "\ud800"}, "fields": {"what": ["\ud800"]}}
    line = telemetry.lines_of("p").format(logging.makeLogRecord(told))
    assert line.isascii()
    assert json.loads(line)["message"].startswith("said: ")


def fail(why: str) -> None:
    raise ValueError(why)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:40])
def test_every_line_is_one_json_object(text: str, lines: Lines) -> None:
    telemetry.emit(LogEvent.EVENT_DEFERRED, "said: %s", text, key=JobKey(text, text), what={text: [text]})
    telemetry.emit(LogEvent.EVENT_REFUSED, text)
    try:
        fail(text)
    except ValueError:
        telemetry.emit(LogEvent.CHECK_FAILED, "raised", error=True)
    said, bare, raised = lines()
    assert (said["severity"], said["event"]) == ("WARNING", "event_deferred")
    cut = telemetry.text(text)[:1900]
    assert cut in said["message"]
    assert cut in said["logging.googleapis.com/labels"]["job"]
    assert bare["message"].startswith(cut)
    assert (raised["severity"], raised["message"]) == ("ERROR", "raised")
    assert text.strip() in raised["exception"] or len(text) > 100 or "@" in text


def test_a_line_whose_parts_are_all_long_is_still_one_of_bounded_length(lines: Lines) -> None:
    long = "\U0001f600" * 10_000
    parts = dict.fromkeys(map(str, range(50)), long)
    telemetry.emit(LogEvent.EVENT_DEFERRED, long, key=KEY, what=parts)
    telemetry.emit(LogEvent.EVENT_DEFERRED, long, key=JobKey(long, long), what=parts)
    line, bare = lines()
    assert line["event"] == bare["event"] == "event_deferred"
    assert line["message"].endswith("[cut]")
    assert line["logging.googleapis.com/labels"] == {"tenant": KEY.tenant_id, "job": KEY.job_id}
    assert "logging.googleapis.com/labels" not in bare


def test_what_json_has_no_number_for_is_text(lines: Lines) -> None:
    telemetry.emit(LogEvent.EVENT_DEFERRED, "said", what=[float("nan"), float("inf"), 0.5])
    assert lines()[0]["what"] == ["nan", "inf", 0.5]


def test_a_message_that_can_not_be_made_breaks_nothing() -> None:
    record = logging.LogRecord("shared", logging.INFO, "", 0, "%d jobs", ("many",), None)
    assert json.loads(telemetry.lines_of("p").format(record))["message"] == "%d jobs"


def test_a_line_says_of_what_and_within_what(lines: Lines) -> None:
    headers = {
        "Function-Execution-Id": "abcdef",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    with tracing.request(headers.get):
        telemetry.emit(LogEvent.PLATFORM_FAULT, "no", key=KEY, attempt=2, batch_job=None)
    telemetry.emit(LogEvent.TENANT_DELETED, "gone", tenant="t")
    fault, gone = lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", fault.pop("time"))
    assert fault == {
        "severity": "ERROR",
        "event": "platform_fault",
        "message": "no",
        "logging.googleapis.com/trace": "projects/p/traces/0af7651916cd43dd8448eb211c80319c",
        "logging.googleapis.com/spanId": "b7ad6b7169203331",
        "logging.googleapis.com/trace_sampled": True,
        "logging.googleapis.com/labels": {
            "tenant": KEY.tenant_id,
            "job": KEY.job_id,
            "attempt": "2",
            "execution_id": "abcdef",
        },
    }
    assert gone["logging.googleapis.com/labels"] == {"tenant": "t"}
    assert "logging.googleapis.com/trace" not in gone


SECRETS = [
    "ann@example.com",
    "Bearer abcdefghijklmnop",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "ya29.a0AfH6SMBx-abc",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_tokens_and_addresses_are_left_out(secret: str, lines: Lines) -> None:
    try:
        fail(secret)
    except ValueError:
        telemetry.emit(LogEvent.CHECK_FAILED, "it said %s.", secret, error=True, why={"a": [secret]})
    (line,) = lines()
    assert secret not in json.dumps(line)
    assert "it said " in line["message"]


def test_the_account_that_lacks_a_permission_is_named(lines: Lines) -> None:
    account = "scheduling@p.iam.gserviceaccount.com"
    telemetry.emit(LogEvent.PLATFORM_FAULT, "%s may not create jobs", account)
    assert account in lines()[0]["message"]


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_any_value_can_be_shown(message: str, fields: dict[str, object]) -> None:
    record = logging.LogRecord("shared", logging.INFO, "", 0, message, None, None)
    record.fields, record.event = fields, "x"
    line = telemetry.lines_of("p").format(record)
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line)["event"] == "x"


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in [*(ROOT / "shared").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.name, node


def test_every_line_is_written_by_emit() -> None:
    """So that each has a name that alerts can count."""
    others = re.compile(r"(_?log(ger|ging)?\.(debug|info|warning|error|exception|critical|log)|print)")
    found = {name for name, call in calls() if others.fullmatch(ast.unparse(call.func))}
    assert found == {"telemetry.py", "openapi.py"}  # the second prints the document for whoever runs it


def test_every_event_is_written_somewhere() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "shared").rglob("*.py"))
    assert [event for event in LogEvent if f"LogEvent.{event.name}" not in sources] == []


def test_the_page_lists_every_event_with_its_severity() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (DEBUG|INFO|WARNING|ERROR) \| ", PAGE, re.MULTILINE)
    assert rows == [(event.label, logging.getLevelName(event.level)) for event in LogEvent]
