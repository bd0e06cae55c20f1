"""A real HTTP server that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from jennah.cli import main


class Asked(NamedTuple):
    """A request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Reply(NamedTuple):
    """What is answered: `body` as JSON, or as it is when it is bytes. Status 0 hangs up without an answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


class ScriptedServer(ThreadingHTTPServer):
    """Answers what `reply` was told, in turn, the last one for ever; or what `decide` says once it is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.decide: Callable[[Asked], tuple[int, Any]] | None = None
        self.headers: Mapping[str, str] = {}  # of what `decide` says
        self._replies: list[Reply] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reply(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        self._replies.append(Reply(status, body, headers or {}))

    def hang_up(self) -> None:
        self.reply(0)

    def forget(self) -> None:
        self.asked.clear()
        self._replies.clear()

    def answer(self, request: Asked) -> Reply:
        self.asked.append(request)
        if self.decide is not None:
            return Reply(*self.decide(request), self.headers)
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.loads(text) if text else None
        reply = self.server.answer(Asked(self.command, self.path, headers, body))
        if reply.status == 0:
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def job() -> dict[str, Any]:
    """A job as the API shows it."""
    moment = "2026-01-02T03:04:05.678901Z"
    return {
        "job_id": "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d",
        "tenant_id": "7a1d9b52-55c1-4f0e-8f0c-0d3c9d2a1b00",
        "name": "hello",
        "status": "PENDING",
        "status_detail": None,
        "image_uri": "busybox",
        "commands": ["echo", "hello world"],
        "env": {"GREETING": "hello"},
        "timeout_seconds": 3600,
        "max_retries": 3,
        "retry": {"backoff": None, "rules": [], "max_infrastructure_retries": 5},
        "provisioning": "standard",
        "retry_count": 0,
        "infra_retry_count": 0,
        "created_at": moment,
        "updated_at": moment,
        "scheduled_at": None,
        "started_at": None,
        "completed_at": None,
        "attempt": 1,
        "error_message": None,
        "gcp_batch_job_name": None,
        "version": 1,
    }


@pytest.fixture
def transition() -> dict[str, Any]:
    """An audit line as the API shows it."""
    return {
        "transition_id": "00000000000000000001",
        "from_status": None,
        "to_status": "PENDING",
        "transitioned_at": "2026-01-02T03:04:05.678901Z",
        "reason": "submitted",
        "actor": "tenant",
        "attempt": 1,
    }


@pytest.fixture
def tenant() -> dict[str, Any]:
    """A tenant as the API shows it."""
    return {
        "tenant_id": "7a1d9b52-55c1-4f0e-8f0c-0d3c9d2a1b00",
        "email": "me@example.com",
        "provider": "local",
        "subject": "1",
        "created_at": "2026-01-02T03:04:05.678901Z",
        "deleted_at": None,
        "limits": {"open_jobs": 5, "submissions_per_minute": None, "vcpu_in_flight": None},
        "usage": {"open_jobs": 3, "vcpu_in_flight": None},
    }


@pytest.fixture
def here(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in this process, where a new one would show nothing more and cost a third of a second."""
    monkeypatch.setenv("JENNAH_URL", server.url)
    monkeypatch.setenv("JENNAH_TOKEN", "a.b.c")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["jennah", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run
