"""What stands in the way of a migration: judged before anything is changed, and listed whole.

A database that was made by hand may have the right tables in a slightly other shape. Where Spanner can alter
a column in place, the preflight plans that (a mend); where it can't, or where rows would break a rule of the
new schema, it says which, and what to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from google.cloud.spanner_v1.database import Database

from jennah.operations.description import ALWAYS_WRITTEN, Column, Description, breaks_inserts
from jennah.operations.preflight_rows import (
    Problem,
    RowCheck,
    duplicate_identities,
    notes,
    rows_against,
    rule_checks,
    unfollowable,
)
from jennah.operations.sql import Effect

_MOVE = "move the rows to a database made from schema/schema.sql"


@dataclass(frozen=True, slots=True)
class Report:
    """What the preflight found.

    Attributes:
        problems: each stops the migration.
        mends: DDL that gives what exists its expected shape.
        notes: sentences about what is left as it is.
    """

    problems: tuple[Problem, ...]
    mends: tuple[str, ...]
    notes: tuple[str, ...]


def inspect(
    database: Database,
    expected: Description,
    found: Description,
    pending: Collection[Effect],
    *,
    resume_pending: bool,
) -> Report:
    """Compare what exists with what is expected, and the rows with the rules to come. Changes nothing."""
    problems = list(_structure(expected, found, pending))
    for check in _column_checks(expected, found):
        problems += rows_against(database, check, found.tables[check.table].key)
    rows = inspect_rows(database, found, resume_pending=resume_pending)
    return Report(
        problems=(*problems, *rows.problems, *duplicate_identities(database, found)),
        mends=tuple(mends(expected, found, pending)),
        notes=(*rows.notes, *notes(database, found)),
    )


def inspect_rows(database: Database, found: Description, *, resume_pending: bool) -> Report:
    """Look only at the tenants, and at the jobs that are still to be taken over. Changes nothing."""
    problems = [
        problem
        for check in rule_checks(found, resume_pending=resume_pending)
        for problem in rows_against(database, check, found.tables[check.table].key)
    ]
    return Report(tuple(problems), (), tuple(unfollowable(database, found)))


def mends(expected: Description, found: Description, pending: Collection[Effect]) -> Iterator[str]:
    """Plan the DDL that alters what exists into its expected shape, where Spanner can do that in place.

    An index of ours that has another shape, or holds a column that must be altered, is dropped: `pending`
    makes it anew.
    """
    held = {index for _, _, index in _held_columns(expected, found)}
    for effect in pending:
        index = found.indexes.get(effect.name) if effect.kind == "index" else None
        if index and (index != expected.indexes[effect.name] or effect.name in held):
            yield f"DROP INDEX {effect.name}"
    for name, table in expected.tables.items():
        actual = found.tables.get(name)
        if actual is None:
            continue
        if actual.parent == table.parent and actual.on_delete != table.on_delete:
            yield f"ALTER TABLE {name} SET ON DELETE {table.on_delete}"
        for column, shape in table.columns.items():
            present = actual.columns.get(column)
            if present is not None:
                yield from _column_mends(name, column, _tolerated(column, shape, present), present)
            elif shape.nullable and Effect("column", name, column) not in pending:
                yield f"ALTER TABLE {name} ADD COLUMN {column} {_definition(shape)}" + (
                    " OPTIONS (allow_commit_timestamp = true)" if shape.commit_timestamp else ""
                )


def _column_mends(table: str, column: str, expected: Column, found: Column) -> Iterator[str]:
    alter = f"ALTER TABLE {table} ALTER COLUMN {column}"
    if replace(found, commit_timestamp=expected.commit_timestamp) != expected:
        yield f"{alter} {_definition(expected)}"
    if found.commit_timestamp != expected.commit_timestamp:
        value = "true" if expected.commit_timestamp else "null"
        yield f"{alter} SET OPTIONS (allow_commit_timestamp = {value})"


def _tolerated(column: str, expected: Column, found: Column) -> Column:
    """What the column is to become: as expected, but for a NOT NULL that does no harm."""
    stricter = not found.nullable and column in ALWAYS_WRITTEN
    return replace(expected, nullable=False) if stricter else expected


def _definition(column: Column) -> str:
    return str(replace(column, commit_timestamp=False))


def _held_columns(expected: Description, found: Description) -> Iterator[tuple[str, str, str]]:
    """Table, column and index where Spanner can't add or drop NOT NULL before the index is dropped."""
    for name, index in found.indexes.items():
        table, actual = expected.tables.get(index.table), found.tables.get(index.table)
        if table is None or actual is None:
            continue
        for column in (*(key.split()[0] for key in index.columns), *index.storing):
            shape, present = table.columns.get(column), actual.columns.get(column)
            if shape and present and _tolerated(column, shape, present).nullable != present.nullable:
                yield index.table, column, name


def _structure(expected: Description, found: Description, pending: Collection[Effect]) -> Iterator[Problem]:
    """What ALTER can't put right."""
    for name, table in expected.tables.items():
        actual = found.tables.get(name)
        if actual is None:
            continue
        if (actual.key, actual.parent) != (table.key, table.parent):
            yield Problem(name, "", f"has {actual}, must have {table}", _MOVE)
        for column, present in actual.columns.items():
            yield from _column_problems(expected, name, column, present)
        for check, clause in actual.checks.items():
            if table.checks.get(check, clause) != clause:
                yield Problem(f"{name}.{check}", "", f"is CHECK ({clause})", "drop the constraint")
    for table_name, column, index in _held_columns(expected, found):
        if Effect("index", table_name, index) not in pending:
            null = "may be NULL" if expected.tables[table_name].columns[column].nullable else "is NOT NULL"
            problem = f"holds {table_name}.{column}, which can't be altered so that it {null}"
            yield Problem(f"index.{index}", "", problem, "drop the index, and make it again afterwards")
    yield from _unique_indexes(expected, found)


def _column_problems(expected: Description, table: str, column: str, found: Column) -> Iterator[Problem]:
    shape = expected.tables[table].columns.get(column)
    if shape is None:
        if breaks_inserts(found):
            remedy = "drop it, make it nullable, or give it a default"
            yield Problem(f"{table}.{column}", "", f"is {found} and unknown: new rows lack it", remedy)
    elif not _alterable(expected, table, column, found):
        yield Problem(f"{table}.{column}", "", f"is {found}, must be {shape}", _MOVE)


def _alterable(expected: Description, table: str, column: str, found: Column) -> bool:
    """Whether Spanner can alter `found` into the expected column, if the rows allow it."""
    shape = expected.tables[table].columns[column]
    if (found.generated, found.stored) != (shape.generated, shape.stored):
        return False
    if re.sub(r"\(\w+\)", "", found.type) != re.sub(r"\(\w+\)", "", shape.type):
        return False
    if column not in expected.tables[table].key:
        return True
    shared = sum(column in other.key for other in expected.tables.values()) > 1
    return found.nullable == shape.nullable and (found.type == shape.type or not shared)


def _unique_indexes(expected: Description, found: Description) -> Iterator[Problem]:
    ours = {(index.table, frozenset(index.columns)) for index in expected.indexes.values() if index.unique}
    for name, index in found.indexes.items():
        known = name in expected.indexes or (index.table, frozenset(index.columns)) in ours
        if index.unique and not known and index.table in expected.tables:
            yield Problem(f"index.{name}", "", f"is {index}: it may refuse rows of Jennah", "drop the index")


def _column_checks(expected: Description, found: Description) -> Iterator[RowCheck]:
    """Rows that would make a mend fail."""
    for name, table in expected.tables.items():
        present = found.tables[name].columns if name in found.tables else {}
        for column, actual in present.items():
            shape = table.columns.get(column)
            if shape is None or not _alterable(expected, name, column, actual):
                continue
            if actual.nullable and not shape.nullable:
                yield RowCheck(name, column, f"{column} IS NULL", "'is NULL'", "give it a value")
            limit = _length(shape.type)
            if _length(actual.type) > limit:
                longer = f"CHAR_LENGTH({column}) > {limit:.0f}"
                shows = f"FORMAT('has %d characters, may have {limit:.0f}', CHAR_LENGTH({column}))"
                yield RowCheck(name, column, longer, shows, "shorten it")
            if shape.commit_timestamp and not actual.commit_timestamp:
                future = f"{column} > CURRENT_TIMESTAMP()"
                shows = f"FORMAT('%t is in the future', {column})"
                yield RowCheck(name, column, future, shows, "correct it: commit timestamps lie in the past")


def _length(type_: str) -> float:
    """The length of STRING(n); infinite for MAX and for types without one."""
    length = re.fullmatch(r"STRING\((\d+)\)", type_)
    return int(length[1]) if length else math.inf
