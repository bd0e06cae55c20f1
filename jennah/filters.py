"""What the filters of listings mean."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def since(text: str | None) -> datetime | None:
    """The time that a text names: RFC 3339, or an age such as `30m`, counted from now.

    Raises:
        BadParameter: it names none.
    """
    if text is None:
        return None
    try:
        if age := re.fullmatch(r"([0-9]{1,6})([smhdw])", text):
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is neither a time with its zone, e.g. 2026-07-01T00:00:00Z, nor an age, e.g. 12h",
            param_hint="--created-after",
        )
    return moment
