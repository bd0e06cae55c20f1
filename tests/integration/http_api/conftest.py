"""The Jobs API as clients meet it: the function in its own process, on the emulators."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Processes
from tests.integration.api_process import running_api
from tests.integration.http_api.callers import Caller, Server, caller


@pytest.fixture(scope="module")
def server(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The function, with a database of its own; who is at example.com is admitted."""
    with running_api(
        spanner_instance,
        processes,
        tmp_path_factory.mktemp("api"),
        {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host},
        settings={
            "JENNAH_ADMIT": json.dumps({"domains": ["example.com"]}),
            "JENNAH_DELETE_AGE_SECONDS": "300",
            "JENNAH_OPERATORS": json.dumps({"domains": ["operators.example.com"]}),
        },
    ) as api:
        yield Server(api.client, api.issuers[0], api.database)


@pytest.fixture
def ann(server: Server) -> Caller:
    """Somebody admitted, who has no tenant yet."""
    return caller(server)


@pytest.fixture
def bob(server: Server) -> Caller:
    """Somebody else."""
    return caller(server)
