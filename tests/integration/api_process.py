"""The Jobs API as its own process, with a database and issuers of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.local.issuer import DEFAULT_AUDIENCE, LocalIssuer
from jennah.local.processes import Processes
from tests.integration.function_process import PROJECT, running_function, schema_database


@dataclass(frozen=True)
class ApiProcess:
    """The process, and what it stands on. `issuers` are those that it believes, one for each provider."""

    client: httpx.Client
    issuers: Sequence[LocalIssuer]
    database: Database


@contextmanager
def serving_issuer() -> Iterator[LocalIssuer]:
    """An issuer at a port of its own."""
    with LocalIssuer() as issuer:
        threading.Thread(target=issuer.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield issuer
        finally:
            issuer.shutdown()


@contextmanager
def running_api(
    instance: Instance,
    processes: Processes,
    folder: Path,
    hosts: Mapping[str, str],
    *,
    providers: Sequence[str] = ("local",),
    settings: Mapping[str, str],
) -> Iterator[ApiProcess]:
    """Run it, with one issuer for each provider.

    Args:
        instance: where its database is made.
        processes: who owns the process.
        folder: for its files.
        hosts: SPANNER_EMULATOR_HOST and PUBSUB_EMULATOR_HOST.
        providers: whose tokens it accepts.
        settings: more of its settings.
    """
    topic = httpx.put(f"http://{hosts['PUBSUB_EMULATOR_HOST']}/v1/projects/{PROJECT}/topics/jobs", json={})
    assert topic.status_code in {200, 409}
    with ExitStack() as stack:
        database = stack.enter_context(schema_database(instance))
        issuers = [stack.enter_context(serving_issuer()) for _ in providers]
        believed = [
            {"issuer": issuer.url, "audience": DEFAULT_AUDIENCE, "provider": provider}
            for issuer, provider in zip(issuers, providers, strict=True)
        ]
        environment = {
            **hosts,
            "SPANNER_INSTANCE": instance.instance_id,
            "SPANNER_DATABASE": database.database_id,
            "JENNAH_OIDC_ISSUERS": json.dumps(believed),
            **settings,
        }
        url = stack.enter_context(running_function(processes, folder, "submission", environment))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=30, trust_env=False))
        yield ApiProcess(client, issuers, database)
