"""One function as its own process, as plain functions-framework starts it, on a database of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Process, Processes, free_port, wait_until_listening
from jennah.local.services import Services
from jennah.operations.sql import schema_directory, split

PROJECT = "jennah-test"

# What a change of any kind would show in.
_WATCHED: Mapping[str, tuple[str, ...]] = {
    "Tenants": ("TenantId", "UpdatedAt"),
    "Jobs": ("TenantId", "JobId", "Status", "Version", "UpdatedAt", "NextCheckAt", "StatusDetail"),
    "JobStateTransitions": ("TenantId", "JobId", "TransitionId"),
    "JobAttempts": ("TenantId", "JobId", "Attempt", "LastIgnored"),
}


@contextmanager
def schema_database(instance: Instance) -> Iterator[Database]:
    """A fresh database made from schema/schema.sql."""
    ddl = split((schema_directory() / "schema.sql").read_text())
    database = instance.database(f"test-{uuid.uuid4().hex[:12]}", ddl_statements=ddl)
    database.create().result(30)
    yield database
    database.drop()


def rows(database: Database) -> dict[str, list[list[object]]]:
    """Everything in the database that a function could have changed."""
    with database.snapshot(multi_use=True) as snapshot:
        return {
            table: list(snapshot.read(table, columns, KeySet(all_=True)))
            for table, columns in _WATCHED.items()
        }


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """What is done inside leaves every row as it was."""
    before = rows(database)
    yield
    assert rows(database) == before


def start_function(processes: Processes, services: Services, name: str) -> Process:
    """Start it; it may end at once."""
    log = f"{name}-{services.port_of(name)}"
    return processes.start(log, services.command_of(name), env=services.environment_of(name))


@contextmanager
def running_function(
    processes: Processes, folder: Path, name: str, settings: Mapping[str, str]
) -> Iterator[str]:
    """The URL of the function, which runs with these settings."""
    services = Services(folder, port=free_port(), settings={"GOOGLE_CLOUD_PROJECT": PROJECT, **settings})
    process = start_function(processes, services, name)
    try:
        wait_until_listening(process, services.port_of(name))
        yield f"http://127.0.0.1:{services.port_of(name)}"
    finally:
        process.kill()
