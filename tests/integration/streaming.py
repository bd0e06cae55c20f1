"""The function in its own process, for tests of streams and logs: it shares its rows with a platform."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_server import BatchServer
from jennah.local.processes import Processes
from shared.messages import JobMessage
from shared.model import JobKey
from tests.integration.api_process import running_api
from tests.integration.conftest import Platform, make_platform
from tests.integration.wire import Wire

THREADS = 8
STREAM_SECONDS = 20


@dataclass(frozen=True)
class Event:
    """An event as it was received."""

    kind: str
    data: Any
    id: str | None


@dataclass(frozen=True)
class Server:
    """The function, the platform that works on the same rows, and somebody with a token."""

    client: httpx.Client
    platform: Platform
    wire: Wire
    headers: dict[str, str]
    stranger: dict[str, str]
    mint: Callable[[str], str]

    def others(self, count: int) -> list[Server]:
        """The same for callers who have not been here yet."""
        tokens = [self.mint(f"{uuid.uuid4().hex}@example.com") for _ in range(count)]
        return [replace(self, headers={"Authorization": f"Bearer {token}"}) for token in tokens]

    def submit(self, *commands: str, **fields: Any) -> str:
        body = {"image_uri": "busybox", "commands": list(commands), **fields}
        answer = self.client.post("/v1/jobs", json=body, headers=self.headers)
        assert answer.status_code == 201, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    def key(self, job_id: str) -> JobKey:
        job = self.client.get(f"/v1/jobs/{job_id}", headers=self.headers).json()
        return JobKey(job["tenant_id"], job_id)

    def schedule(self, job_id: str, attempt: int = 1) -> None:
        self.platform.dispatch.schedule(JobMessage(self.key(job_id), attempt))

    def finish(self, job_id: str, state: str = "SUCCEEDED", attempt: int = 1) -> None:
        """Let Batch's own news of an end arrive, once it has ended there."""
        key = self.key(job_id)
        until(lambda: self.platform.batch_state(key) == state)
        self.platform.notify(key, state, attempt=attempt)

    def cancel(self, job_id: str) -> None:
        answer = self.client.post(f"/v1/jobs/{job_id}:cancel", headers=self.headers)
        assert answer.status_code == 200, answer.text

    @contextmanager
    def stream(self, path: str, last: str | None = None, **params: Any) -> Iterator[Iterator[Event]]:
        headers = self.headers | ({"Last-Event-ID": last} if last else {})
        with self.client.stream("GET", path, headers=headers, params=params) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert answer.headers["Cache-Control"] == "no-store"
            yield parsed(answer.iter_lines())

    def events(self, job_id: str, last: str | None = None) -> list[Event]:
        with self.stream(f"/v1/jobs/{job_id}/events", last) as events:
            return list(events)

    def log(self, job_id: str, **params: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/jobs/{job_id}/logs", headers=self.headers, params=params)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream, as its specification reads them: one without an empty line after it is none."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}
        else:
            fields = {}


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def streaming_server(
    instance: Instance, pubsub_host: str, batch_server: BatchServer, folder: Path
) -> Iterator[Server]:
    """Start it. Whatever it has been through, each line of its log is a JSON object in the end."""
    settings = {
        "LOGGING_EMULATOR_HOST": batch_server.host,
        "JENNAH_ADMIT": "everyone",
        "JENNAH_LOG_PAUSE_SECONDS": "1",
        "JENNAH_LOG_SPACING_SECONDS": "0.001",
        "JENNAH_LOG_DELAY_SECONDS": "0.001",
        "JENNAH_STREAM_SECONDS": str(STREAM_SECONDS),
        "THREADS": str(THREADS),
    }
    with ExitStack() as stack:
        wire = Wire(os.environ["SPANNER_EMULATOR_HOST"])
        stack.callback(wire.close)
        processes = stack.enter_context(Processes(folder / "logs"))
        hosts = {"SPANNER_EMULATOR_HOST": wire.host, "PUBSUB_EMULATOR_HOST": pubsub_host}
        api = stack.enter_context(running_api(instance, processes, folder, hosts, settings=settings))
        headers, stranger = (
            {"Authorization": f"Bearer {api.issuers[0].mint(f'{who}@example.com')}"} for who in ("ann", "bob")
        )
        platform = make_platform(api.database, batch_server)
        yield Server(api.client, platform, wire, headers, stranger, api.issuers[0].mint)
    (log,) = (folder / "logs").glob("submission-*.log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines
    assert all(isinstance(line, dict) for line in lines)
