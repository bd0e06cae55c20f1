"""What the commands about jobs ask the server for, and how they show its answers."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console

from jennah import live, render
from jennah.client import Client, LogEntry

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer

JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
Here = Callable[..., subprocess.CompletedProcess[str]]


def assert_wrong_usage(done: subprocess.CompletedProcess[str], server: ScriptedServer) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert server.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit",),
        ("submit", "busybox", "--mount", "bucket"),
        ("submit", "busybox", "--mount", ":/mnt"),
        ("submit", "busybox", "--mount", "b:/mnt:x"),
        ("submit", "busybox", "--mount", "b:/mnt:rw:ro"),
        ("submit", "busybox", "--gpus", "t4:"),
        ("submit", "busybox", "--gpus", ":1"),
        ("submit", "busybox", "--label", "x"),
        ("submit", "busybox", "--secret-env", "=x"),
        ("list", "--created-after", "yesterday"),
        ("list", "--created-after", "2026-07-01"),
        ("list", "--created-after", "999999w"),
        ("list", "--columns", "job,colour"),
        ("list", "--columns", ""),
        ("logs", JOB_ID, "--attempt", "0"),
        ("history", JOB_ID, "-f", "--tenant", JOB_ID),
        ("watch",),
        ("delete",),
        ("cancel",),
        ("watch", JOB_ID, ".."),
        ("cancel", JOB_ID, "a/b"),
        ("tenant", "delete"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_sentence_and_asks_nobody(
    server: ScriptedServer, here: Here, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert_wrong_usage(here(*arguments), server)


def test_a_listing_shows_the_columns_that_are_wanted(
    server: ScriptedServer, here: Here, job: dict[str, Any]
) -> None:
    detail = {"code": "waiting_for_quota", "message": "Wait."}
    shown = {**job, "status_detail": detail, "labels": {"a": "b"}, "origin_job_id": "o", "profile": "small"}
    server.reply(200, {"jobs": [shown]})
    done = here("list", "--columns", "job, detail,SIZE,labels,origin,tasks,retries")
    header, line = done.stdout.splitlines()
    assert header.split() == ["JOB", "DETAIL", "SIZE", "LABELS", "ORIGIN", "TASKS", "RETRIES"]
    assert re.split("  +", line) == [JOB_ID, "waiting_for_quota: Wait.", "small", "a=b", "o", "1", "0 of 3"]
    every = here("list", "--columns", "?").stderr.partition("none of ")[2].partition(".")[0]
    assert here("list", "--columns", every).returncode == 0


@pytest.mark.parametrize(("age", "span"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)])
def test_an_age_is_counted_from_now(server: ScriptedServer, here: Here, age: str, span: int) -> None:
    server.reply(200, {"jobs": []})
    here("list", "--created-after", age, "--tenant", "-")
    query = parse_qs(urlsplit(server.asked[0].path).query)
    moment = datetime.fromisoformat(query["created_after"][0])
    assert abs(datetime.now(UTC) - moment - timedelta(seconds=span)) < timedelta(seconds=30)
    assert query["tenant_id"] == ["-"]


def test_a_history_tells_how_long_each_status_lasted(
    server: ScriptedServer, here: Here, transition: dict[str, Any]
) -> None:
    times = ["2026-01-02T03:04:05Z", "2026-01-02T03:04:06.500Z", "2026-01-02T03:05:07Z"]
    statuses = ["PENDING", "RUNNING", "COMPLETED"]
    trail = [
        {**transition, "to_status": status, "transitioned_at": at}
        for status, at in zip(statuses, times, strict=True)
    ]
    server.reply(200, {"transitions": trail})
    header, *lines = (re.split("  +", line) for line in here("history", JOB_ID).stdout.splitlines())
    assert header == ["TIME", "AFTER", "STATUS", "LASTED", "ATTEMPT", "ACTOR", "REASON"]
    assert [(line[1], line[2], line[3]) for line in lines] == [
        ("+0.0 s", "PENDING", "1.5 s"),
        ("+1.5 s", "RUNNING", "1 min 00 s"),
        ("+1 min 02 s", "COMPLETED", "-"),
    ]
    assert lines[1][4] == "=" * 20
    server.forget()
    server.reply(200, {"transitions": trail[:2]})
    assert here("history", JOB_ID).stdout.splitlines()[-1].split()[4] == "..."


def test_a_log_is_printed_as_it_was_written(server: ScriptedServer, here: Here) -> None:
    entry = {"timestamp": "2026-01-02T03:04:05Z", "task": 0, "stream": "stderr", "message": "a\x1b[31m\tb"}
    server.reply(200, {"entries": [entry], "next_page_token": None})
    assert here("logs", JOB_ID).stdout == "a\x1b[31m\tb\n"
    timed = here("logs", JOB_ID, "-t", "--attempt", "2", "--task", "1")
    assert timed.stdout == "2026-01-02T03:04:05.000Z stderr a\x1b[31m\tb\n"
    assert "attempt=2&task=1" in server.asked[1].path
    assert json.loads(here("logs", JOB_ID, "--json").stdout) == entry


def test_on_a_terminal_a_log_can_not_move_the_cursor() -> None:
    entry = LogEntry(message="a\x1b[2J\tb\u202e", as_json={})
    assert render.log_line(entry, timestamps=False, safe=True) == "a\\x1b[2J\tb\\u202e"


def test_streams_are_followed(
    server: ScriptedServer, here: Here, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    entry = {"timestamp": "2026-01-02T03:04:05Z", "task": 0, "stream": "stdout", "message": "hello"}
    end = 'event: end\ndata: {"status": "COMPLETED"}\n\n'

    def decide(asked: Asked) -> tuple[int, Any]:
        if "/logs" in asked.path:
            return 200, f"event: log\ndata: {json.dumps(entry)}\n\n{end}".encode()
        if "/events" in asked.path:
            return 200, f"event: transition\ndata: {json.dumps(transition)}\n\n{end}".encode()
        return 200, job

    server.headers, server.decide = {"Content-Type": "text/event-stream"}, decide
    assert here("logs", JOB_ID, "-f").stdout == "hello\n"
    assert json.loads(here("logs", JOB_ID, "-f", "--json").stdout) == entry
    assert here("history", JOB_ID, "-f").stdout.split()[2] == "PENDING"
    assert json.loads(here("history", JOB_ID, "-f", "--json").stdout) == transition


def test_jobs_are_deleted_but_those_that_can_not_be(server: ScriptedServer, here: Here) -> None:
    server.reply(204, b"")
    refusal = {"code": 409, "status": "FAILED_PRECONDITION", "message": "It runs.", "details": []}
    server.reply(409, {"error": refusal})
    server.reply(204, b"")
    server.reply(409, {"error": refusal})
    done = here("delete", "a", "b", "c")
    assert (done.returncode, done.stdout) == (1, "a deleted\nc deleted\n")
    assert done.stderr == "jennah: b: It runs; 'jennah get' shows how it stands.\n"
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("DELETE", "/v1/jobs/a"),
        ("DELETE", "/v1/jobs/b"),
        ("DELETE", "/v1/jobs/c"),
        ("DELETE", "/v1/jobs/b"),
    ]
    server.forget()
    server.reply(409, {"error": refusal})  # the first of a batch, while the other is there
    server.reply(204, b"")
    done = here("delete", "a", "b")
    assert (done.returncode, done.stdout) == (0, "b deleted\na deleted\n")
    server.forget()
    server.reply(204, b"")
    assert json.loads(here("delete", "a", "b", "--json").stdout) == {"deleted": ["a", "b"], "refused": []}
    server.forget()
    server.reply(204, b"")
    server.reply(409, {"error": refusal})
    done = here("delete", "a", "b", "--json")
    why = {"job_id": "b", "code": "FAILED_PRECONDITION", "message": "It runs."}
    assert (done.returncode, json.loads(done.stdout)) == (1, {"deleted": ["a"], "refused": [why]})


GONE = {"error": {"code": 404, "status": "NOT_FOUND", "message": "There is no such job.", "details": []}}
BUSY = {"error": {"code": 409, "status": "FAILED_PRECONDITION", "message": "No.", "details": []}}
OUT = {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "Who?", "details": []}}
GONE_TOLD = "jennah: gone: There is no such job; 'jennah list' shows your jobs."
BUSY_TOLD = "jennah: {}: No; 'jennah get' shows how it stands."


def some_refused(job: dict[str, Any], **final: Any) -> Callable[[Asked], tuple[int, Any]]:
    """A server where `gone` is missing, `busy…` may not be changed, and nobody may see `out`."""

    def decide(asked: Asked) -> tuple[int, Any]:
        name = asked.path.split("/")[3].removesuffix(":cancel")
        if name == "gone":
            return 404, GONE
        if name.startswith("busy"):
            return 409, BUSY
        if name == "out":
            return 401, OUT
        return 200, {**job, "job_id": name, **final, "transitions": []}

    return decide


def test_each_job_that_is_not_deleted_is_named(
    server: ScriptedServer, here: Here, job: dict[str, Any]
) -> None:
    server.decide = some_refused(job)
    words = ("busy1", "good", "gone", "busy2", "good2", "good")
    done = here("delete", *words)
    assert (done.returncode, done.stdout) == (1, "good deleted\ngood2 deleted\n")
    assert sorted(done.stderr.splitlines()) == [
        *(BUSY_TOLD.format("busy1"), BUSY_TOLD.format("busy2"), GONE_TOLD)
    ]
    shown = json.loads(here("delete", *words, "--json").stdout)
    assert shown["deleted"] == ["good", "good2"]
    assert {each["job_id"] for each in shown["refused"]} == {"busy1", "gone", "busy2"}
    done = here("delete", "good", "gone", "out", "good2")
    assert (done.returncode, done.stdout) == (3, "good deleted\n")
    assert (GONE_TOLD in done.stderr, "Who?" in done.stderr) == (True, True)
    server.asked.clear()
    assert here("delete", "good", "..").returncode == 2
    assert server.asked == []


def test_several_jobs_are_cancelled(server: ScriptedServer, here: Here, job: dict[str, Any]) -> None:
    server.decide = some_refused(job, status="CANCELLED")
    assert here("cancel", "a", "b", "a").stdout == "a CANCELLED\nb CANCELLED\n"
    done = here("cancel", "a", "gone", "busy", "b")
    assert (done.returncode, done.stdout) == (1, "a CANCELLED\nb CANCELLED\n")
    assert done.stderr.splitlines() == [GONE_TOLD, BUSY_TOLD.format("busy")]
    done = here("cancel", "a", "gone", "b", "--json")
    first, missing, last = json.loads(done.stdout)
    assert (first["job_id"], last["job_id"], done.returncode) == ("a", "b", 1)
    refused = {"code": "NOT_FOUND", "message": "There is no such job."}
    assert missing == {"job_id": "gone", "refused": refused}
    assert json.loads(here("cancel", "a", "--json").stdout)["job_id"] == "a"
    assert here("cancel", "gone", "--json").stdout == ""
    server.decide = lambda _: (200, job)  # whatever it is asked for
    assert json.loads(here("cancel", "a", "b", "--json").stdout) == [job]


def test_watching_goes_on_without_a_job_that_is_gone(
    server: ScriptedServer, here: Here, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    server.decide = lambda asked: (
        some_refused(job, status="COMPLETED")(asked)
        if "transitions" not in asked.path
        else (200, {"transitions": [{**transition, "to_status": "COMPLETED"}]})
    )
    done = here("watch", "good", "gone", "good2")
    assert (done.returncode, done.stderr.splitlines()) == (1, [GONE_TOLD])
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["good", "good2"]
    done = here("watch", "good", "gone", "good2", "--json")
    shown = json.loads(done.stdout)
    assert [(each["job_id"], "refused" in each) for each in shown] == [
        *(("good", False), ("gone", True), ("good2", False))
    ]
    done = here("watch", "gone", "--json")
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (1, "", [GONE_TOLD])
    told: list[str] = []
    for ids in (["good", "gone", "good2"], ["gone"]):
        console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
        with Client(server.url, "a.b.c") as client:
            ended = live.follow(client, ids, console, lambda job_id, _: told.append(job_id))
        assert [found.job_id for found in ended] == [job_id for job_id in ids if job_id != "gone"]
    assert told == ["gone", "gone"]


def test_a_job_that_is_deleted_while_it_is_watched_ends_nothing(
    server: ScriptedServer, here: Here, job: dict[str, Any]
) -> None:
    ended = some_refused(job, status="COMPLETED")
    server.decide = lambda asked: (404, GONE) if "transitions" in asked.path else ended(asked)
    assert (here("watch", "a", "b").returncode, here("watch", "a").returncode) == (0, 0)


def test_a_tenant_that_went_meanwhile_is_no_missing_job(
    server: ScriptedServer, here: Here, tenant: dict[str, Any]
) -> None:
    gone = {"error": {"code": 404, "status": "NOT_FOUND", "message": "None.", "details": []}}
    server.reply(200, tenant)
    server.reply(404, gone)
    done = here("tenant", "delete", "--yes")
    assert (done.returncode, "jennah list" in done.stderr) == (1, False)
    server.forget()
    server.reply(200, tenant)
    server.hang_up()
    server.reply(404, gone)
    done = here("tenant", "delete", "--yes")
    assert (done.returncode, done.stdout) == (0, f"{tenant['tenant_id']} is being deleted\n")


def test_a_retry_prints_the_new_job(server: ScriptedServer, here: Here, job: dict[str, Any]) -> None:
    server.reply(201, {**job, "job_id": "2", "origin_job_id": JOB_ID})
    assert here("retry", JOB_ID).stdout == "2\n"
    assert "retry of" in here("get", "2").stdout


def test_several_jobs_are_watched(
    server: ScriptedServer, here: Here, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    ends = {"a": "COMPLETED", "b": "FAILED"}

    def decide(asked: Asked) -> tuple[int, Any]:
        name = asked.path.split("/")[3]
        if asked.path.endswith("transitions"):
            return 200, {"transitions": [{**transition, "to_status": ends[name]}]}
        return 200, {**job, "job_id": name, "status": ends[name]}

    server.decide = decide
    done = here("watch", "a", "b")
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["a", "b"]
    assert "1 of 2 jobs" in done.stderr
    assert [shown["status"] for shown in json.loads(here("watch", "b", "a", "--json").stdout)] == [
        *("FAILED", "COMPLETED")
    ]
    ends["b"] = "COMPLETED"
    assert here("watch", "a", "b").returncode == 0
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, color_system=None)
    with Client(server.url, "a.b.c") as client:
        assert [found.job_id for found in live.follow(client, ["b", "a"], console, print)] == ["b", "a"]
    assert text.getvalue().count("COMPLETED") >= 2


@pytest.mark.parametrize(
    ("status", "code", "step"),
    [
        (403, "PERMISSION_DENIED", "ask the operator"),
        (404, "NOT_FOUND", "jennah list"),
        (409, "ALREADY_EXISTS", "another idempotency key"),
        (409, "FAILED_PRECONDITION", "jennah get"),
        (500, "INTERNAL", "try again"),
    ],
)
def test_a_refusal_names_the_next_step(
    server: ScriptedServer, here: Here, status: int, code: str, step: str
) -> None:
    server.reply(status, {"error": {"code": status, "status": code, "message": "No.", "details": []}})
    assert step in here("cancel", JOB_ID).stderr


def test_a_limit_says_when_to_come_again(server: ScriptedServer, here: Here) -> None:
    body = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Too many jobs.", "details": []}
    server.reply(429, {"error": body}, {"Retry-After": "30"})
    done = here("submit", "busybox")
    assert (done.returncode, done.stderr) == (3, "jennah: Too many jobs; try again in 30 s.\n")


def test_who_one_is_is_shown(server: ScriptedServer, here: Here, tenant: dict[str, Any]) -> None:
    server.reply(200, tenant)
    lines = [re.split("  +", line) for line in here("tenant", "show").stdout.splitlines()]
    assert ["email", "me@example.com"] in lines
    assert ["limit: open_jobs", "3 of 5"] in lines
    assert ["limit: vcpu_in_flight", "none"] in lines
    assert json.loads(here("tenant", "show", "--json").stdout) == tenant
    assert here("tenant", "delete", "--yes").stdout == f"{tenant['tenant_id']} is being deleted\n"
    assert server.asked[-1].method == "DELETE"
    server.forget()
    refusal = {"code": 404, "status": "NOT_FOUND", "message": "None.", "details": []}
    server.reply(404, {"error": refusal})
    for command in (("show",), ("delete", "--yes")):
        done = here("tenant", *command)
        assert (done.returncode, done.stderr.count("jennah submit")) == (1, 1)
