"""The steps that the store and the emulator are both led through, and what is compared of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from google.api_core import exceptions
from google.cloud.spanner_v1 import JsonObject, KeyRange, KeySet
from google.cloud.spanner_v1.database import Database

Mutation = tuple[Literal["insert", "update", "insert_or_update", "delete"], Any, Any, Any]
Answer = object

PAST = datetime(2020, 1, 1, tzinfo=UTC)
_CHOSEN = datetime(2021, 1, 1, tzinfo=UTC)
FUTURE = datetime(2999, 1, 1, tzinfo=UTC)
LATER, LATEST = PAST + timedelta(minutes=1), PAST + timedelta(minutes=2)
ALL = KeySet(all_=True)
JOB = ("TenantId", "JobId", "Status")
IDENTITY = ("TenantId", "OAuthProvider", "OAuthUserId")


class Labels:
    """Names the times that a database chose by the order of first sight, so that two can be compared."""

    def __init__(self) -> None:
        self._seen: dict[datetime, int] = {}

    def plain(self, value: Any) -> Answer:
        """A value with its type, and such times as labels."""
        if isinstance(value, datetime):
            label = self._seen.setdefault(value, len(self._seen)) if _CHOSEN < value < FUTURE else value
            return type(value).__name__, label
        if isinstance(value, JsonObject):
            return "JsonObject", value.serialize()
        if is_dataclass(value) and not isinstance(value, type):
            return type(value).__name__, [self.plain(getattr(value, field.name)) for field in fields(value)]
        if isinstance(value, list | tuple):
            return type(value).__name__, [self.plain(item) for item in value]
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        return type(value).__name__, value


def write(target: Any, mutations: Sequence[Mutation]) -> None:
    for verb, table, columns, values in mutations:
        if verb == "delete":
            target.delete(table, columns)
        else:
            getattr(target, verb)(table, columns, values)


def outcome(database: Database, *mutations: Mutation) -> str:
    """What a commit of these comes to: OK, or the error's name."""
    try:
        with database.batch() as batch:
            write(batch, mutations)
    except exceptions.GoogleAPICallError as error:
        return type(error).__name__
    assert batch.committed.tzinfo is not None
    return "OK"


def read(database: Database, table: str, columns: Sequence[str], keyset: KeySet, **options: Any) -> Any:
    """The rows, or the error's name."""
    try:
        with database.snapshot() as snapshot:
            return list(snapshot.read(table, columns, keyset, **options))
    except exceptions.GoogleAPICallError as error:
        return type(error).__name__


def insert(table: str, columns: Sequence[str], *rows: Sequence[Any]) -> Mutation:
    return "insert", table, columns, rows


def update(table: str, columns: Sequence[str], *rows: Sequence[Any]) -> Mutation:
    return "update", table, columns, rows


def upsert(table: str, columns: Sequence[str], *rows: Sequence[Any]) -> Mutation:
    return "insert_or_update", table, columns, rows


def delete(table: str, *keys: Sequence[Any]) -> Mutation:
    return "delete", table, KeySet(keys=keys), None


def job(**values: Any) -> Mutation:
    row = {"TenantId": "a", "JobId": "new", "Status": "PENDING"} | values
    return insert("Jobs", list(row), list(row.values()))


def keys(*several: Sequence[Any]) -> KeySet:
    return KeySet(keys=several)


def between(**ends: Sequence[Any]) -> KeySet:
    return KeySet(ranges=[KeyRange(**ends)])


def run(database: Database, work: Callable[[Any], Any]) -> Any:
    try:
        return database.run_in_transaction(work, timeout_secs=30, default_retry_delay=0.01)
    except (exceptions.GoogleAPICallError, KeyError, ValueError) as error:
        return type(error).__name__


# Tenants a (identity g/1) and b, and job (a, j), whose key is k, with two attempts.
FILLED = [
    insert("Tenants", IDENTITY, ["a", "g", "1"], ["b", None, None]),
    job(JobId="j", IdempotencyKey="k"),
    insert("JobAttempts", ["TenantId", "JobId", "Attempt"], ["a", "j", 1], ["a", "j", 2]),
]
