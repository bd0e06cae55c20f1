"""Logs as clients read them: from the function in its own process, kept by the local Batch service."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_server import BatchServer
from shared.pages import encode_token
from tests.integration.streaming import Server, streaming_server, until


@pytest.fixture(scope="module")
def server(
    spanner_instance: Instance,
    pubsub_host: str,
    batch_server: BatchServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("logs")
    with streaming_server(spanner_instance, pubsub_host, batch_server, folder) as server:
        yield server


def pages(server: Server, job_id: str, **params: Any) -> Iterator[dict[str, Any]]:
    """Every page from a token on, until the log is at its end."""
    for _ in range(100):
        page = server.log(job_id, **params)
        yield page
        if page["next_page_token"] is None:
            return
        params["page_token"] = page["next_page_token"]
    pytest.fail("paging does not end")


def messages(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["message"] for entry in entries]


def ended(server: Server, *commands: str, state: str = "SUCCEEDED", **fields: Any) -> str:
    """A job that has run to its end."""
    job_id = server.submit(*commands, **fields)
    server.schedule(job_id)
    server.finish(job_id, state)
    return job_id


@pytest.fixture(scope="module")
def one_line(server: Server) -> str:
    """A job that has written one."""
    return ended(server, *sh("echo line"))


def sh(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


def test_the_lines_of_a_task_with_their_times_and_streams(server: Server) -> None:
    job_id = ended(server, *sh("echo one; echo two; echo oh >&2"))
    page = server.log(job_id)
    assert page["next_page_token"] is None
    assert all(list(entry) == ["timestamp", "task", "stream", "message"] for entry in page["entries"])
    said = {(entry["stream"], entry["message"]) for entry in page["entries"]}
    assert said == {("stdout", "one"), ("stdout", "two"), ("stderr", "oh")}
    assert [entry["message"] for entry in page["entries"] if entry["stream"] == "stdout"] == ["one", "two"]
    times = [datetime.fromisoformat(entry["timestamp"]) for entry in page["entries"]]
    assert times == sorted(times)
    assert {entry["task"] for entry in page["entries"]} == {0}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_pages_hold_every_line_once_in_order(server: Server, size: int) -> None:
    job_id = ended(server, *sh("seq 1 23"))
    found = list(pages(server, job_id, page_size=size))
    assert messages([entry for page in found for entry in page["entries"]]) == [
        str(number) for number in range(1, 24)
    ]
    assert all(len(page["entries"]) <= size for page in found)


def test_a_log_that_grows_is_read_on_with_its_token(server: Server, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job_id = server.submit(*sh(f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two"))
    empty = server.log(job_id)
    assert empty["entries"] == []
    server.schedule(job_id)
    token = empty["next_page_token"]
    until(lambda: server.log(job_id, page_token=token)["entries"])
    page = server.log(job_id, page_token=token)
    assert messages(page["entries"]) == ["one"]
    token = page["next_page_token"]
    assert server.log(job_id, page_token=token) == {"entries": [], "next_page_token": token}
    go.touch()
    server.finish(job_id)
    page = server.log(job_id, page_token=token)
    assert messages(page["entries"]) == ["two"]
    assert page["next_page_token"] is None


def test_every_attempt_has_its_own_log(server: Server) -> None:
    job_id = ended(server, *sh("echo attempt $JENNAH_ATTEMPT; exit 1"), state="FAILED", max_retries=1)
    first = server.log(job_id, attempt=1)
    assert messages(first["entries"]) == ["attempt 1"]
    waiting = server.log(job_id)
    assert waiting["entries"] == []
    token = waiting["next_page_token"]
    server.schedule(job_id, 2)
    server.finish(job_id, "FAILED", 2)
    for second in (server.log(job_id), server.log(job_id, attempt=2), server.log(job_id, page_token=token)):
        assert (messages(second["entries"]), second["next_page_token"]) == (["attempt 2"], None)
    assert server.log(job_id, attempt=1) == {**first, "next_page_token": None}
    for missing in ({"attempt": 3}, {"task": 1}, {"attempt": 1, "task": 9}):
        answer = server.client.get(f"/v1/jobs/{job_id}/logs", headers=server.headers, params=missing)
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_the_log_of_a_cancelled_job_ends_with_its_task_not_with_the_job(server: Server) -> None:
    job_id = server.submit("sleep", "600")
    server.schedule(job_id)
    server.cancel(job_id)
    key, database = server.key(job_id), server.platform.database
    late = datetime.now(UTC) + timedelta(hours=1)

    def write(finished_at: datetime) -> None:
        with database.batch() as batch:
            batch.update("Jobs", ("TenantId", "JobId", "NextCheckAt"), [(*key, None)])
            columns = ("TenantId", "JobId", "Attempt", "FinishedAt")
            batch.update("JobAttempts", columns, [(*key, 1, finished_at)])

    write(late)
    assert server.log(job_id)["next_page_token"] is not None
    write(late - timedelta(hours=2))
    assert server.log(job_id)["next_page_token"] is None


def test_every_task_has_its_own_log(server: Server) -> None:
    job_id = ended(server, *sh("echo task $BATCH_TASK_INDEX"), task_count=12)
    for task in (0, 1, 2, 11):
        (entry,) = server.log(job_id, task=task)["entries"]
        assert (entry["task"], entry["message"]) == (task, f"task {task}")


def test_following_tells_every_line_once_and_ends_with_the_job(server: Server, tmp_path: Path) -> None:
    go = [tmp_path / name for name in ("first", "second")]
    wait = [f"until [ -e {file} ]; do sleep 0.05; done" for file in go]
    job_id = server.submit(*sh(f"echo 1; {wait[0]}; echo 2; echo 3; {wait[1]}; printf 4"))
    server.schedule(job_id)
    path = f"/v1/jobs/{job_id}/logs"
    with server.stream(path, follow="true") as events:
        seen = [next(events)]
        go[0].touch()
        seen.append(next(events))
    with server.stream(path, seen[-1].id, follow="true") as events:
        seen.append(next(events))
        go[1].touch()
        server.finish(job_id)
        seen += list(events)
    assert [event.kind for event in seen] == ["log"] * 4 + ["end"]
    assert [event.data["message"] for event in seen[:-1]] == ["1", "2", "3", "4"]
    assert seen[-1].data == {"status": "COMPLETED"}
    assert [event.data for event in seen[:-1]] == server.log(job_id)["entries"]
    # The id of an event is a token of pages as well.
    assert messages(server.log(job_id, page_token=seen[1].id)["entries"]) == ["3", "4"]


def test_following_a_long_log_does_not_wait_between_its_parts(server: Server) -> None:
    job_id = ended(server, *sh("seq 1 3000"))
    server.wire.taken()
    with server.stream(f"/v1/jobs/{job_id}/logs", follow="true") as events:
        told = [event.data["message"] for event in events if event.kind == "log"]
    assert told == [str(number) for number in range(1, 3001)]
    assert server.wire.taken()["StreamingRead"] <= 2


@pytest.mark.parametrize(
    ("position", "status"),
    [
        (["1", "2026-13-01T00:00:00Z", "x"], 400),
        (["1", 'x" OR timestamp>"', "x"], 400),
        (["0", "", ""], 400),
        (["one", "", ""], 400),
        (["7", "", ""], 404),
        (["1", "2026-01-01T00:00:00Z", '" OR labels.job_uid!="\\'], 200),
        (["1", "2026-01-01T00:00:00Z", ""], 200),
        (["1", "2999-01-01T00:00:00.123456789Z", "9"], 200),
        # Places of the local log at which no line begins.
        *(
            (["1", "2026-01-01T00:00:00Z", f"{place:020}"], 200)
            for place in (1, 30, 10**9, 2**63 - 1, 2**63, 10**20 - 1)
        ),
        (["1", "2026-01-01T00:00:00Z", "x" * 1000], 200),
        (["1", "2026-01-01T00:00:00Z", "x" * 1001], 400),
    ],
)
def test_a_token_that_somebody_made_opens_nothing(
    server: Server, one_line: str, position: list[str], status: int
) -> None:
    token = encode_token(position, query=("logs", *server.key(one_line), "0"))
    answer = server.client.get(
        f"/v1/jobs/{one_line}/logs", headers=server.headers, params={"page_token": token}
    )
    assert answer.status_code == status
    if status == 200:
        assert messages(answer.json()["entries"]) in (["line"], [])


def test_a_page_costs_one_read_of_spanner(server: Server) -> None:
    job_id = ended(server, "true")
    server.log(job_id)
    server.wire.taken()
    server.log(job_id)
    assert server.wire.taken() == {"StreamingRead": 1}


def test_text_passes_as_it_was_written(server: Server, tmp_path: Path) -> None:
    lines = [
        "%s %n {} \\n \x1b[31mred\x1b[0m \x00\x07",
        "\u202edesrever\u202c \u2028 caf\u00e9 \U0001f600",
        '{"severity": "ERROR", "message": "not ours"}',
        "",
        "data: no event",
        "\ufffd\ufffd",
    ]
    raw = [line.encode() for line in lines]
    raw[-1] = b"\xff\xfe"
    file = tmp_path / "text"
    file.write_bytes(b"\n".join(raw) + b"\n")
    job_id = ended(server, "cat", str(file))
    assert messages(server.log(job_id)["entries"]) == lines
    with server.stream(f"/v1/jobs/{job_id}/logs", follow="true") as events:
        assert [event.data["message"] for event in events if event.kind == "log"] == lines


def test_a_line_longer_than_an_entry_comes_in_parts(server: Server) -> None:
    job_id = ended(server, *sh("yes x | tr -d '\\n' | head -c 300000; echo; echo end"))
    *parts, end = messages(server.log(job_id)["entries"])
    assert ("".join(parts), end) == ("x" * 300_000, "end")
    assert max(map(len, parts)) <= 2**17


def test_a_big_log_comes_in_pages_that_an_answer_may_hold(server: Server) -> None:
    job_id = ended(
        server, *sh("yes x | tr -d '\\n' | head -c 100000 >text; for i in $(seq 60); do cat text; echo; done")
    )
    found = list(pages(server, job_id, page_size=1000))
    assert len(found) == 2
    entries = [entry for page in found for entry in page["entries"]]
    assert messages(entries) == ["x" * 100_000] * 60


def test_a_token_holds_for_its_job_task_attempt_and_tenant_only(server: Server) -> None:
    job_id, other = (ended(server, *sh("echo a; echo b"), task_count=2) for _ in range(2))
    token = server.log(job_id, page_size=1)["next_page_token"]
    assert messages(server.log(job_id, page_token=token)["entries"]) == ["b"]
    wrong: list[tuple[str, dict[str, Any]]] = [
        (other, {"page_token": token}),
        (job_id, {"page_token": token, "task": 1}),
        (job_id, {"page_token": token, "attempt": 2}),
        (job_id, {"page_token": "bm9uc2Vuc2U"}),
    ]
    for (asked, params), follow in itertools.product(wrong, ("false", "true")):
        answer = server.client.get(
            f"/v1/jobs/{asked}/logs", headers=server.headers, params={**params, "follow": follow}
        )
        assert (answer.status_code, answer.json()["error"]["details"][0]["field"]) == (400, "page_token")


@pytest.mark.parametrize(("code", "seconds"), [("UNAVAILABLE", "1"), ("RESOURCE_EXHAUSTED", "15")])
def test_logs_that_can_not_be_read_now_are_asked_for_again(server: Server, code: str, seconds: str) -> None:
    job_id = ended(server, *sh("echo line"))
    faults = server.platform.faults
    faults.answer("ListLogEntries", grpc.StatusCode[code], times=1)
    refused = server.client.get(f"/v1/jobs/{job_id}/logs", headers=server.headers)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, seconds)
    assert messages(server.log(job_id)["entries"]) == ["line"]


def test_a_stream_outlives_logs_that_can_not_be_read_for_a_while(server: Server, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job_id = server.submit(*sh(f"echo 1; until [ -e {go} ]; do sleep 0.05; done; echo 2"))
    server.schedule(job_id)
    with server.stream(f"/v1/jobs/{job_id}/logs", follow="true") as events:
        assert next(events).data["message"] == "1"
        server.platform.faults.answer("ListLogEntries", grpc.StatusCode.UNAVAILABLE, times=2)
        go.touch()
        server.finish(job_id)
        assert [event.data.get("message") for event in events] == ["2", None]
