"""Values of columns: what Spanner takes from the client, what is stored, and how an index orders it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject

Kind = Literal["STRING", "INT64", "BOOL", "TIMESTAMP", "JSON", "ARRAY"]

_DIGITS = re.compile(r"[+-]?[0-9]+")


class Flaw(Exception):
    """What the server refuses about a value, once it comes to its row."""


class CommitTime:
    """Stands in a row for the time of the commit, until there is one."""


COMMIT_TIME = CommitTime()


def acceptor(
    name: str,
    kind: Kind,
    convert: Callable[[Any], Any],
    length: int,
    *,
    not_null: bool,
    stamped: bool,
) -> Callable[[Any], Any]:
    """What looks at NULLs, lengths and commit times as well: it returns what is stored, or raises Flaw."""

    def accept(value: Any) -> Any:
        if value is None:
            if not_null:
                raise Flaw(f"Cannot specify a null value for column: {name}")
            return None
        cell = convert(value)
        if kind == "STRING" and len(cell) > length:
            raise Flaw(f"New value exceeds the maximum size limit for this column: {name}")
        if cell is COMMIT_TIME and not stamped:
            raise Flaw(f"Cannot write commit timestamp to column {name}")
        return cell

    def accept_text(value: Any) -> Any:
        return value if type(value) is str and len(value) <= length else accept(value)

    # Most values are text that fits: that must be quick.
    return accept_text if kind == "STRING" else accept


def _refused(value: object) -> exceptions.FailedPrecondition:
    return exceptions.FailedPrecondition(f"Could not parse {value!r}")


# The client sends integers and times as text, and Spanner reads any text that fits the column: neither minds
# a number in a column of text, nor digits in one of numbers.


def _string(value: Any) -> str:
    if type(value) is str:
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refused(value)
    return str.__str__(value) if isinstance(value, str) else str(value)


def _integer(value: Any) -> int:
    if type(value) is not int:
        if isinstance(value, bool) or not (
            isinstance(value, int) or (isinstance(value, str) and _DIGITS.fullmatch(value))
        ):
            raise _refused(value)
        value = int(value)
    if not -(1 << 63) <= value < 1 << 63:
        raise _refused(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(value)
    return value


def _time(value: Any) -> DatetimeWithNanoseconds | CommitTime:
    if type(value) is DatetimeWithNanoseconds and value.tzinfo is UTC:
        return value
    if isinstance(value, datetime):
        return stored_time(value)
    if value == COMMIT_TIMESTAMP:
        return COMMIT_TIME
    try:
        return DatetimeWithNanoseconds.from_rfc3339(value)
    except (TypeError, ValueError):
        raise _refused(value) from None


def stored_time(value: datetime) -> DatetimeWithNanoseconds:
    """A time as the client gives it back. One without a zone is UTC."""
    # Equal times may differ in what is below a microsecond.
    return _stored_time(value) if isinstance(value, DatetimeWithNanoseconds) else _known_time(value)


def _stored_time(value: datetime) -> DatetimeWithNanoseconds:
    if value.tzinfo is not UTC and value.tzinfo is not None:
        value = value.astimezone(UTC)
    nanosecond = getattr(value, "nanosecond", 0) or value.microsecond * 1000
    return DatetimeWithNanoseconds(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        tzinfo=UTC,
        nanosecond=nanosecond,
    )


def _json(value: Any) -> Any:
    if isinstance(value, JsonObject):
        value = value.serialize()
        if value is None:
            return None
    try:
        return json.loads(str(value) if type(value) is int else value)
    except (TypeError, ValueError):
        raise _refused(value) from None


def array(convert: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """The conversion of a list of what `convert` takes."""

    def converted(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _refused(value)
        return tuple([None if item is None else convert(item) for item in value])

    return converted


CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "STRING": _string,
    "INT64": _integer,
    "BOOL": _boolean,
    "TIMESTAMP": _time,
    "JSON": _json,
}


_known_time = lru_cache(maxsize=256)(_stored_time)

# In an index NULL comes first, and last where the order is downwards.


def _up(value: Any) -> tuple[Any, ...]:
    return value is not None, value


def _time_up(value: Any) -> tuple[Any, ...]:
    return (False,) if value is None else (True, value, value.nanosecond)


def _time_down(value: Any) -> tuple[Any, ...]:
    if value is None:
        return (True,)
    since: timedelta = value - _EPOCH
    return False, -since, -value.nanosecond


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ENCODE: Mapping[tuple[Kind, str], Callable[[Any], Any]] = {
    ("STRING", ""): _up,
    ("INT64", ""): _up,
    ("BOOL", ""): _up,
    ("TIMESTAMP", ""): _time_up,
    ("TIMESTAMP", "DESC"): _time_down,
}
