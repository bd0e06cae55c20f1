"""What a database's schema is: read from its information schema, kept as JSON, compared.

`schema/expected.json` is this description of schema/schema.sql, taken from the emulator (a test holds the two
equal), so that a database can be judged where there is no emulator to ask.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from google.cloud.spanner_v1.database import Database

from jennah.operations.sql import Effect

_TABLES = """
SELECT TABLE_NAME, PARENT_TABLE_NAME, ON_DELETE_ACTION
FROM INFORMATION_SCHEMA.TABLES
WHERE TABLE_SCHEMA = '' AND TABLE_TYPE = 'BASE TABLE'
ORDER BY TABLE_NAME
"""

# An object that is still being made counts as missing: it may yet fail, and asking for it again waits for it.
_COLUMNS = """
SELECT
  TABLE_NAME, COLUMN_NAME, SPANNER_TYPE, IS_NULLABLE = 'YES', COLUMN_DEFAULT, GENERATION_EXPRESSION,
  IFNULL(IS_STORED, 'NO') = 'YES',
  EXISTS (
    SELECT 1 FROM INFORMATION_SCHEMA.COLUMN_OPTIONS AS option
    WHERE option.TABLE_SCHEMA = '' AND option.TABLE_NAME = c.TABLE_NAME AND option.COLUMN_NAME = c.COLUMN_NAME
      AND option.OPTION_NAME = 'allow_commit_timestamp' AND option.OPTION_VALUE = 'TRUE'
  )
FROM INFORMATION_SCHEMA.COLUMNS AS c
WHERE TABLE_SCHEMA = '' AND SPANNER_STATE = 'COMMITTED'
ORDER BY TABLE_NAME, ORDINAL_POSITION
"""

_CHECKS = """
SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE
FROM INFORMATION_SCHEMA.CHECK_CONSTRAINTS AS c
JOIN INFORMATION_SCHEMA.TABLE_CONSTRAINTS AS t USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)
WHERE c.CONSTRAINT_SCHEMA = '' AND c.SPANNER_STATE = 'COMMITTED'
  AND NOT STARTS_WITH(c.CONSTRAINT_NAME, 'CK_IS_NOT_NULL_')
ORDER BY t.TABLE_NAME, c.CONSTRAINT_NAME
"""

_INDEXES = """
SELECT TABLE_NAME, INDEX_NAME, IS_UNIQUE, IS_NULL_FILTERED
FROM INFORMATION_SCHEMA.INDEXES
WHERE TABLE_SCHEMA = '' AND INDEX_TYPE = 'INDEX' AND INDEX_STATE = 'READ_WRITE' AND NOT SPANNER_IS_MANAGED
ORDER BY TABLE_NAME, INDEX_NAME
"""

_INDEX_COLUMNS = """
SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_ORDERING
FROM INFORMATION_SCHEMA.INDEX_COLUMNS
WHERE TABLE_SCHEMA = ''
ORDER BY TABLE_NAME, INDEX_NAME, ORDINAL_POSITION, COLUMN_NAME
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` is Spanner's, e.g. `STRING(36)`, and the expressions are GoogleSQL."""

    type: str
    nullable: bool = True
    default: str | None = None
    generated: str | None = None
    stored: bool = False
    commit_timestamp: bool = False

    def __str__(self) -> str:
        parts = [self.type]
        if not self.nullable:
            parts.append("NOT NULL")
        if self.default is not None:
            parts.append(f"DEFAULT ({self.default})")
        if self.generated is not None:
            parts.append(f"AS ({self.generated})" + (" STORED" if self.stored else ""))
        if self.commit_timestamp:
            parts.append("allow_commit_timestamp")
        return " ".join(parts)


ALWAYS_WRITTEN = frozenset(
    {
        *{"OAuthProvider", "OAuthUserId", "CreatedAt", "UpdatedAt"},
        *{"ImageUri", "Commands", "RetryCount", "TransitionedAt"},
    }
)
"""Nullable columns that old rows may lack and every new row has: NOT NULL, made by hand, does no harm."""


def is_stricter(column: str, expected: Column, found: Column) -> bool:
    """Whether the only difference is a NOT NULL that does no harm.

    It is left alone: Spanner can't take it off a column that an index covers.
    """
    return column in ALWAYS_WRITTEN and not found.nullable and replace(found, nullable=True) == expected


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `columns` are in their order, which means nothing to a comparison."""

    parent: str | None
    on_delete: str | None
    key: tuple[str, ...]
    columns: dict[str, Column]
    checks: dict[str, str]

    def __str__(self) -> str:
        parent = f", in {self.parent} ON DELETE {self.on_delete}" if self.parent else ""
        return f"PRIMARY KEY ({', '.join(self.key)}){parent}"


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index; `columns` are like `CreatedAt DESC`."""

    table: str
    columns: tuple[str, ...]
    storing: tuple[str, ...]
    unique: bool
    null_filtered: bool

    def __str__(self) -> str:
        kind = ("UNIQUE " if self.unique else "") + ("NULL_FILTERED " if self.null_filtered else "")
        storing = f" STORING ({', '.join(self.storing)})" if self.storing else ""
        return f"{kind}{self.table} ({', '.join(self.columns)}){storing}"


@dataclass(frozen=True, slots=True)
class Description:
    """Tables and secondary indexes by name."""

    tables: dict[str, Table]
    indexes: dict[str, Index]

    def has(self, effect: Effect) -> bool:
        """Whether the object is there that a statement makes, whatever its exact shape."""
        if effect.kind == "index":
            return effect.name in self.indexes
        table = self.tables.get(effect.table)
        if table is None:
            return False
        match effect.kind:
            case "column":
                return effect.name in table.columns
            case "check":
                return effect.name in table.checks
            case _:
                return True


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a database is not as expected. A harmless one is an addition that nothing in Jennah meets."""

    where: str
    expected: str
    found: str
    harmless: bool = False


def describe(database: Database) -> Description:
    """Read the schema of the database's unnamed schema, its own tables only."""
    # Each read has a later state than the one before. What holds others is read first, so that an object made
    # meanwhile is seen whole or not at all.
    tables = query(database, _TABLES)
    indexes = query(database, _INDEXES)
    columns = query(database, _COLUMNS)
    checks = query(database, _CHECKS)
    index_columns = query(database, _INDEX_COLUMNS)

    def of_index(table: str, index: str, *, keys: bool) -> Iterator[tuple[str, str]]:
        for table_name, index_name, column, position, ordering in index_columns:
            if (table_name, index_name, position is not None) == (table, index, keys):
                yield column, ordering

    return Description(
        tables={
            name: Table(
                parent=parent,
                on_delete=on_delete,
                key=tuple(column for column, _ in of_index(name, "PRIMARY_KEY", keys=True)),
                columns={
                    column: Column(type_, nullable, _plain(default), _plain(generated), stored, option)
                    for table, column, type_, nullable, default, generated, stored, option in columns
                    if table == name
                },
                checks={check: _plain(clause) or "" for table, check, clause in checks if table == name},
            )
            for name, parent, on_delete in tables
        },
        indexes={
            name: Index(
                table=table,
                columns=tuple(f"{column} {order}" for column, order in of_index(table, name, keys=True)),
                storing=tuple(column for column, _ in of_index(table, name, keys=False)),
                unique=unique,
                null_filtered=null_filtered,
            )
            for table, name, unique, null_filtered in indexes
        },
    )


def query(database: Database, sql: str) -> list[list[Any]]:
    """Read the rows of one strong query."""
    with database.snapshot() as snapshot:
        return list(snapshot.execute_sql(sql))


def read_expected(directory: Path) -> Description:
    """Read `directory`/expected.json."""
    content = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    return Description(
        tables={
            name: Table(
                parent=table["parent"],
                on_delete=table["on_delete"],
                key=tuple(table["key"]),
                columns={column: Column(**shape) for column, shape in table["columns"].items()},
                checks=table["checks"],
            )
            for name, table in content["tables"].items()
        },
        indexes={
            name: Index(
                table=index["table"],
                columns=tuple(index["columns"]),
                storing=tuple(index["storing"]),
                unique=index["unique"],
                null_filtered=index["null_filtered"],
            )
            for name, index in content["indexes"].items()
        },
    )


def to_json(description: Description) -> str:
    """Write what `read_expected` reads."""
    return json.dumps(asdict(description), indent=1) + "\n"


def compare(expected: Description, found: Description) -> list[Difference]:
    """List every difference in what Jennah uses; tables that it doesn't know are nobody's business here."""
    differences: list[Difference] = []
    for name, table in expected.tables.items():
        actual = found.tables.get(name)
        if actual is None:
            differences.append(Difference(name, "a table", "missing"))
            continue
        if str(actual) != str(table):
            differences.append(Difference(name, str(table), str(actual)))
        differences += _compare_named(name, table.columns, actual.columns)
        differences += _compare_named(name, table.checks, actual.checks)
    ours = {name: index for name, index in found.indexes.items() if index.table in expected.tables}
    differences += _compare_named("index", expected.indexes, ours)
    return differences


def breaks_inserts(column: Column) -> bool:
    """Whether a column that Jennah doesn't know refuses the rows that it writes."""
    return not column.nullable and column.default is None and column.generated is None


def _compare_named(
    owner: str,
    expected: dict[str, Column] | dict[str, str] | dict[str, Index],
    found: dict[str, Column] | dict[str, str] | dict[str, Index],
) -> Iterator[Difference]:
    for name, shape in expected.items():
        actual = found.get(name)
        if actual is None:
            yield Difference(f"{owner}.{name}", str(shape), "missing")
        elif actual != shape:
            harmless = (
                isinstance(shape, Column) and isinstance(actual, Column) and is_stricter(name, shape, actual)
            )
            yield Difference(f"{owner}.{name}", str(shape), str(actual), harmless=harmless)
    for name, addition in found.items():
        if name in expected:
            continue
        harmful = (isinstance(addition, Column) and breaks_inserts(addition)) or (
            isinstance(addition, Index) and addition.unique
        )
        yield Difference(f"{owner}.{name}", "nothing", str(addition), harmless=not harmful)


def _plain(expression: str | None) -> str | None:
    """The same expression, however its blanks were written."""
    return None if expression is None else " ".join(expression.split())
