"""Fixtures: the official emulators, once per test worker, and a fresh database for each test that wants one.

A test that needs no emulator starts none.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance
from hypothesis import settings

from jennah.local import emulators
from jennah.local.processes import LocalCloudError, Processes
from jennah.operations.sql import schema_directory, split

# No test fails because a machine is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Owner of the processes that live as long as the worker; they end with it, however it ends."""
    with Processes(tmp_path_factory.mktemp("logs")) as owner:
        yield owner


@pytest.fixture(scope="session")
def spanner_host(processes: Processes) -> str:
    """The address of this worker's own Spanner emulator."""
    try:
        host = emulators.start_spanner(processes).host
    except LocalCloudError as error:
        pytest.exit(str(error), returncode=3)
    os.environ["SPANNER_EMULATOR_HOST"] = host
    # Multiplexed sessions break concurrent read-write transactions on the emulator (1.5.28).
    os.environ["GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW"] = "false"
    return host


@pytest.fixture(scope="session")
def pubsub_host(processes: Processes) -> str:
    """The address of this worker's own Pub/Sub emulator."""
    try:
        host = emulators.start_pubsub(processes).host
    except LocalCloudError as error:
        pytest.exit(str(error), returncode=3)
    os.environ["PUBSUB_EMULATOR_HOST"] = host
    return host


@pytest.fixture(scope="session")
def spanner_instance(spanner_host: str) -> Instance:
    """An instance in project `jennah-test`."""
    client = spanner.Client(project="jennah-test")
    instance = client.instance("jennah-test", f"{client.project_name}/instanceConfigs/emulator-config")
    instance.create().result(30)
    return instance


@pytest.fixture
def empty_database(spanner_instance: Instance) -> Iterator[Database]:
    """A fresh database without tables."""
    yield from _fresh_database(spanner_instance, ())


@pytest.fixture
def database(spanner_instance: Instance) -> Iterator[Database]:
    """A fresh database made from schema/schema.sql."""
    yield from _fresh_database(spanner_instance, split((schema_directory() / "schema.sql").read_text()))


def _fresh_database(instance: Instance, ddl: Sequence[str]) -> Iterator[Database]:
    database = instance.database(f"test-{uuid.uuid4().hex[:12]}", ddl_statements=ddl)
    database.create().result(30)
    yield database
    database.drop()  # an emulator holds at most 100
