"""What a simulation may do to the store's RPCs: perform them never, once or later, and answer as it likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from google.api_core import exceptions

from tests.simulation.store import Change, Method, Store, T
from tests.simulation.store_schema import UnknownSql, load, parse
from tests.simulation.store_steps import (
    ALL,
    FILLED,
    PAST,
    between,
    delete,
    insert,
    job,
    keys,
    outcome,
    read,
    update,
)

EMAIL = ["TenantId", "UserEmail"]


class Scripted:
    """Answers the next RPCs of a method with errors; those that did not arrive are kept, to arrive late."""

    def __init__(self) -> None:
        self.calls: list[Method] = []
        self.errors: list[tuple[Method, exceptions.GoogleAPICallError, bool]] = []
        self.late: list[Callable[[], object]] = []
        self.between: Callable[[], object] = lambda: None

    def __call__(self, method: Method, perform: Callable[[], T], /) -> T:
        self.calls.append(method)
        if method != "Read":
            meanwhile, self.between = self.between, lambda: None
            meanwhile()
        if self.errors and self.errors[0][0] == method:
            _, error, arrived = self.errors.pop(0)
            if arrived:
                perform()
            else:
                self.late.append(perform)
            raise error
        return perform()


@pytest.fixture
def wire() -> Scripted:
    return Scripted()


@pytest.fixture
def store(wire: Scripted) -> Store:
    """A store that holds `FILLED`."""
    made = Store(wire)
    assert outcome(made, *FILLED) == "OK"
    wire.calls.clear()
    return made


def set_email(store: Store, text: str, *, reading: Any = keys(["a"])) -> None:  # noqa: B008 - never changed
    def work(transaction: Any) -> None:
        list(transaction.read("Tenants", EMAIL, reading))
        transaction.update("Tenants", EMAIL, [["a", text]])

    store.run_in_transaction(work)


def email(store: Store) -> str | None:
    row = store.row("Tenants", ["a"])
    assert row is not None
    found: str | None = row["UserEmail"]
    return found


def test_every_rpc_passes_through_the_wire(store: Store, wire: Scripted) -> None:
    outcome(store)
    read(store, "Tenants", EMAIL, ALL)
    set_email(store, "x")
    assert wire.calls == ["Commit", "Read", "Read", "Transact"]


@pytest.mark.parametrize("arrived", [True, False])
def test_a_commit_may_have_happened_although_its_caller_is_told_an_error(
    store: Store, wire: Scripted, arrived: bool
) -> None:
    wire.errors = [("Commit", exceptions.DeadlineExceeded("lost"), arrived)]
    assert outcome(store, update("Tenants", EMAIL, ["a", "x"])) == "DeadlineExceeded"
    assert email(store) == ("x" if arrived else None)
    assert len(wire.late) == (not arrived)


def test_a_late_single_use_commit_meets_the_rows_of_then(store: Store, wire: Scripted) -> None:
    wire.errors = [("Commit", exceptions.ServiceUnavailable("lost"), False)] * 2
    assert outcome(store, job(JobId="late")) == "ServiceUnavailable"
    assert outcome(store, update("Tenants", EMAIL, ["b", "late"])) == "ServiceUnavailable"
    outcome(store, job(JobId="late", ImageUri="first"), update("Tenants", EMAIL, ["b", "first"]))
    with pytest.raises(exceptions.AlreadyExists):
        wire.late[0]()
    wire.late[1]()
    assert [row["ImageUri"] for row in store.rows("Jobs")] == [None, "first"]
    assert [row["UserEmail"] for row in store.rows("Tenants")] == [None, "late"]


@pytest.mark.parametrize("changed", [True, False])
def test_a_late_transaction_does_nothing_if_what_it_read_has_changed(
    store: Store, wire: Scripted, changed: bool
) -> None:
    wire.errors = [("Transact", exceptions.DeadlineExceeded("lost"), False)]
    with pytest.raises(exceptions.DeadlineExceeded):
        set_email(store, "late")
    outcome(store, update("Tenants", EMAIL, ["a" if changed else "b", "between"]))
    if changed:
        with pytest.raises(exceptions.Aborted):
            wire.late[0]()
    else:
        wire.late[0]()
    assert email(store) == ("between" if changed else "late")


@pytest.mark.parametrize(
    ("reading", "other", "tries"),
    [
        (keys(["a"]), update("Tenants", EMAIL, ["a", "other"]), 2),
        (keys(["a"]), update("Tenants", EMAIL, ["b", "other"]), 1),
        (keys(["a"]), insert("Tenants", EMAIL, ["c", "other"]), 1),
        (keys(["a"], ["c"]), insert("Tenants", EMAIL, ["c", "other"]), 2),
        (between(start_closed=["a"], end_closed=["a"]), insert("Tenants", EMAIL, ["c", "other"]), 2),
    ],
)
def test_a_transaction_runs_again_only_when_what_it_read_has_changed(
    store: Store, wire: Scripted, reading: Any, other: Any, tries: int
) -> None:
    wire.between = lambda: outcome(store, other)
    set_email(store, "mine", reading=reading)
    assert email(store) == "mine"
    assert wire.calls.count("Read") == tries


def test_a_transaction_never_sees_two_states(store: Store) -> None:
    seen: list[list[str | None]] = []
    others = [update("Tenants", EMAIL, ["a", "x"], ["b", "x"])]

    def work(transaction: Any) -> None:
        ((_, first),) = transaction.read("Tenants", EMAIL, keys(["a"]))
        outcome(store, *others)
        others.clear()
        ((_, second),) = transaction.read("Tenants", EMAIL, keys(["b"]))
        seen.append([first, second])

    store.run_in_transaction(work)
    assert seen == [["x", "x"]]


def test_a_transaction_that_is_always_aborted_ends(store: Store, wire: Scripted) -> None:
    wire.errors = [("Transact", exceptions.Aborted("again"), False)] * 50
    with pytest.raises(exceptions.Aborted):
        set_email(store, "x")
    assert not wire.errors
    set_email(store, "y")
    assert email(store) == "y"


def test_errors_but_aborted_pass_through_a_transaction(store: Store, wire: Scripted) -> None:
    wire.errors = [
        ("Read", exceptions.Aborted("again"), False),
        ("Read", exceptions.ServiceUnavailable("no"), False),
    ]
    with pytest.raises(exceptions.ServiceUnavailable):
        set_email(store, "x")
    assert wire.calls == ["Read", "Read"]


def test_the_observer_hears_of_every_commit_that_changed_something() -> None:
    heard: list[list[tuple[str, Any, Any, Any]]] = []

    def observe(changes: Sequence[Change]) -> None:
        def email_in(change: Change, row: Any) -> Any:
            return None if row is None else observed.named(change.table, row)["UserEmail"]

        heard.append(
            [
                (each.table, each.key, email_in(each, each.before), email_in(each, each.after))
                for each in changes
            ]
        )

    observed = Store(observer=observe)
    outcome(observed, insert("Tenants", EMAIL, ["a", "x"]))
    outcome(observed, insert("Tenants", EMAIL, ["a", "y"]))
    outcome(observed)
    outcome(observed, update("Tenants", EMAIL, ["a", "y"]))
    outcome(observed, delete("Tenants", ["a"], ["none"]))
    assert heard == [
        [("Tenants", ("a",), None, "x")],
        [("Tenants", ("a",), "x", "y")],
        [("Tenants", ("a",), "y", None)],
    ]


def test_commit_times_grow_where_the_clock_stands_still_or_goes_back() -> None:
    clock = [PAST, PAST, PAST - timedelta(hours=1), PAST + timedelta(hours=1)]
    store = Store(now=lambda: clock.pop(0))
    committed = []
    for _ in range(4):
        with store.batch() as batch:
            pass
        committed.append(batch.committed)
    microsecond = timedelta(microseconds=1)
    assert committed == [PAST, PAST + microsecond, PAST + 2 * microsecond, PAST + timedelta(hours=1)]


def test_what_was_read_or_written_can_be_changed_without_harm(store: Store) -> None:
    commands = ["x"]
    outcome(store, job(JobId="list", Commands=commands, Spec='{"a": {"b": 1}}'))
    commands.append("y")
    for _ in range(2):
        ((found, spec),) = read(store, "Jobs", ["Commands", "Spec"], keys(["a", "list"]))
        assert found == ["x"]
        assert spec == {"a": {"b": 1}}
        found.append("z")
        spec["a"]["b"] = 2


def test_two_stores_have_nothing_in_common(store: Store) -> None:
    assert len(store.rows("Tenants")) == 2
    assert Store().rows("Tenants") == []


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW V AS SELECT 1",
        "CREATE TABLE T (A FLOAT64) PRIMARY KEY (A)",
        "CREATE TABLE T (A INT64 DEFAULT (1 + B)) PRIMARY KEY (A)",
        "CREATE TABLE T (A INT64, CONSTRAINT C CHECK (A > 1)) PRIMARY KEY (A)",
        "CREATE TABLE T (A INT64, B STRING(9), C INT64 AS (FARM_FINGERPRINT(B) & 3) STORED) PRIMARY KEY (A)",
        "CREATE TABLE T (A INT64) PRIMARY KEY (A); CREATE INDEX I ON T (A DESC)",
        "CREATE TABLE T (A INT64) PRIMARY KEY (A); CREATE INDEX I ON T (A) STORING (B)",
    ],
)
def test_unknown_sql_is_refused(sql: str) -> None:
    with pytest.raises(UnknownSql):
        parse(sql)


def test_the_schema_is_read_once() -> None:
    assert load() is load()
    assert set(load()) >= {"Tenants", "Jobs", "JobStateTransitions", "JobAttempts"}
