"""Logging: one JSON object a line, in Cloud Logging's shape. No secrets, no environment values."""

from __future__ import annotations

import json
import logging
import sys

_LABELS = ("tenant", "job", "batch")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {"severity": record.levelname, "message": record.getMessage()}
        entry |= {label: getattr(record, label) for label in _LABELS if hasattr(record, label)}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure() -> None:
    """Send our own log to standard output as JSON lines. Idempotent."""
    logger = logging.getLogger("shared")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(_JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
