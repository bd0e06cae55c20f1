"""What schema/schema.sql says, as the store needs it: read from the file itself, so that the two can't part.

Only the forms of SQL that the file uses are understood; any other stops with an error.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, Literal

from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject

from jennah.operations.sql import schema_directory, split
from tests.simulation.farm_hash import farm_fingerprint

Key = tuple[Any, ...]
Row = Sequence[Any]
Kind = Literal["STRING", "INT64", "BOOL", "TIMESTAMP", "JSON", "ARRAY"]

_COLUMN = re.compile(
    r"(?P<name>\w+) (?P<array>ARRAY<)?(?P<type>STRING|INT64|BOOL|TIMESTAMP|JSON)"
    r"(?:\((?P<length>MAX|\d+)\))?>?"
    r"(?P<not_null> NOT NULL)?(?: DEFAULT \((?P<default>[^()]+)\))?"
    r"(?: AS \(FARM_FINGERPRINT\((?P<hashed>\w+)\) & (?P<mask>\d+)\) STORED)?"
    r"(?P<stamped> OPTIONS \(allow_commit_timestamp = true\))?"
)
_CHECK = re.compile(r"CONSTRAINT (?P<name>\w+) CHECK \( ?(?P<column>\w+) IN (?P<values>\(.*\)) ?\)")
_TABLE = re.compile(
    r"CREATE TABLE (?P<name>\w+) \((?P<body>.*)\) PRIMARY KEY \((?P<key>[\w, ]+)\)"
    r"(?:, INTERLEAVE IN PARENT (?P<parent>\w+) ON DELETE CASCADE)?"
)
_INDEX = re.compile(
    r"CREATE (?P<unique>UNIQUE )?(?P<filtered>NULL_FILTERED )?INDEX (?P<name>\w+) ON (?P<table>\w+) "
    r"\((?P<key>[\w, ]+)\)"
)
_DIGITS = re.compile(r"[+-]?[0-9]+")


class UnknownSql(Exception):
    """The schema says something that the store doesn't know: teach it here."""


class Flaw(Exception):
    """What the server refuses about a value, once it comes to its row."""


class CommitTime:
    """Stands in a row for the time of the commit, until there is one."""


COMMIT_TIME = CommitTime()


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    `convert` makes what is stored of what the client takes, or raises FailedPrecondition. `accept` looks at
    NULLs and lengths as well.
    """

    name: str
    position: int
    kind: Kind
    convert: Callable[[Any], Any]
    accept: Callable[[Any], Any]
    not_null: bool
    default: Any
    hashed: str | None
    mask: int
    stamped: bool


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index: where in a row its key is, and the columns of the primary key that complete it."""

    name: str
    key: tuple[int, ...]
    encode: tuple[Callable[[Any], Any], ...]
    unique: bool
    null_filtered: bool
    _values: Callable[[Row], Key]
    _rest: Callable[[Row], Key]

    def key_of(self, row: Row) -> Key | None:
        """The key of the row's entry, as it is stored; None where the index leaves the row out."""
        values = self._values(row)
        return None if self.null_filtered and None in values else values

    def entry(self, row: Row) -> Key:
        """What sorts as the row does in the index."""
        return self.encoded(self._values(row)) + self._rest(row)

    def encoded(self, values: Sequence[Any]) -> Key:
        """What sorts as these first values of a key do in the index."""
        return tuple([encode(value) for encode, value in zip(self.encode, values, strict=False)])


def picker(positions: Sequence[int]) -> Callable[[Row], Key]:
    """Takes the values at these positions."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda row: tuple([row[position] for position in positions])


@dataclass(slots=True)
class Table:
    """One table, its columns in the order of the file."""

    name: str
    columns: dict[str, Column]
    key: tuple[int, ...]
    parent: Table | None
    checks: list[tuple[int, frozenset[str]]]
    indexes: dict[str, Index] = field(default_factory=dict)
    children: list[Table] = field(default_factory=list)

    unique: list[Index] = field(default_factory=list)

    _defaults: list[Any] = field(init=False)
    _generated: list[tuple[int, int, int]] = field(init=False)

    def __post_init__(self) -> None:
        columns = self.columns
        self._defaults = [column.default for column in columns.values()]
        self._generated = [
            (column.position, columns[column.hashed].position, column.mask)
            for column in columns.values()
            if column.hashed is not None
        ]

    def blank(self, key: Key) -> list[Any]:
        """A new row that says nothing but its key."""
        row = self._defaults.copy()
        for position, value in zip(self.key, key, strict=True):
            row[position] = value
        for position, source, mask in self._generated:
            row[position] = farm_fingerprint(row[source]) & mask
        return row


@cache
def load() -> Mapping[str, Table]:
    """The tables of schema/schema.sql by name; read once for each process.

    Raises:
        UnknownSql: the file has a statement, type, default, check or generated column of another form.
    """
    return parse((schema_directory() / "schema.sql").read_text(encoding="utf-8"))


def parse(script: str) -> Mapping[str, Table]:
    """The tables that a script creates, by name.

    Raises:
        UnknownSql: it has a form that is not known here.
    """
    tables: dict[str, Table] = {}
    for statement in split(script):
        if found := _TABLE.fullmatch(statement):
            table = _table(found, tables)
            tables[table.name] = table
        elif found := _INDEX.fullmatch(statement):
            table = tables[found["table"]]
            index = _index(found, table)
            table.indexes[index.name] = index
            if index.unique:
                table.unique.append(index)
        else:
            raise UnknownSql(statement)
    return tables


def _table(found: re.Match[str], tables: Mapping[str, Table]) -> Table:
    columns: dict[str, Column] = {}
    checks = []
    for item in _items(found["body"]):
        if said := _COLUMN.fullmatch(item):
            columns[said["name"]] = _column(said, len(columns))
        elif said := _CHECK.fullmatch(item):
            values = frozenset(ast.literal_eval(said["values"]))
            checks.append((columns[said["column"]].position, values))
        else:
            raise UnknownSql(item)
    parent = tables[found["parent"]] if found["parent"] else None
    names = found["key"].split(", ")
    table = Table(found["name"], columns, tuple(columns[name].position for name in names), parent, checks)
    for column in columns.values():
        # Then a stored column never has to be made anew.
        if column.hashed is not None and columns[column.hashed].position not in table.key:
            raise UnknownSql(f"{table.name}.{column.name} is made of a column outside the key.")
    if parent is not None:
        parent.children.append(table)
    return table


def _items(body: str) -> list[str]:
    """What stands between the commas outside parentheses and angle brackets."""
    items, depth = [""], 0
    for character in body:
        depth += (character in "(<") - (character in ")>")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def _column(found: re.Match[str], position: int) -> Column:
    kind: Any = "ARRAY" if found["array"] else found["type"]
    convert = _array(_CONVERT[found["type"]]) if found["array"] else _CONVERT[kind]
    length = sys.maxsize if found["length"] in {None, "MAX"} else int(found["length"])
    not_null, stamped = found["not_null"] is not None, found["stamped"] is not None
    return Column(
        name=found["name"],
        position=position,
        kind=kind,
        convert=convert,
        accept=_acceptor(found["name"], kind, convert, length, not_null=not_null, stamped=stamped),
        not_null=not_null,
        default=_default(found["default"]),
        hashed=found["hashed"],
        mask=int(found["mask"] or 0),
        stamped=stamped,
    )


def _acceptor(
    name: str,
    kind: Kind,
    convert: Callable[[Any], Any],
    length: int,
    *,
    not_null: bool,
    stamped: bool,
) -> Callable[[Any], Any]:
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


def _default(text: str | None) -> Any:
    if text is None:
        return None
    if text.upper() in {"TRUE", "FALSE"}:
        return text.upper() == "TRUE"
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        raise UnknownSql(f"DEFAULT ({text})") from None


def _index(found: re.Match[str], table: Table) -> Index:
    columns, encode = [], []
    for part in found["key"].split(", "):
        name, _, order = part.partition(" ")
        columns.append(table.columns[name])
        if (columns[-1].kind, order) not in _ENCODE:
            raise UnknownSql(f"{found['name']}: {part}")
        encode.append(_ENCODE[columns[-1].kind, order])
    key = tuple(column.position for column in columns)
    return Index(
        name=found["name"],
        key=key,
        encode=tuple(encode),
        unique=found["unique"] is not None,
        null_filtered=found["filtered"] is not None,
        _values=picker(key),
        _rest=picker([position for position in table.key if position not in key]),
    )


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


def _array(convert: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def converted(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _refused(value)
        return tuple([None if item is None else convert(item) for item in value])

    return converted


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
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
_ENCODE: Mapping[tuple[Kind, str], Callable[[Any], Any]] = {
    ("STRING", ""): _up,
    ("INT64", ""): _up,
    ("BOOL", ""): _up,
    ("TIMESTAMP", ""): _time_up,
    ("TIMESTAMP", "DESC"): _time_down,
}
