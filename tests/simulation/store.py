"""An in-memory Spanner: what `shared` uses of the client's Database, by the rules that the emulator showed.

It holds committed rows. Every RPC passes through a `Wire`, where a simulation decides whether and when the
server performs it and what the caller is told. The scenarios in test_store_scenarios.py hold the store and
the emulator to the same answers.

A commit is checked in the order in which the emulator checks it:

1. every mutation: its table, its columns, the number and type of its values;
2. each row in turn: what it says by itself (NULLs, lengths, times), whether it is there, its parent;
3. what the rows that were written became: unique indexes and CHECKs, which the emulator takes in any order.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import KeySet

from tests.simulation.store_plans import (
    Delete,
    Operation,
    Put,
    ReadPlan,
    Verb,
    deletion,
    read_plan,
    write_plan,
)
from tests.simulation.store_schema import COMMIT_TIME, Index, Key, Row, Table, load, stored_time

T = TypeVar("T")
Method = Literal["Read", "Commit"]

_MOST_TRIES = 50
_MICROSECOND = timedelta(microseconds=1)
_UNTOUCHED: Row = ()


class Wire(Protocol):
    """The way to the server.

    `perform` is what the server does. A wire may call it never, once, or later, when its caller has long been
    told an error. It raises what the server answers, also when it is called later: whoever calls it then
    must hold that back.
    """

    def __call__(self, method: Method, perform: Callable[[], T], /) -> T:
        """Do `perform`, or something worse."""
        ...


class Change(NamedTuple):
    """One row that a commit wrote: what it was and what it is, in the order of the table's columns."""

    table: str
    key: Key
    before: Row | None
    after: Row | None


Observer = Callable[[Sequence[Change]], object]


def direct(_: Method, perform: Callable[[], T], /) -> T:
    """A wire without faults."""
    return perform()


class Store:
    """Stands in for `google.cloud.spanner_v1.database.Database`.

    Args:
        wire: the way to the server.
        now: the server's clock, aware.
        observer: called after every commit that was applied and wrote something, before its caller is told.
    """

    def __init__(
        self,
        wire: Wire = direct,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        observer: Observer = lambda _: None,
    ) -> None:
        self.wire = wire
        self._now = now
        self._observer = observer
        self._data = {name: _Data(table) for name, table in load().items()}
        self._last: datetime | None = None

    def batch(self, *, timeout_secs: float = 30) -> Batch:
        """Mutations for one single-use commit, applied when the block ends without an error."""
        return Batch(self)

    def snapshot(self) -> Snapshot:
        """One strong read."""
        return Snapshot(self)

    def run_in_transaction(
        self, func: Callable[[Transaction], T], *, timeout_secs: float = 30, default_retry_delay: float = 0
    ) -> T:
        """Call `func`, commit what it buffered, and do both again while the transaction is ABORTED.

        Every other error passes through, at the read as at the commit. No time passes between two tries.

        Raises:
            Aborted: it was, 50 times.
            ValueError: `func` neither read nor wrote anything.
        """
        for _ in range(_MOST_TRIES - 1):
            try:
                return self._transact(func)
            except exceptions.Aborted:
                continue
        return self._transact(func)

    def _transact(self, func: Callable[[Transaction], T]) -> T:
        transaction = Transaction(self)
        result = func(transaction)
        transaction.commit()
        return result

    def execute_sql(self, *_: object, **__: object) -> None:
        """Not made: the store knows no SQL."""
        raise NotImplementedError

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Every committed row of a table by column name, in the order of its key."""
        data = self._data[table]
        return [self.named(table, data.rows[key]) for key in data.order]

    def row(self, table: str, key: Iterable[Any]) -> dict[str, Any] | None:
        """One committed row by column name."""
        row = self._data[table].rows.get(tuple(key))
        return None if row is None else self.named(table, row)

    def named(self, table: str, row: Row) -> dict[str, Any]:
        """A row of a `Change` by column name."""
        plan = read_plan(table, tuple(self._data[table].table.columns), None)
        return dict(zip(plan.columns, plan.answer(row), strict=True))

    def read(
        self, plan: ReadPlan, keyset: KeySet, limit: int, seen: list[tuple[_Data, Key | None, Any]] | None
    ) -> list[list[Any]]:
        """The server's side of a read. `seen` learns what a transaction must find unchanged at its commit."""
        if seen is not None:
            self._require_unchanged(seen)
        if limit < 0:
            raise exceptions.InvalidArgument("Limit must be non-negative.")
        data = self._data[plan.table.name]
        rows = data.rows
        if plan.index is None and not keyset.all_ and not keyset.ranges:
            found: list[Row] = []
            asked = {plan.key(values) for values in keyset.keys}
            for key in sorted(asked & rows.keys()) if len(asked) > 1 else asked:
                row = rows.get(key)
                if row is not None:
                    found.append(row)
            if seen is not None:
                seen.extend((data, key, rows.get(key)) for key in asked)
        else:
            if seen is not None:
                seen.append((data, None, data.version))
            found = [rows[key] for key in data.select(plan, keyset)]
        if not plan.columns:
            return []
        answer = plan.answer
        return [answer(row) for row in (found[:limit] if limit else found)]

    def commit(
        self, operations: Sequence[Operation], seen: Sequence[tuple[_Data, Key | None, Any]] = ()
    ) -> DatetimeWithNanoseconds:
        """The server's side of a commit: all of it or, with an error, nothing.

        Raises:
            Aborted: what the transaction read has changed since.
            GoogleAPICallError: as Spanner has it for a refused mutation.
        """
        self._require_unchanged(seen)
        now = self._now()
        if self._last is not None and now <= self._last:
            at = stored_time(self._last + _MICROSECOND)
        else:
            at = stored_time(now)
        commit = _Commit(self._data, at, now)
        for operation in operations:
            commit.do(operation)
        changes = commit.apply()
        self._last = at
        if changes:
            self._observer(changes)
        return at

    def _require_unchanged(self, seen: Sequence[tuple[_Data, Key | None, Any]]) -> None:
        for data, key, state in seen:
            if (data.version if key is None else data.rows.get(key)) is not state:
                raise exceptions.Aborted("Transaction was aborted.")


class _Data:
    """The committed rows of one table. A row is never changed, but replaced: so it is its own version."""

    __slots__ = ("entries", "order", "rows", "table", "unique", "version")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: dict[Key, Row] = {}
        self.order: list[Key] = []
        self.version: object = object()
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
            return [order[at] for at in _within(order, keyset.all_, _ranges(plan, keyset))]
        entries = self._indexed(index)
        # An entry stands before the key of its row.
        ranges = [((start,), (end,)) for start, end in _ranges(plan, keyset)]
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


def _ranges(plan: ReadPlan, keyset: KeySet) -> list[tuple[Key, Key]]:
    """Where each key or range begins, and where it is over. A prefix comes before all that it begins."""
    encode = plan.index.encoded if plan.index else _comparable
    bounds = []
    for values in keyset.keys:
        key = encode(plan.key(values))
        bounds.append((key, (*key, _LAST)))
    for item in keyset.ranges:
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


class _Commit:
    """One commit while it is checked: what it would change."""

    __slots__ = ("at", "changes", "cleared", "data", "now")

    def __init__(self, data: dict[str, _Data], at: DatetimeWithNanoseconds, now: datetime) -> None:
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
            ranges = _ranges(plan, keyset)
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
            for below in {*self.data[child.name].children(key), *ours}:
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
            if data.table.unique:
                self._move(data, key, before, row, moves)
        for change in changes:
            _check(self.data[change.table].table, change)
        for entries, _, old, _ in moves:
            if old is not None:
                del entries[old]
        for entries, key, _, new in moves:
            if new is not None:
                entries[new] = key
        for name, key, before, row in changes:
            self.data[name].put(key, before, row)
        return changes

    def _move(self, data: _Data, key: Key, before: Row | None, row: Row | None, moves: list[_Move]) -> None:
        """Note what becomes of the row's entries in the table's unique indexes."""
        for index in data.table.unique:
            old = None if before is None else index.key_of(before)
            new = None if row is None else index.key_of(row)
            if old == new:
                continue
            entries = data.unique[index.name]
            if new is not None:
                held = entries.get(new)
                holder = None if held is None or held == key else self._row(data.table.name, held)
                if (holder is not None and index.key_of(holder) == new) or any(
                    move.entries is entries and move.new == new for move in moves
                ):
                    raise exceptions.AlreadyExists(f"UNIQUE violation on index {index.name}, key: {new}")
            moves.append(_Move(entries, key, old, new))


def _check(table: Table, change: Change) -> None:
    for position, allowed in table.checks:
        value = None if change.after is None else change.after[position]
        if value is not None and value not in allowed:
            raise exceptions.OutOfRange(f"Check constraint of {table.name} is violated for key {change.key}")


class _Move(NamedTuple):
    """A row whose key in a unique index becomes another."""

    entries: dict[Key, Key]
    key: Key
    old: Key | None
    new: Key | None


class _Mutations:
    """Buffers mutations as the client does: what the server refuses comes to light at the commit."""

    __slots__ = ("_malformed", "_operations", "_store", "committed")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._operations: list[Operation] = []
        self._malformed: exceptions.GoogleAPICallError | None = None
        self.committed: DatetimeWithNanoseconds | None = None

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        """New rows."""
        self._write("insert", table, columns, values)

    def update(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        """Other values for rows that are there."""
        self._write("update", table, columns, values)

    def insert_or_update(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        """New rows, or other values where they are there."""
        self._write("insert_or_update", table, columns, values)

    def delete(self, table: str, keyset: KeySet) -> None:
        """No such rows, whether they are there or not, and none that belong to them."""
        if self._malformed is None:
            try:
                self._operations.append(deletion(table, keyset))
            except exceptions.GoogleAPICallError as error:
                self._malformed = error

    def _write(self, verb: Verb, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        if self._malformed is None:
            try:
                self._operations.extend(write_plan(verb, table, tuple(columns)).puts(values))
            except exceptions.GoogleAPICallError as error:
                self._malformed = error

    def _commit(self, seen: Sequence[tuple[_Data, Key | None, Any]] = ()) -> None:
        store, operations, malformed = self._store, self._operations, self._malformed

        def perform() -> DatetimeWithNanoseconds:
            if malformed is not None:
                raise malformed
            return store.commit(operations, seen)

        self.committed = store.wire("Commit", perform)


class Batch(_Mutations):
    """One single-use commit. `committed` is its time, afterwards."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self._commit()


class Snapshot:
    """One strong read."""

    __slots__ = ("_store", "_used")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(
        self,
        table: str,
        columns: Sequence[str],
        keyset: KeySet,
        index: str = "",
        limit: int = 0,
        *,
        timeout: float | None = None,
    ) -> Iterator[list[Any]]:
        """The rows that a key set names, in the order of the table's key or of the index.

        Raises:
            ValueError: it was read before.
        """
        if self._used:
            raise ValueError("Cannot re-use single-use snapshot.")
        self._used = True
        store = self._store
        names = tuple(columns)
        return iter(
            store.wire(
                "Read", lambda: store.read(read_plan(table, names, index or None), keyset, limit, None)
            )
        )


class Transaction(_Mutations):
    """A read-write transaction: it commits only if nothing that it read has changed."""

    __slots__ = ("_begun", "_seen")

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._begun = False
        self._seen: list[tuple[_Data, Key | None, Any]] = []

    def read(
        self,
        table: str,
        columns: Sequence[str],
        keyset: KeySet,
        index: str = "",
        limit: int = 0,
        *,
        timeout: float | None = None,
    ) -> Iterator[list[Any]]:
        """Committed rows: not what this transaction is about to write."""
        self._begun = True
        store, seen, names = self._store, self._seen, tuple(columns)
        return iter(
            store.wire(
                "Read", lambda: store.read(read_plan(table, names, index or None), keyset, limit, seen)
            )
        )

    def commit(self) -> None:
        """Write what was buffered."""
        if not self._begun and not self._operations and self._malformed is None:
            raise ValueError("Transaction has not begun.")
        self._commit(self._seen)
