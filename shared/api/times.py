"""Times in requests: RFC 3339, exactly those that there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator

from shared.api.texts import Matches

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    "(?:[0-9]{4}-(?:"
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
_ZONE = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_FIRST, _LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"


def in_utc(text: str) -> str:
    """The same time in UTC, which ends in Z; the database's first or last where it lies beyond."""
    if text.startswith("0000"):
        return _FIRST
    seconds, rest = text[:19], text[19:]
    zone = "+00:00" if rest.endswith("Z") else rest[-6:]
    fraction = rest.removesuffix("Z" if rest.endswith("Z") else zone)
    try:
        at = datetime.fromisoformat(seconds + zone).astimezone(UTC)
    except OverflowError:
        return _FIRST if zone.startswith("+") else _LAST
    return at.isoformat().removesuffix("+00:00") + fraction + "Z"


Instant = Annotated[
    str,
    Matches(f"{_DAY}T{_CLOCK}{_ZONE}", "must be a time as RFC 3339 has it, such as 2026-07-01T00:00:00Z"),
    AfterValidator(in_utc),
]
"""A time with its zone, as text in UTC: a datetime would drop nanoseconds."""
