"""The store and the emulator give the same answers. Where they differ, the emulator is right."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet, param_types
from google.cloud.spanner_v1.database import Database

from shared.commits import Patience, commit
from tests.simulation.farm_hash import farm_fingerprint
from tests.simulation.store import Store
from tests.simulation.store_steps import (
    ALL,
    FILLED,
    FUTURE,
    IDENTITY,
    JOB,
    LATER,
    LATEST,
    PAST,
    Mutation,
    between,
    delete,
    insert,
    job,
    keys,
    outcome,
    read,
    run,
    update,
    upsert,
    write,
)


@pytest.fixture(params=["emulator", "store"])
def either(request: pytest.FixtureRequest) -> Database:
    """The emulator's database, then the store."""
    return request.getfixturevalue("database") if request.param == "emulator" else Store()


NO_TENANT = update("Tenants", ["TenantId"], ["none"])
UNKNOWN_STATUS = job(Status="X")
TAKEN = update("Tenants", IDENTITY, ["b", "g", "1"])
FROM_THE_FUTURE = insert("Tenants", ["TenantId", "CreatedAt"], ["x", FUTURE])

# Into a database that holds `FILLED`.
COMMITS: dict[str, tuple[str, list[Mutation]]] = {
    "nothing": ("OK", []),
    "a row that is there": ("AlreadyExists", [insert("Tenants", ["TenantId"], ["a"])]),
    "one row twice": ("AlreadyExists", [insert("Tenants", ["TenantId"], ["c"], ["c"])]),
    "update of a missing row": ("NotFound", [NO_TENANT]),
    "update of a key alone": ("OK", [update("Tenants", ["TenantId"], ["a"])]),
    "child without parent": ("NotFound", [job(TenantId="none")]),
    "upsert without parent": ("NotFound", [upsert("Jobs", JOB, ["none", "x", "PENDING"])]),
    "child before parent": ("NotFound", [job(TenantId="q"), insert("Tenants", ["TenantId"], ["q"])]),
    "parent, then child": ("OK", [insert("Tenants", ["TenantId"], ["q"]), job(TenantId="q")]),
    "child of a deleted parent": ("NotFound", [delete("Tenants", ["a"]), job()]),
    "identity of another": ("AlreadyExists", [TAKEN]),
    "one identity twice": ("AlreadyExists", [insert("Tenants", IDENTITY, ["c", "g", "5"], ["d", "g", "5"])]),
    "half an identity twice": ("OK", [insert("Tenants", IDENTITY, ["c", "g", None], ["d", "g", None])]),
    "identity of a row deleted before": ("OK", [delete("Tenants", ["a"]), TAKEN]),
    "identity of a row deleted after": ("OK", [TAKEN, delete("Tenants", ["a"])]),
    "identities that change hands": ("OK", [TAKEN, update("Tenants", IDENTITY, ["a", "g", "9"])]),
    "idempotency key of another": ("AlreadyExists", [job(IdempotencyKey="k")]),
    "idempotency key of another tenant's": ("OK", [job(TenantId="b", IdempotencyKey="k")]),
    "unknown status": ("OutOfRange", [UNKNOWN_STATUS]),
    "unknown status, mended": ("OK", [UNKNOWN_STATUS, update("Jobs", JOB, ["a", "new", "FAILED"])]),
    "no status": ("FailedPrecondition", [insert("Jobs", ["TenantId", "JobId"], ["a", "new"])]),
    "NULL status": ("FailedPrecondition", [job(Status=None)]),
    "NULL status by update": ("FailedPrecondition", [update("Jobs", JOB, ["a", "j", None])]),
    "NULL where there is a default": ("FailedPrecondition", [job(MaxRetries=None)]),
    "NULL key": ("FailedPrecondition", [job(JobId=None)]),
    "no key": ("FailedPrecondition", [update("Jobs", ["TenantId", "Status"], ["a", "FAILED"])]),
    "upsert of a row that is there, without its status": (
        "FailedPrecondition",
        [upsert("Jobs", ["TenantId", "JobId", "Version"], ["a", "j", 9])],
    ),
    "too long": ("FailedPrecondition", [job(JobId="x" * 37)]),
    "as long as may be": ("OK", [insert("Tenants", ["TenantId"], ["ä" * 36])]),
    "text for a number": ("FailedPrecondition", [job(Version="x")]),
    "digits for a number": ("OK", [job(Version="7")]),
    "a number for text": ("OK", [job(ImageUri=5)]),
    "truth for a number": ("FailedPrecondition", [job(Version=True)]),
    "truth for text": ("FailedPrecondition", [job(ImageUri=True)]),
    "fraction for a number": ("FailedPrecondition", [job(Version=1.5)]),
    "a number too large": ("FailedPrecondition", [job(Version=1 << 63)]),
    "text for a list": ("FailedPrecondition", [job(Commands="x")]),
    "text for a time": ("FailedPrecondition", [job(NextCheckAt="yesterday")]),
    "text for JSON": ("FailedPrecondition", [job(Spec="{a")]),
    "a number for JSON": ("OK", [job(Spec=5)]),
    "commit time": ("OK", [job(CreatedAt=COMMIT_TIMESTAMP)]),
    "commit time where none may be": ("FailedPrecondition", [job(NextCheckAt=COMMIT_TIMESTAMP)]),
    "future commit time": ("FailedPrecondition", [FROM_THE_FUTURE]),
    "past commit time": ("OK", [job(CreatedAt=PAST)]),
    "future check": ("OK", [job(NextCheckAt=FUTURE)]),
    "generated column": ("FailedPrecondition", [job(CheckShard=1)]),
    "unknown table": ("NotFound", [insert("Nope", ["TenantId"], ["a"])]),
    "unknown table to delete from": ("NotFound", [delete("Nope", ["a"])]),
    "unknown column": ("NotFound", [job(Nope=1)]),
    "a column twice": ("InvalidArgument", [insert("Tenants", ["TenantId", "TenantId"], ["c", "c"])]),
    "too few values": ("InvalidArgument", [insert("Tenants", ["TenantId", "UserEmail"], ["c"])]),
    "no row": ("InvalidArgument", [insert("Tenants", ["TenantId"])]),
    "insert, then delete": ("OK", [job(), delete("Jobs", ["a", "new"])]),
    "delete, then insert": ("OK", [delete("Tenants", ["a"]), insert("Tenants", ["TenantId"], ["a"])]),
    "delete, then update": (
        "InvalidArgument",
        [delete("Tenants", ["a"]), update("Tenants", ["TenantId"], ["a"])],
    ),
    "delete of all, then update of one that was missing": (
        "InvalidArgument",
        [("delete", "Tenants", KeySet(all_=True), None), NO_TENANT],
    ),
    "delete of a range": (
        "OK",
        [("delete", "Jobs", between(start_closed=["a"], end_open=["a", "x"]), None)],
    ),
    "delete of a range whose ends differ early": (
        "MethodNotImplemented",
        [("delete", "Jobs", between(start_closed=["a"], end_open=["b", "x"]), None)],
    ),
    "insert of a child, then delete of its parent": ("OK", [job(), delete("Tenants", ["a"])]),
    "delete of a missing row": ("OK", [delete("Tenants", ["none"])]),
    "delete by half a key": ("FailedPrecondition", [delete("Jobs", ["a"])]),
    # Which error it is, where there are two.
    "types before rows": ("FailedPrecondition", [NO_TENANT, job(Version=True)]),
    "types before lengths": ("FailedPrecondition", [NO_TENANT, job(JobId="x" * 37, Version=True)]),
    "keys before rows": ("FailedPrecondition", [NO_TENANT, delete("Jobs", ["a"])]),
    "columns before rows": ("InvalidArgument", [NO_TENANT, insert("Tenants", ["TenantId"])]),
    "rows in turn: missing, too long": ("NotFound", [NO_TENANT, job(JobId="x" * 37)]),
    "rows in turn: future, missing": ("FailedPrecondition", [FROM_THE_FUTURE, NO_TENANT]),
    "length before presence": ("FailedPrecondition", [job(JobId="j", ImageUri="x" * 1025)]),
    "NULL before parent": ("FailedPrecondition", [job(TenantId="none", Status=None)]),
    "rows before checks": ("NotFound", [UNKNOWN_STATUS, NO_TENANT]),
    "rows before identities": ("NotFound", [TAKEN, NO_TENANT]),
}


def test_commits_end_as_on_the_emulator(either: Database) -> None:
    assert outcome(either, *FILLED) == "OK"
    everything = {name: KeySet(all_=True) for name in ("Tenants", "Jobs", "JobAttempts")}
    for name, (expected, mutations) in COMMITS.items():
        assert outcome(either, *mutations) == expected, name
        if expected == "OK":
            assert outcome(either, ("delete", "Tenants", KeySet(all_=True), None), *FILLED) == "OK"
        rows = {table: read(either, table, ["TenantId"], keyset) for table, keyset in everything.items()}
        assert rows == {"Tenants": [["a"], ["b"]], "Jobs": [["a"]], "JobAttempts": [["a"], ["a"]]}, name


# Tenants a and b; jobs a/j0 … a/j5 and b/x, of which j0 has no times and no key.
STORED = [
    insert("Tenants", IDENTITY, ["a", "g", "1"], ["b", "g", "2"], ["c", "g", None]),
    insert(
        "Jobs",
        [*JOB, "CreatedAt", "NextCheckAt", "IdempotencyKey", "Commands", "Spec"],
        ["b", "x", "RUNNING", PAST, None, None, None, None],
        ["a", "j0", "PENDING", None, None, None, [], JsonObject({})],
        ["a", "j1", "RUNNING", PAST, LATER, "k1", ["ä", None], JsonObject({"b": [1, None, 2.5], "a": "ü"})],
        ["a", "j2", "PENDING", LATER, PAST, "k2", ("x",), JsonObject([1, "x"])],
        ["a", "j3", "PENDING", LATEST, LATEST, "k3", ["x"], '{"b": 1, "a": {"y": true, "x": 1}}'],
    ),
]


# Table, columns, key set, options; then the answer. A read of one column is compared without the lists.
READS: list[tuple[str, str, KeySet, dict[str, Any], list[Any] | str]] = [
    ("Jobs", "JobId", ALL, {}, ["j0", "j1", "j2", "j3", "x"]),
    ("Jobs", "JobId", ALL, {"limit": 2}, ["j0", "j1"]),
    ("Jobs", "JobId", ALL, {"limit": -1}, "InvalidArgument"),
    ("Jobs", "JobId", KeySet(), {}, []),
    ("Jobs", "JobId", keys(["a", "j3"], ["a", "j1"], ["a", "j3"], ["a", "no"]), {}, ["j1", "j3"]),
    ("Jobs", "JobId", keys(["a", "j3"], ["a", "j1"]), {"limit": 1}, ["j1"]),
    ("Jobs", "JobId", keys(["a"]), {}, "FailedPrecondition"),
    ("Jobs", "JobId", keys(["a", "j1", "more"]), {}, "FailedPrecondition"),
    ("Jobs", "JobId", keys([True, "j1"]), {}, "FailedPrecondition"),
    ("Jobs", "JobId", keys([None, "j1"], ["a", "j1"]), {}, ["j1"]),
    ("Jobs", "JobId", between(start_closed=["a"], end_closed=["a"]), {}, ["j0", "j1", "j2", "j3"]),
    ("Jobs", "JobId", between(start_open=["a"], end_closed=["b"]), {}, ["x"]),
    ("Jobs", "JobId", between(start_closed=["a"], end_open=["b"]), {}, ["j0", "j1", "j2", "j3"]),
    ("Jobs", "JobId", between(start_closed=["a", "j1"], end_open=["a", "j3"]), {}, ["j1", "j2"]),
    ("Jobs", "JobId", between(start_open=["a", "j1"], end_closed=["a", "j3"]), {}, ["j2", "j3"]),
    ("Jobs", "JobId", between(start_closed=["a", "j2"]), {}, ["j2", "j3", "x"]),
    ("Jobs", "JobId", between(end_open=["a", "j2"]), {}, ["j0", "j1"]),
    ("Jobs", "JobId", between(start_closed=["b"], end_closed=["a"]), {}, []),
    (
        "Jobs",
        "JobId",
        keys(["b", "x"], ["a", "j3"], ["a", "j2"], ["a", "j1"], ["a", "j0"]),
        {},
        ["j0", "j1", "j2", "j3", "x"],
    ),
    ("Jobs", "JobId", between(start_closed=[None], end_open=["a", "j1"]), {}, ["j0"]),
    ("Jobs", "JobId", between(start_closed=["a", None], end_closed=["a", "j0"]), {}, ["j0"]),
    ("Jobs", "JobId", between(start_closed=["a", "j1", "x"], end_closed=["b"]), {}, "FailedPrecondition"),
    ("Jobs", "Status", keys(["a", "j1"]), {}, ["RUNNING"]),
    ("Jobs", "CheckShard", ALL, {}, [7, 5, 5, 11, 2]),
    ("Jobs", "Nope", ALL, {}, "NotFound"),
    ("Nope", "JobId", ALL, {}, "NotFound"),
    ("Jobs", "JobId", ALL, {"index": "Nope"}, "NotFound"),
    ("Tenants", "TenantId", ALL, {"index": "JobsByNextCheck"}, "FailedPrecondition"),
    ("Jobs", "Status", ALL, {"index": "JobsByNextCheck"}, "NotFound"),
    ("Jobs", "JobId", ALL, {"index": "JobsByNextCheck"}, ["j2", "j1", "j3"]),
    ("Jobs", "JobId", ALL, {"index": "JobsByNextCheck", "limit": 1}, ["j2"]),
    (
        "Jobs",
        "JobId",
        between(start_closed=[5, PAST], end_open=[5, LATER]),
        {"index": "JobsByNextCheck"},
        ["j2"],
    ),
    ("Jobs", "JobId", between(start_closed=[5], end_closed=[5]), {"index": "JobsByNextCheck"}, ["j2", "j1"]),
    ("Jobs", "JobId", ALL, {"index": "JobsByCreatedAt"}, ["j3", "j2", "j1", "j0", "x"]),
    (
        "Jobs",
        "JobId",
        between(start_closed=["a", LATEST], end_closed=["a", LATER]),
        {"index": "JobsByCreatedAt"},
        ["j3", "j2"],
    ),
    (
        "Jobs",
        "JobId",
        between(start_closed=["a", LATER], end_closed=["a", LATEST]),
        {"index": "JobsByCreatedAt"},
        [],
    ),
    ("Jobs", "JobId", keys(["a", None]), {"index": "JobsByCreatedAt"}, ["j0"]),
    ("Jobs", "JobId", keys(["a", None, "j0"]), {"index": "JobsByCreatedAt"}, "FailedPrecondition"),
    (
        "Jobs",
        "JobId",
        between(start_closed=["a", "PENDING"], end_closed=["a", "PENDING"]),
        {"index": "JobsByStatus"},
        ["j3", "j2", "j0"],
    ),
    ("Jobs", "JobId", keys(["a", "k2"]), {"index": "JobsByIdempotencyKey"}, ["j2"]),
    ("Jobs", "JobId", keys(["a", None]), {"index": "JobsByIdempotencyKey"}, []),
    ("Jobs", "JobId", keys(["a"]), {"index": "JobsByIdempotencyKey"}, "FailedPrecondition"),
    ("Tenants", "TenantId", ALL, {"index": "TenantsByIdentity"}, ["a", "b"]),
]


def test_reads_answer_as_on_the_emulator(either: Database) -> None:
    assert outcome(either, *STORED) == "OK"
    for table, column, keyset, options, expected in READS:
        answer = read(either, table, [column], keyset, **options)
        found = answer if isinstance(answer, str) else [row[0] for row in answer]
        assert found == expected, (table, column, keyset._to_dict(), options)


def test_values_come_back_as_the_client_gives_them(either: Database) -> None:
    outcome(either, *STORED)
    columns = ["JobId", "Commands", "Spec", "MaxRetries", "NextCheckAt"]
    at = [f"DatetimeWithNanoseconds {time:%H:%M}" for time in (PAST, LATER, LATEST)]
    answer = [
        [
            *row[:2],
            row[2] and f"{type(row[2]).__name__} {row[2].serialize()}",
            row[3],
            None if row[4] is None else f"{type(row[4]).__name__} {row[4]:%H:%M}",
        ]
        for row in read(either, "Jobs", columns, ALL)
    ]
    assert answer == [
        ["j0", [], JsonObject({}), 3, None],
        ["j1", ["ä", None], r'JsonObject {"a":"\u00fc","b":[1,null,2.5]}', 3, at[1]],
        ["j2", ["x"], 'JsonObject [1,"x"]', 3, at[0]],
        ["j3", ["x"], 'JsonObject {"a":{"x":1,"y":true},"b":1}', 3, at[2]],
        ["x", None, None, 3, None],
    ]


def test_a_commit_has_one_time_later_than_the_one_before(either: Database) -> None:
    columns = ["TenantId", "CreatedAt", "UpdatedAt"]
    committed = []
    for tenant in "abc":
        with either.batch() as batch:
            batch.insert("Tenants", columns, [[tenant, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP]])
        committed.append(batch.committed)
    assert committed == sorted(set(committed))
    assert read(either, "Tenants", columns[1:], ALL) == [[at, at] for at in committed]


def test_deleting_a_tenant_deletes_all_below_it(either: Database) -> None:
    outcome(either, *FILLED)
    assert outcome(either, delete("Tenants", ["a"])) == "OK"
    assert [read(either, table, ["TenantId"], ALL) for table in ("Tenants", "Jobs", "JobAttempts")] == [
        [["b"]],
        [],
        [],
    ]


def test_a_range_is_deleted_with_what_the_commit_wrote_there(either: Database) -> None:
    outcome(either, *FILLED)
    assert outcome(either, job(), ("delete", "Jobs", ALL, None), job(JobId="last")) == "OK"
    assert read(either, "Jobs", ["JobId"], ALL) == [["last"]]


def test_an_index_follows_its_rows(either: Database) -> None:
    outcome(either, *FILLED)
    found = []
    for at in (LATER, PAST, None):
        outcome(either, update("Jobs", ["TenantId", "JobId", "NextCheckAt"], ["a", "j", at]))
        found.append(read(either, "Jobs", ["NextCheckAt"], ALL, index="JobsByNextCheck"))
    assert found == [[[LATER]], [[PAST]], []]


def test_a_unique_key_is_free_once_its_row_let_it_go(either: Database) -> None:
    outcome(either, *FILLED)
    assert outcome(either, update("Tenants", IDENTITY, ["a", "g", "2"])) == "OK"
    assert outcome(either, TAKEN) == "OK"
    assert outcome(either, update("Tenants", IDENTITY, ["a", "g", "1"])) == "AlreadyExists"
    assert outcome(either, delete("Tenants", ["b"])) == "OK"
    assert outcome(either, update("Tenants", IDENTITY, ["a", "g", "1"])) == "OK"


def test_a_batch_whose_block_fails_writes_nothing(either: Database) -> None:
    def interrupted() -> None:
        with either.batch() as batch:
            batch.insert("Tenants", ["TenantId"], [["a"]])
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert read(either, "Tenants", ["TenantId"], ALL) == []


def test_a_snapshot_reads_once(either: Database) -> None:
    with either.snapshot() as snapshot:
        list(snapshot.read("Tenants", ["TenantId"], ALL))
        with pytest.raises(ValueError, match="single-use"):
            list(snapshot.read("Tenants", ["TenantId"], ALL))


def test_a_transaction_commits_what_it_buffered(either: Database) -> None:
    outcome(either, *FILLED)
    columns, one = ["TenantId", "UserEmail"], keys(["a"])

    def change(transaction: Any) -> Any:
        transaction.update("Tenants", columns, [["a", "new"]])
        return list(transaction.read("Tenants", columns, one))

    def fail(transaction: Any) -> Any:
        change(transaction)
        raise KeyError

    def collide(transaction: Any) -> Any:
        change(transaction)
        transaction.insert("Tenants", ["TenantId"], [["b"]])

    assert run(either, lambda _: None) == "ValueError"
    assert run(either, fail) == "KeyError"
    assert run(either, collide) == "AlreadyExists"
    assert run(either, lambda transaction: list(transaction.read("Nope", columns, one))) == "NotFound"
    assert run(either, lambda transaction: list(transaction.read("Tenants", columns, one))) == [["a", None]]
    assert run(either, change) == [["a", None]]  # it does not see its own writes
    assert run(either, lambda transaction: transaction.update("Tenants", columns, [["b", "new"]])) is None
    assert read(either, "Tenants", columns, ALL) == [["a", "new"], ["b", "new"]]


@pytest.mark.parametrize("seen", [keys(["a", "j"]), between(start_closed=["a"], end_closed=["a"])])
def test_a_transaction_runs_again_when_what_it_read_has_changed(either: Database, seen: KeySet) -> None:
    outcome(either, *FILLED)
    read_versions: list[Any] = []

    def work(transaction: Any) -> None:
        read_versions.append(list(transaction.read("Jobs", ["Version"], seen)))
        if len(read_versions) == 1:
            # The emulator gives way to a newcomer by chance, one time in five: no pause between tries, then.
            commit(
                either,
                lambda batch: write(batch, [update("Jobs", [*JOB, "Version"], ["a", "j", "RUNNING", 5])]),
                patience=Patience(sleep=lambda _: None),
            )
        columns = ["TenantId", "JobId", "Version"]
        transaction.update("Jobs", columns, [["a", "j", read_versions[-1][0][0] + 1]])

    assert run(either, work) is None
    assert read_versions[0] == [[0]]
    assert read_versions[-1] == [[5]]
    assert read(either, "Jobs", ["Version"], ALL) == [[6]]


def test_fingerprints_are_those_of_the_emulator(database: Database) -> None:
    texts = [("0123456789abcdef-ä" * 4)[:size] for size in range(62)]
    sql = "SELECT FARM_FINGERPRINT(text) FROM UNNEST(@texts) AS text WITH OFFSET AS place ORDER BY place"
    types = {"texts": param_types.Array(param_types.STRING)}
    with database.snapshot() as snapshot:
        fingerprints = [value for (value,) in snapshot.execute_sql(sql, {"texts": texts}, types)]
    assert [farm_fingerprint(text) for text in texts] == fingerprints
