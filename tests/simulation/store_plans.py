"""How the columns of a mutation or a read stand to a row: worked out once for each list of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

from google.api_core import exceptions
from google.cloud.spanner_v1 import JsonObject, KeySet

from tests.simulation.store_schema import Column, Index, Key, Row, Table, load, picker
from tests.simulation.store_values import Flaw

Verb = Literal["insert", "update", "insert_or_update"]


class WritePlan:
    """What is the same for every row of a mutation.

    `flaw` is what the server says to any such row, once it comes to it.
    """

    __slots__ = ("_accept", "_key", "columns", "flaw", "positions", "stamped", "table", "verb")

    def __init__(self, verb: Verb, table: Table, names: Sequence[str]) -> None:
        self.verb = verb
        self.table = table
        self.columns = [_column(table, name) for name in names]
        self.positions = [column.position for column in self.columns]
        self.stamped = [at for at, column in enumerate(self.columns) if column.stamped]
        self.flaw = self._flaw()
        self._accept = [column.accept for column in self.columns]
        self._key = picker([] if self.flaw else [self.positions.index(position) for position in table.key])

    def _flaw(self) -> tuple[type[exceptions.GoogleAPICallError], str] | None:
        given = set(self.positions)
        if len(given) < len(self.positions):
            return exceptions.InvalidArgument, "Multiple values for a column."
        for column in self.table.columns.values():
            if column.hashed is not None and column.position in given:
                return exceptions.FailedPrecondition, f"Cannot write into generated column `{column.name}`."
            owed = column.position in self.table.key or (
                self.verb != "update" and column.not_null and column.default is None
            )
            if owed and column.position not in given:
                return exceptions.FailedPrecondition, f"No value for NOT NULL column: {column.name}"
        return None

    def puts(self, values: Sequence[Sequence[Any]]) -> Iterator[Put]:
        """One write for each row of values.

        Raises:
            InvalidArgument: there are too few values, or too many, or no row.
            FailedPrecondition: a value is of another type than its column.
        """
        if not values:
            raise exceptions.InvalidArgument("No value provided for required field: Write.values")
        return map(self._put_of, values)

    def _put_of(self, values: Sequence[Any]) -> Put:
        try:
            cells = [accept(value) for accept, value in zip(self._accept, values, strict=True)]
        except Flaw as flaw:
            for column, value in zip(self.columns, values, strict=True):
                if value is not None:
                    column.convert(value)
            return Put(self, (), (), str(flaw))
        except ValueError:
            raise exceptions.InvalidArgument("Mutation column and value size mismatch") from None
        return Put(self, self._key(cells), cells, None)


class Put:
    """One row to be written."""

    __slots__ = ("cells", "flaw", "key", "plan")

    def __init__(self, plan: WritePlan, key: Key, cells: Sequence[Any], flaw: str | None) -> None:
        self.plan = plan
        self.key = key
        self.cells = cells
        self.flaw = flaw


class ReadPlan:
    """Which columns of a row are the answer, and what a key of the table or the index is made of."""

    __slots__ = ("_key_columns", "_pick", "_thawed", "columns", "index", "table")

    def __init__(self, table: Table, names: Sequence[str], index: Index | None) -> None:
        self.table = table
        self.index = index
        columns = [_column(table, name) for name in names]
        self.columns = [column.name for column in columns]
        positions = [column.position for column in columns]
        self._pick = picker(positions)
        self._thawed = [
            (at, _json_object if column.kind == "JSON" else list)
            for at, column in enumerate(columns)
            if column.kind in {"JSON", "ARRAY"}
        ]
        every = list(table.columns.values())
        self._key_columns = [every[position] for position in (index.key if index else table.key)]
        if index is not None and not {*positions} <= {*index.key, *table.key}:
            raise exceptions.NotFound(f"Index '{index.name}' does not have all of these columns.")

    def answer(self, row: Row) -> list[Any]:
        """The columns' values as the client gives them, for the caller to keep."""
        values = list(self._pick(row))
        for at, thaw in self._thawed:
            if values[at] is not None:
                values[at] = thaw(values[at])
        return values

    def key(self, values: Sequence[Any]) -> Key:
        """A whole key.

        Raises:
            FailedPrecondition: it has too few or too many parts, or one of another type.
        """
        if len(values) != len(self._key_columns):
            raise _wrong_parts(values)
        return self.prefix(values)

    def prefix(self, values: Sequence[Any]) -> Key:
        """The beginning of a key.

        Raises:
            FailedPrecondition: it has too many parts, or one of another type.
        """
        if len(values) > len(self._key_columns):
            raise _wrong_parts(values)
        return tuple(
            [
                None if value is None else column.convert(value)
                for column, value in zip(self._key_columns, values, strict=False)
            ]
        )


class Delete:
    """Rows to be deleted."""

    __slots__ = ("keyset", "plan")

    def __init__(self, plan: ReadPlan, keyset: KeySet) -> None:
        self.plan = plan
        self.keyset = keyset


Operation = Put | Delete


@lru_cache(maxsize=4096)
def write_plan(verb: Verb, table: str, columns: tuple[str, ...]) -> WritePlan:
    """The plan of a mutation.

    Raises:
        NotFound: no such table or column.
    """
    return WritePlan(verb, _table(table), columns)


@lru_cache(maxsize=4096)
def read_plan(table: str, columns: tuple[str, ...], index: str | None) -> ReadPlan:
    """The plan of a read.

    Raises:
        NotFound: no such table, column or index, or the index lacks a column.
        FailedPrecondition: the index is of another table.
    """
    found = _table(table)
    if index is None:
        return ReadPlan(found, columns, None)
    if index in found.indexes:
        return ReadPlan(found, columns, found.indexes[index])
    if any(index in other.indexes for other in load().values()):
        raise exceptions.FailedPrecondition(f"Index '{index}' is of another table than '{table}'.")
    raise exceptions.NotFound(f"No index '{index}' was found for table '{table}'.")


def deletion(table: str, keyset: KeySet) -> Delete:
    """A delete mutation.

    Raises:
        NotFound: no such table.
        FailedPrecondition: a key doesn't fit.
        MethodNotImplemented: the ends of a range differ before the last part.
    """
    plan = read_plan(table, (), None)
    for values in keyset.keys:
        plan.key(values)
    ranges = [
        (plan.prefix(item.start_open or item.start_closed), plan.prefix(item.end_open or item.end_closed))
        for item in keyset.ranges
    ]
    if any(
        start[:-1] != end[: len(start[:-1])] or end[:-1] != start[: len(end[:-1])] for start, end in ranges
    ):
        raise exceptions.MethodNotImplemented("Start and limit keys may only differ in the final key part")
    return Delete(plan, keyset)


def _table(name: str) -> Table:
    try:
        return load()[name]
    except KeyError:
        raise exceptions.NotFound(f"Table not found: {name}") from None


def _column(table: Table, name: str) -> Column:
    try:
        return table.columns[name]
    except KeyError:
        raise exceptions.NotFound(f"Column not found in table {table.name}: {name}") from None


def _wrong_parts(values: Sequence[Any]) -> exceptions.FailedPrecondition:
    return exceptions.FailedPrecondition(f"Wrong number of key parts: {list(values)}")


def _json_object(value: Any) -> JsonObject:
    return JsonObject(_copy(value))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
