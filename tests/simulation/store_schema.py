"""What schema/schema.sql says, as the store needs it: read from the file itself, so that the two can't part.

Only the forms of SQL that the file uses are understood; any other stops with an error.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import Any

from jennah.operations.sql import schema_directory, split
from tests.simulation.farm_hash import farm_fingerprint
from tests.simulation.store_values import CONVERT, ENCODE, Kind, acceptor, array

Key = tuple[Any, ...]
Row = Sequence[Any]

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


class UnknownSql(Exception):
    """The schema says something that the store doesn't know: teach it here."""


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
    """A secondary index: where in a row its key is, and how that is ordered."""

    name: str
    key: tuple[int, ...]
    encode: tuple[Callable[[Any], Any], ...]
    unique: bool
    null_filtered: bool
    _values: Callable[[Row], Key]

    def key_of(self, row: Row) -> Key | None:
        """The key of the row's entry, as it is stored; None where the index leaves the row out."""
        values = self._values(row)
        return None if self.null_filtered and None in values else values

    def entry(self, row: Row) -> Key:
        """What sorts as the row does in the index; of rows with the same, the primary keys decide."""
        return self.encoded(self._values(row))

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
    convert = array(CONVERT[found["type"]]) if found["array"] else CONVERT[kind]
    length = sys.maxsize if found["length"] in {None, "MAX"} else int(found["length"])
    not_null, stamped = found["not_null"] is not None, found["stamped"] is not None
    return Column(
        name=found["name"],
        position=position,
        kind=kind,
        convert=convert,
        accept=acceptor(found["name"], kind, convert, length, not_null=not_null, stamped=stamped),
        not_null=not_null,
        default=_default(found["default"]),
        hashed=found["hashed"],
        mask=int(found["mask"] or 0),
        stamped=stamped,
    )


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
        if (columns[-1].kind, order) not in ENCODE:
            raise UnknownSql(f"{found['name']}: {part}")
        encode.append(ENCODE[columns[-1].kind, order])
    key = tuple(column.position for column in columns)
    return Index(
        name=found["name"],
        key=key,
        encode=tuple(encode),
        unique=found["unique"] is not None,
        null_filtered=found["filtered"] is not None,
        _values=picker(key),
    )
