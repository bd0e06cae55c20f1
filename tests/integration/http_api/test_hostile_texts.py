"""Texts that break programs: each ends in a refusal, or in one line of the log that is valid JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Processes
from shared.api.operations import MAX_BODY_BYTES
from tests.integration.api_process import running_api
from tests.integration.http_api.callers import Caller, Server, caller, refused
from tests.submissions import HOSTILE

TEXTS = [
    *HOSTILE,
    "".join(map(chr, range(1, 0x20))),
    "\x7f\x80\x85\x9f\xa0\xad",
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f",
    "%(message)s %x %1000000d {record.exc_info}",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "a\u0300" * 40,
    "\\u0000 \\x00 \\0",
]


@pytest.fixture(scope="module")
def logged(
    spanner_instance: Instance, spanner_host: str, pubsub_host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """The function, and the folder where its log is."""
    folder = tmp_path_factory.mktemp("hostile")
    hosts = {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host}
    with (
        Processes(folder / "logs") as processes,
        running_api(spanner_instance, processes, folder, hosts, settings={"JENNAH_ADMIT": "everyone"}) as api,
    ):
        yield Server(api.client, api.issuers[0], api.database), folder / "logs"


@pytest.fixture
def eve(logged: tuple[Server, Path]) -> Caller:
    return caller(logged[0])


def lines(logs: Path) -> list[dict[str, Any]]:
    """The log of the function, every line of which is a JSON object."""
    (log,) = logs.glob("submission-*.log")
    return [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]


def assert_tells_of_requests_only(written: list[dict[str, Any]], count: int, text: str = "") -> None:
    """That so many requests came, and nothing of what was in them."""
    known = {"severity", "time", "event", "message", "logging.googleapis.com/labels", "httpRequest"}
    assert [line["event"] for line in written] == ["http_request"] * count
    for line in written:
        assert line.keys() <= known
        request = line["httpRequest"]
        assert request.keys() == {"requestMethod", "requestUrl", "status", "latency", "requestSize"}
        assert (request["requestMethod"], request["requestUrl"]) in {
            ("POST", "/v1/jobs"),
            ("GET", "/v1/jobs"),
        }
        assert not text or text not in line["message"]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_an_odd_text_is_kept_as_it_is(logged: tuple[Server, Path], eve: Caller, text: str) -> None:
    before = len(lines(logged[1]))
    fields = {"commands": [text], "name": text[:100], "env": {"TEXT": text}, "entrypoint": text}
    job = eve.submitted(**fields)
    accepted, answered = lines(logged[1])[before:]
    assert (accepted["severity"], accepted["event"]) == ("INFO", "job_transition")
    labels = accepted["logging.googleapis.com/labels"]
    assert (labels["tenant"], labels["job"]) == (job["tenant_id"], job["job_id"])
    assert_tells_of_requests_only([answered], 1, text)
    assert text not in accepted["message"]
    shown = eve.get(f"/v1/jobs/{job['job_id']}").json()
    assert {name: shown[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": "a\0"}, "name"),
        ({"commands": ["\0"]}, "commands[0]"),
        ({"env": {"A": "\0"}}, "env.A"),
        ({"env": {"A\0": ""}}, "env"),
        *(({"image_uri": text}, "image_uri") for text in (*TEXTS, "\0") if "projects/" not in text),
        *(({"labels": {"a": text}}, "labels.a") for text in (*HOSTILE, "\0")),
        *(({"machine_type": text}, "machine_type") for text in (*HOSTILE, "\0")),
        *(({"env": {text: ""}}, "env") for text in HOSTILE),
        *(({"mounts": [{"bucket": text, "mount_path": "/a"}]}, "mounts[0].bucket") for text in HOSTILE),
        *(
            ({"mounts": [{"bucket": "inputs", "mount_path": text}]}, "mounts[0].mount_path")
            for text in HOSTILE
        ),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_an_odd_text_where_none_belongs_is_refused_and_not_told(
    logged: tuple[Server, Path], eve: Caller, fields: dict[str, Any], named: str
) -> None:
    before = len(lines(logged[1]))
    refused(eve.submit({"image_uri": "busybox", **fields}), 400, "INVALID_ARGUMENT", named)
    assert_tells_of_requests_only(lines(logged[1])[before:], 1)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\n" * 1_000_000, "🙂" * 250_000])
def test_a_megabyte_is_too_much(logged: tuple[Server, Path], eve: Caller, text: str) -> None:
    before = len(lines(logged[1]))
    answer = eve.submit({"image_uri": "busybox", "name": text})
    assert answer.status_code == 413
    answer = eve.submit({"image_uri": "busybox", "name": text[: MAX_BODY_BYTES // 20]})
    refused(answer, 400, "INVALID_ARGUMENT", "name")
    assert len(answer.content) < 1000
    assert_tells_of_requests_only(lines(logged[1])[before:], 2)


@pytest.mark.parametrize("key", [b"\xff", b"\x80abc", "é".encode(), b"a" * 256])
def test_odd_headers_are_refused(logged: tuple[Server, Path], eve: Caller, key: bytes) -> None:
    before = len(lines(logged[1]))
    refused(eve.submit(key=key), 400, "INVALID_ARGUMENT", "Idempotency-Key")
    assert_tells_of_requests_only(lines(logged[1])[before:], 1)


@pytest.mark.parametrize("text", [text for text in TEXTS if "/" not in text], ids=ascii)
def test_odd_ids_and_parameters_are_answered_and_not_told(
    logged: tuple[Server, Path], eve: Caller, text: str
) -> None:
    eve.submitted()
    before = len(lines(logged[1]))
    for name in ("status", "page_token", "page_size", text):
        assert eve.get("/v1/jobs", **{name: text}).status_code == 400
    assert_tells_of_requests_only(lines(logged[1])[before:], 4, text)
