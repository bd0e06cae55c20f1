"""The committed rows of the in-memory store, and what a commit does to them.

A commit is checked in the order in which the emulator checks it:

1. every mutation: its table, its columns, the number and type of its values;
2. each row in turn: what it says by itself (NULLs, lengths, times), whether it is there, its parent;
3. what the rows that were written became: unique indexes and CHECKs, which the emulator takes in any order.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import KeyRange, KeySet

from tests.simulation.store_plans import Delete, Operation, Put, ReadPlan
from tests.simulation.store_schema import Index, Key, Row, Table
from tests.simulation.store_values import COMMIT_TIME

_UNTOUCHED: Row = ()


class Change(NamedTuple):
    """One row that a commit wrote: what it was and what it is, in the order of the table's columns."""

    table: str
    key: Key
    before: Row | None
    after: Row | None


class Data:
    """The committed rows of one table. A row is never changed, but replaced: so it is its own version."""

    __slots__ = ("entries", "order", "rows", "table", "unique", "version")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: dict[Key, Row] = {}
        self.order: list[Key] = []
        self.version: object = object()
        # Of each unique index, the row that took a key last: only that one can hold it.
        self.unique: dict[str, dict[Key, Key]] = {index.name: {} for index in table.unique}
        # Of each index, the entries with their rows' keys at a version: made when somebody reads through it.
        self.entries: dict[str, tuple[object, list[tuple[Key, Key]]]] = {}

    def put(self, key: Key, before: Row | None, after: Row | None) -> None:
        """Replace a row."""
        self.version = object()
        if after is None:
            del self.rows[key]
            del self.order[bisect_left(self.order, key)]
        else:
            if before is None:
                insort(self.order, key)
            self.rows[key] = after

    def select(self, plan: ReadPlan, keyset: KeySet) -> list[Key]:
        """The keys of the rows that a key set names, each once, in the order of the table or the index."""
        index = plan.index
        if index is None:
            order = self.order
            return [
                order[at] for at in _within(order, keyset.all_, _ranges(plan, keyset.keys, keyset.ranges))
            ]
        entries = self._indexed(index)
        # A sharded index is read with a range for each shard, and most shards are empty: that must be quick.
        first, present = index.encode[0], {entry[0][0] for entry in entries}
        held = [
            item
            for item in keyset.ranges
            if not (bounds := _first_parts(item)) or bounds[0] != bounds[1] or first(bounds[0]) in present
        ]
        # An entry stands before the key of its row.
        ranges = [((start,), (end,)) for start, end in _ranges(plan, keyset.keys, held)]
        return [entries[at][1] for at in _within(entries, keyset.all_, ranges)]

    def children(self, key: Key) -> list[Key]:
        """The keys that begin with this one."""
        return self.order[bisect_left(self.order, key) : bisect_left(self.order, (*key, _LAST))]

    def _indexed(self, index: Index) -> list[tuple[Key, Key]]:
        version, entries = self.entries.get(index.name, (None, []))
        if version is not self.version:
            entries = sorted(
                (index.entry(row), key) for key, row in self.rows.items() if index.key_of(row) is not None
            )
            self.entries[index.name] = self.version, entries
        return entries


class _Edge:
    """What comes before every value of a key, as NULL does, or after."""

    __slots__ = ("_after",)

    def __init__(self, *, after: bool) -> None:
        self._after = after

    def __gt__(self, _: object) -> bool:
        return self._after

    def __lt__(self, _: object) -> bool:
        return not self._after


_FIRST, _LAST = _Edge(after=False), _Edge(after=True)


def _comparable(key: Key) -> Key:
    return tuple([_FIRST if value is None else value for value in key])


def _first_parts(item: KeyRange) -> tuple[int, int] | None:
    """The first parts of a range's ends, where both are numbers."""
    start, end = item.start_open or item.start_closed, item.end_open or item.end_closed
    if start and end and type(start[0]) is type(end[0]) is int:
        return start[0], end[0]
    return None


def _ranges(
    plan: ReadPlan, keys: Sequence[Sequence[Any]], ranges: Sequence[KeyRange]
) -> list[tuple[Key, Key]]:
    """Where each key or range begins, and where it is over. A prefix comes before all that it begins."""
    encode = plan.index.encoded if plan.index else _comparable
    bounds = []
    for values in keys:
        key = encode(plan.key(values))
        bounds.append((key, (*key, _LAST)))
    for item in ranges:
        start = encode(plan.prefix(item.start_open or item.start_closed))
        end = encode(plan.prefix(item.end_open or item.end_closed))
        bounds.append(
            ((*start, _LAST) if item.start_open else start, end if item.end_open else (*end, _LAST))
        )
    return bounds


def _within(entries: Sequence[Any], everything: bool, ranges: Sequence[tuple[Any, Any]]) -> Iterable[int]:
    """Where in `entries` the ranges are."""
    if everything:
        return range(len(entries))
    found: set[int] = set()
    for start, end in ranges if entries else ():
        found.update(range(bisect_left(entries, start), bisect_left(entries, end)))
    return sorted(found)


class Commit:
    """One commit while it is checked: what it would change."""

    __slots__ = ("at", "changes", "cleared", "data", "now")

    def __init__(self, data: dict[str, Data], at: DatetimeWithNanoseconds, now: datetime) -> None:
        self.data = data
        self.at = at
        self.now = now
        self.changes: dict[tuple[str, Key], Row | None] = {}
        self.cleared: list[tuple[str, bool, list[tuple[Key, Key]]]] = []

    def do(self, operation: Operation) -> None:
        """Take one row's write, or one deletion."""
        if isinstance(operation, Put):
            self._put(operation)
        else:
            self._delete(operation)

    def _row(self, table: str, key: Key) -> Row | None:
        row = self.changes.get((table, key), _UNTOUCHED)
        return self.data[table].rows.get(key) if row is _UNTOUCHED else row

    def _put(self, put: Put) -> None:
        plan = put.plan
        if put.flaw is not None:
            raise exceptions.FailedPrecondition(put.flaw)
        cells = put.cells
        if plan.stamped:
            cells = self._stamp(cells, plan.stamped)
        if plan.flaw is not None:
            raise plan.flaw[0](plan.flaw[1])
        table, key = plan.table, put.key
        name = table.name
        before = self._row(name, key)
        if before is None:
            if plan.verb == "update":
                if (name, key) in self.changes or self._cleared(name, key):
                    raise exceptions.InvalidArgument(f"Row {key} in {name} was deleted and then updated.")
                raise exceptions.NotFound(f"Table {name}: Row {key} not found.")
            parent = table.parent
            if parent is not None and self._row(parent.name, key[: len(parent.key)]) is None:
                raise exceptions.NotFound(f"Parent row of {key} not found in {parent.name}.")
            row = table.blank(key)
        elif plan.verb == "insert":
            raise exceptions.AlreadyExists(f"Table {name}: Row {key} already exists.")
        else:
            row = list(before)
        for position, cell in zip(plan.positions, cells, strict=True):
            row[position] = cell
        self.changes[name, key] = row

    def _stamp(self, cells: Sequence[Any], stamped: Sequence[int]) -> Sequence[Any]:
        filled = list(cells)
        for at in stamped:
            value = filled[at]
            if value is COMMIT_TIME:
                filled[at] = self.at
            elif value is not None and value > self.now:
                raise exceptions.FailedPrecondition(f"Cannot write timestamps in the future, found: {value}")
        return filled

    def _delete(self, delete: Delete) -> None:
        plan, keyset = delete.plan, delete.keyset
        table = plan.table
        for values in keyset.keys:
            self._remove(table, plan.key(values))
        if keyset.all_ or keyset.ranges:
            # A row written by this very commit may be meant too.
            written = [key for name, key in self.changes if name == table.name]
            order = sorted({*self.data[table.name].order, *written})
            ranges = _ranges(plan, keyset.keys, keyset.ranges)
            self.cleared.append((table.name, keyset.all_, ranges))
            for at in _within(order, keyset.all_, ranges):
                self._remove(table, order[at])

    def _cleared(self, table: str, key: Key) -> bool:
        return any(
            name == table and _within([key], everything, ranges) for name, everything, ranges in self.cleared
        )

    def _remove(self, table: Table, key: Key) -> None:
        row = self._row(table.name, key)
        self.changes[table.name, key] = None
        if row is None:
            return
        for child in table.children:
            ours = [k for name, k in self.changes if name == child.name and k[: len(key)] == key]
            for below in sorted({*self.data[child.name].children(key), *ours}):
                self._remove(child, below)

    def apply(self) -> list[Change]:
        """Check the rows as they would be, then make them so.

        Raises:
            AlreadyExists: a unique index is violated.
            OutOfRange: a CHECK is.
        """
        changes = []
        moves: list[_Move] = []
        for (name, key), row in self.changes.items():
            data = self.data[name]
            before = data.rows.get(key)
            if before is None and row is None:
                continue
            changes.append(Change(name, key, before, row))
            if row is not None and data.table.unique:
                self._move(data, key, row, moves)
        for change in changes:
            _check(self.data[change.table].table, change)
        for entries, key, taken in moves:
            entries[taken] = key
        for name, key, before, row in changes:
            self.data[name].put(key, before, row)
        return changes

    def _move(self, data: Data, key: Key, row: Row, moves: list[_Move]) -> None:
        """Note which keys of the table's unique indexes the row takes."""
        for index in data.table.unique:
            taken = index.key_of(row)
            if taken is None:
                continue
            entries = data.unique[index.name]
            held = entries.get(taken)
            holder = None if held is None or held == key else self._row(data.table.name, held)
            if (holder is not None and index.key_of(holder) == taken) or any(
                move.entries is entries and move.taken == taken for move in moves
            ):
                raise exceptions.AlreadyExists(f"UNIQUE violation on index {index.name}, key: {taken}")
            moves.append(_Move(entries, key, taken))


def _check(table: Table, change: Change) -> None:
    for position, allowed in table.checks:
        value = None if change.after is None else change.after[position]
        if value is not None and value not in allowed:
            raise exceptions.OutOfRange(f"Check constraint of {table.name} is violated for key {change.key}")


class _Move(NamedTuple):
    """A row that takes a key of a unique index."""

    entries: dict[Key, Key]
    key: Key
    taken: Key
