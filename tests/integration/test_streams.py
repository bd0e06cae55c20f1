"""Streams as clients meet them: the function in its own process, on the emulators."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.batch_server import BatchServer
from tests.integration.streaming import STREAM_SECONDS, THREADS, Event, Server, streaming_server, until


@pytest.fixture(scope="module")
def server(
    spanner_instance: Instance,
    pubsub_host: str,
    batch_server: BatchServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("streams")
    with streaming_server(spanner_instance, pubsub_host, batch_server, folder) as server:
        yield server


def test_a_stream_tells_every_transition_once_in_order_and_then_ends(server: Server) -> None:
    job_id = server.submit("true")
    with server.stream(f"/v1/jobs/{job_id}/events") as events:
        first = next(events)
        assert (first.kind, first.data["to_status"], first.id) == ("transition", "PENDING", f"{1:020}")
        server.schedule(job_id)
        assert next(events).data["to_status"] == "SCHEDULED"
        server.finish(job_id)
        rest = list(events)
    assert [(event.kind, event.data.get("to_status")) for event in rest] == [
        ("transition", "RUNNING"),
        ("transition", "COMPLETED"),
        ("end", None),
    ]
    assert rest[-1] == Event("end", {"status": "COMPLETED"}, None)
    trail = server.client.get(f"/v1/jobs/{job_id}/transitions", headers=server.headers).json()["transitions"]
    assert [first.data, rest[0].data, rest[1].data] == [trail[0], trail[2], trail[3]]


def test_a_stream_that_is_resumed_tells_the_rest(server: Server) -> None:
    job_id = server.submit("true")
    server.cancel(job_id)
    whole = server.events(job_id)
    assert [event.kind for event in whole] == ["transition", "transition", "end"]
    assert server.events(job_id, last=whole[0].id) == whole[1:]
    assert server.events(job_id, last=whole[1].id) == whole[2:]
    assert server.events(job_id, last="what nobody sent") == whole


def test_reconnects_in_the_middle_lose_and_double_nothing(server: Server) -> None:
    """A client that leaves after each event, while the job goes through two attempts."""
    job_id = server.submit("false", max_retries=1)
    seen: list[Event] = []
    steps: list[Callable[[], None]] = [
        lambda: None,
        lambda: server.schedule(job_id),
        lambda: server.finish(job_id, "FAILED"),
        lambda: None,
        lambda: None,
        lambda: server.schedule(job_id, 2),
        lambda: server.finish(job_id, "FAILED", 2),
        lambda: None,
    ]
    for step in steps:
        step()
        with server.stream(f"/v1/jobs/{job_id}/events", seen[-1].id if seen else None) as events:
            seen.append(next(events))
    path = [event.data["to_status"] for event in seen]
    assert path == [
        *("PENDING", "SCHEDULED", "RUNNING", "FAILED", "PENDING", "SCHEDULED", "RUNNING", "FAILED")
    ]
    assert [event.id for event in seen] == [f"{number:020}" for number in range(1, 9)]
    assert server.events(job_id, seen[-1].id) == [Event("end", {"status": "FAILED"}, None)]


def test_a_stream_reads_spanner_once_a_second_at_most(server: Server) -> None:
    job_id = server.submit("true")
    with server.stream(f"/v1/jobs/{job_id}/events") as events:
        next(events)
        server.wire.taken()
        before = time.monotonic()
        threading.Timer(7, server.cancel, [job_id]).start()
        assert [event.kind for event in events] == ["transition", "end"]
        seconds = time.monotonic() - before
    reads = server.wire.taken()
    # The cancellation's own two calls came through the same wire.
    assert reads["Commit"] == 1
    assert 2 <= reads["StreamingRead"] - 1 <= seconds


def test_half_of_the_threads_stream_and_the_others_answer(server: Server) -> None:
    job_id = server.submit("true")
    with ExitStack() as stack:
        opened = [
            stack.enter_context(other.stream(f"/v1/jobs/{other.submit('true')}/events"))
            for other in server.others(THREADS // 2)
        ]
        assert [next(events).data["to_status"] for events in opened] == ["PENDING"] * len(opened)
        for path in ("events", "logs?follow=true"):
            refused = server.client.get(f"/v1/jobs/{job_id}/{path}", headers=server.headers)
            assert refused.status_code == 503
            assert refused.headers["Retry-After"] == "1"
            assert refused.json()["error"]["status"] == "UNAVAILABLE"
        answers = [server.client.get("/health").status_code for _ in range(3 * THREADS)]
        assert set(answers) == {200}
        assert server.log(job_id) == {"entries": [], "next_page_token": server.log(job_id)["next_page_token"]}
    # Whoever leaves makes room at once, not when its stream would have ended.
    started = time.monotonic()
    until(lambda: server.client.head(f"/v1/jobs/{job_id}/events", headers=server.headers).status_code == 200)
    for _ in range(3 * THREADS):
        until(lambda: server.client.head(f"/v1/jobs/{job_id}/events", headers=server.headers).is_success)
    assert time.monotonic() - started < STREAM_SECONDS / 2
    server.cancel(job_id)


def test_one_tenant_has_a_share_of_the_streams(server: Server) -> None:
    (other,) = server.others(1)
    job_id, theirs = server.submit("true"), other.submit("true")
    with ExitStack() as stack:
        stack.enter_context(server.stream(f"/v1/jobs/{job_id}/events"))
        stack.enter_context(server.stream(f"/v1/jobs/{job_id}/logs", follow="true"))
        for path in ("events", "logs?follow=true"):
            refused = server.client.get(f"/v1/jobs/{job_id}/{path}", headers=server.headers)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            error = refused.json()["error"]
            assert (error["status"], error["details"]) == ("RESOURCE_EXHAUSTED", [{"limit": "streams"}])
        assert server.log(job_id)["entries"] == []
        with other.stream(f"/v1/jobs/{theirs}/events") as events:
            assert next(events).kind == "transition"
    until(lambda: server.client.head(f"/v1/jobs/{job_id}/events", headers=server.headers).is_success)
    server.cancel(job_id)


def test_one_tenant_has_a_share_of_the_reads_of_logs(server: Server) -> None:
    (other,) = server.others(1)
    jobs = [who.submit("true") for who in (server, other)]
    for who, job_id in zip((server, other), jobs, strict=True):
        who.schedule(job_id)
        who.finish(job_id)
    path = f"/v1/jobs/{jobs[0]}/logs"
    with (
        server.platform.faults.hold("ListLogEntries", times=1, moment="before") as held,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(server.client.get, path, headers=server.headers)
        held.wait()
        refused = server.client.get(path, headers=server.headers)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["error"]["details"] == [{"limit": "log_reads"}]
        assert other.log(jobs[1])["entries"] == []
        held.release()
        assert slow.result().status_code == 200
    assert server.log(jobs[0])["entries"] == []


def test_who_does_not_read_holds_no_thread_for_longer_than_a_stream_lasts(server: Server) -> None:
    others = server.others(THREADS // 2)
    jobs = [
        who.submit("sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 5000000")
        for who in others
    ]
    for who, job_id in zip(others, jobs, strict=True):
        who.schedule(job_id)
        who.finish(job_id)
    own = server.submit("true")
    started = time.monotonic()
    with ExitStack() as stack:
        for who, job_id in zip(others, jobs, strict=True):
            stack.enter_context(who.stream(f"/v1/jobs/{job_id}/logs", follow="true"))
        until(
            lambda: server.client.head(f"/v1/jobs/{own}/events", headers=server.headers).is_success,
            STREAM_SECONDS + 10,
        )
    assert time.monotonic() - started < STREAM_SECONDS + 10


@pytest.mark.parametrize("path", ["events", "logs", "logs?follow=true"])
def test_foreign_missing_and_malformed_ids_answer_the_same(server: Server, path: str) -> None:
    job_id = server.submit("true")
    answers = [
        server.client.get(f"/v1/jobs/{asked}/{path}", headers=headers)
        for headers, asked in [
            (server.stranger, job_id),
            (server.headers, str(uuid.uuid4())),
            (server.headers, "no-id"),
            (server.headers, "x" * 100),
        ]
    ]
    of_get = server.client.get(f"/v1/jobs/{uuid.uuid4()}", headers=server.headers)
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.content for answer in answers} == {of_get.content}
    assert {answer.headers["Content-Type"] for answer in answers} == {of_get.headers["Content-Type"]}
    server.cancel(job_id)
