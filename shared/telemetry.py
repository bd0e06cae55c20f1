"""The log: one JSON object a line on standard output, in Cloud Logging's shape.

A line says what it is about (`semantics.LogEvent`), of which tenant, job and attempt, and within which trace.
No secret, token, environment value or email is in it, and it is of bounded length, whatever was said.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from shared import tracing
from shared.model import JobKey
from shared.semantics import LogEvent, LogField

_logger = logging.getLogger("shared")

MOST_CHARACTERS: Final = 2000
"""Of one text in a line; of an exception the last 8,000."""
MOST_LINE_CHARACTERS: Final = 64 * 1024
"""Cloud Logging takes 256 KiB."""

# What a line keeps that would be longer, beside its message.
_LEAST = (LogField.SEVERITY, LogField.TIME, "event", LogField.TRACE, LogField.SPAN_ID)
_LABELLED = (*_LEAST, LogField.LABELS)

_MOST_TRACEBACK = 8000
_CUT = " [cut]"

# Service accounts are no people: who may not do what is all that a permission error has to say.
_EMAIL = re.compile(r"[\w.+-]{1,64}@(?![\w-]+\.iam\.gserviceaccount\.com\b)[\w-]+(?:\.[\w-]+)*")
# JSON Web Tokens, Google's access tokens, and whatever a header calls a token.
_TOKEN = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,2}|ya29\.[\w.-]+|(?i:bearer)\s+[\w.~+/=-]{8,}")


def emit(
    event: LogEvent,
    message: str,
    *arguments: object,
    tenant: str | None = None,
    key: JobKey | None = None,
    attempt: int | None = None,
    error: bool = False,
    **fields: object,
) -> None:
    """Write a line.

    Args:
        event: what it is about.
        message: for people, as `logging` takes it with its arguments.
        arguments: as above.
        tenant: whom it concerns, where no job tells.
        key: the job.
        attempt: of the job.
        error: whether the exception that is being handled is shown.
        fields: more for programs, as JSON has it; None is left out.
    """
    if not heard(event):
        return
    labels = {
        "tenant": key.tenant_id if key else tenant,
        "job": key.job_id if key else None,
        "attempt": None if attempt is None else str(attempt),
    }
    extra = {"event": event.label, "labels": labels, "fields": fields}
    _logger.log(event.level, message, *arguments, extra=extra, exc_info=error, stacklevel=2)


def heard(event: LogEvent) -> bool:
    """Whether lines about it are written at all, where it costs something to make them."""
    return _logger.isEnabledFor(event.level)


def configure(project: str) -> None:
    """Send our own log to standard output as JSON lines. Idempotent.

    Args:
        project: whose traces the lines name.
    """
    if not _logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(lines_of(project))
        _logger.addHandler(handler)
        _logger.setLevel(logging.DEBUG)
        _logger.propagate = False


def lines_of(project: str) -> logging.Formatter:
    """What makes a line of a record."""
    return _JsonLines(project)


class _JsonLines(logging.Formatter):
    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            LogField.SEVERITY: record.levelname,
            LogField.TIME: datetime.fromtimestamp(record.created, UTC).isoformat(),
            "event": getattr(record, "event", record.name),
            LogField.MESSAGE: _message(record),
        }
        if trace := tracing.current():
            entry[LogField.TRACE] = f"projects/{self._project}/traces/{trace.trace_id}"
            entry[LogField.SPAN_ID] = trace.span_id
            entry[LogField.TRACE_SAMPLED] = trace.sampled
        labels = {name: value for name, value in getattr(record, "labels", {}).items() if value is not None}
        if (served := tracing.served()) and served.execution_id:
            labels["execution_id"] = served.execution_id
        if labels:
            entry[LogField.LABELS] = bounded(labels)
        for name, value in getattr(record, "fields", {}).items():
            if value is not None:
                entry.setdefault(name, bounded(value))
        if record.exc_info:
            entry["exception"] = _clean(self.formatException(record.exc_info)[-_MOST_TRACEBACK:])
        line = json.dumps(entry)
        for kept in (_LABELLED, _LEAST):
            if len(line) > MOST_LINE_CHARACTERS:
                short = {name: entry[name] for name in kept if name in entry}
                line = json.dumps(short | {LogField.MESSAGE: entry[LogField.MESSAGE] + _CUT})
        return line


def _message(record: logging.LogRecord) -> str:
    try:
        return text(record.getMessage())
    except (TypeError, ValueError):  # a line that can't be made must not break what it tells of
        return text(str(record.msg))


def text(said: str) -> str:
    """As a line says it: cut, and without what looks like a token or a person's address."""
    if len(said) > MOST_CHARACTERS:
        said = said[:MOST_CHARACTERS] + _CUT
    return _clean(said)


def _clean(said: str) -> str:
    if "@" in said:
        said = _EMAIL.sub("[email]", said)
    return _TOKEN.sub("[token]", said)


def bounded(value: object) -> object:
    """A value of a line, as JSON can show it."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)  # JSON has no number for it
        case bool() | int() | float() | None:
            return value
        case str():
            return text(str(value))
        case Mapping():
            return {text(str(name)): bounded(inner) for name, inner in value.items()}
        case list() | tuple():
            return [bounded(inner) for inner in value]
        case _:
            return text(str(value))
