"""An in-memory Spanner: what `shared` uses of the client's Database, by the rules that the emulator showed.

It holds committed rows. Every RPC passes through a `Wire`, where a simulation decides whether and when the
server performs it and what the caller is told. The scenarios in test_store_scenarios.py hold the store and
the emulator to the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.spanner_v1 import KeySet

from tests.simulation.store_commit import Change, Commit, Data
from tests.simulation.store_plans import Operation, ReadPlan, Verb, deletion, read_plan, write_plan
from tests.simulation.store_schema import Key, Row, load
from tests.simulation.store_values import stored_time

__all__ = ["Change", "Method", "Observer", "Store", "Wire"]

T = TypeVar("T")
# A commit of mutations alone is "Commit", that of a read-write transaction "Transact".
Method = Literal["Read", "Commit", "Transact"]

_MOST_TRIES = 50
_MICROSECOND = timedelta(microseconds=1)


class Wire(Protocol):
    """The way to the server.

    `perform` is what the server does. A wire may call it never, once, or later, when its caller has long been
    told an error. It raises what the server answers, also when it is called later: whoever calls it then
    must hold that back.
    """

    def __call__(self, method: Method, perform: Callable[[], T], /) -> T:
        """Do `perform`, or something worse."""
        ...


Observer = Callable[[Sequence[Change]], object]

# What a transaction read: of a table, the row of a key as it was; without a key, the table's version.
Seen = tuple[Data, Key | None, Any]


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
        self._data = {name: Data(table) for name, table in load().items()}
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

    def read(self, plan: ReadPlan, keyset: KeySet, limit: int, seen: list[Seen] | None) -> list[list[Any]]:
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

    def commit(self, operations: Sequence[Operation], seen: Sequence[Seen] = ()) -> DatetimeWithNanoseconds:
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
        commit = Commit(self._data, at, now)
        for operation in operations:
            commit.do(operation)
        changes = commit.apply()
        self._last = at
        if changes:
            self._observer(changes)
        return at

    def _require_unchanged(self, seen: Sequence[Seen]) -> None:
        for data, key, state in seen:
            if (data.version if key is None else data.rows.get(key)) is not state:
                raise exceptions.Aborted("Transaction was aborted.")


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

    def _commit(self, method: Method, seen: Sequence[Seen] = ()) -> None:
        store, operations, malformed = self._store, self._operations, self._malformed

        def perform() -> DatetimeWithNanoseconds:
            if malformed is not None:
                raise malformed
            return store.commit(operations, seen)

        self.committed = store.wire(method, perform)


class Batch(_Mutations):
    """One single-use commit. `committed` is its time, afterwards."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            self._commit("Commit")


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
        self._seen: list[Seen] = []

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
        self._commit("Transact", self._seen)
