"""What a command makes of its terminal, of pipes, and of streams that are closed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer

JENNAH = Path(sys.executable).with_name("jennah")
JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
Here = Callable[..., subprocess.CompletedProcess[str]]


def environment(server: ScriptedServer, **more: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("JENNAH_")}
    mine.pop("COLUMNS", None)
    return mine | {"JENNAH_URL": server.url, "JENNAH_TOKEN": "a.b.c", "JENNAH_CONFIG": os.devnull} | more


def on_terminal(server: ScriptedServer, width: int, *words: str) -> tuple[int, list[str]]:
    """Exit code and lines of a command on a terminal of this width, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with subprocess.Popen(
        [JENNAH, *words],
        env=environment(server, TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65_536):
                seen += chunk
        except OSError:  # what Linux answers when the last writer has gone
            pass
        finally:
            os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())
    return process.returncode, [line.rstrip() for line in plain.splitlines()]


def in_shell(server: ScriptedServer, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", str(JENNAH)],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (40, "JOB STATUS ELAPSED NAME"),
        (80, "JOB STATUS ELAPSED NAME"),
        (100, "JOB STATUS ATTEMPT CREATED ELAPSED NAME"),
        (200, "JOB STATUS ATTEMPT CREATED ELAPSED NAME IMAGE"),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_and_whole_ids(
    server: ScriptedServer, job: dict[str, Any], width: int, header: str
) -> None:
    image = "us-docker.pkg.dev/my-project/images/report:1.4"
    server.reply(200, {"jobs": [{**job, "image_uri": image, "completed_at": job["created_at"]}] * 2})
    code, lines = on_terminal(server, width, "list")
    assert (code, lines[0].split()) == (0, header.split())
    assert [line.split()[0] for line in lines[1:]] == [JOB_ID] * 2
    code, lines = on_terminal(server, width, "list", "--columns", "job,created,image")
    assert lines[0].split() == ["JOB", "CREATED", "IMAGE"]
    assert lines[1].split()[:2] == [JOB_ID, "2026-01-02T03:04:05Z"]


@pytest.mark.parametrize(("width", "gone"), [(60, {"TIME", "ACTOR"}), (80, {"ACTOR"}), (200, set())])
def test_a_history_leaves_out_what_has_no_room(
    server: ScriptedServer, transition: dict[str, Any], width: int, gone: set[str]
) -> None:
    later = {**transition, "transitioned_at": "2026-01-02T03:04:45Z", "to_status": "SCHEDULED"}
    server.reply(200, {"transitions": [{**transition, "reason": "a reason of many words"}, later]})
    code, lines = on_terminal(server, width, "history", JOB_ID)
    every = ["TIME", "AFTER", "STATUS", "LASTED", "ATTEMPT", "ACTOR", "REASON"]
    assert (code, lines[0].split()) == (0, [name for name in every if name not in gone])
    assert ("=" * 20 in lines[1]) == (not gone)
    assert max(map(len, lines)) <= width


def test_a_listing_tells_who_looks_at_it_what_it_does_not_show(
    server: ScriptedServer, here: Here, job: dict[str, Any]
) -> None:
    server.reply(200, {"jobs": [job] * 3})
    assert "--limit" in on_terminal(server, 80, "list", "--limit", "3")[1][-1]
    assert JOB_ID in on_terminal(server, 80, "list", "--limit", "4")[1][-1]
    assert here("list", "--limit", "3").stderr == ""
    server.forget()
    server.reply(200, {"jobs": []})
    assert "jennah submit" in on_terminal(server, 80, "list")[1][-1]
    assert on_terminal(server, 80, "list", "--status", "FAILED")[1][-1] == "No job matches."
    done = here("list")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("words", ["list", "logs x -f", "submit busybox", "retry x --json"])
def test_an_interruption_is_silent_but_for_a_submission_that_may_have_arrived(
    server: ScriptedServer, words: str
) -> None:
    asked, ended = threading.Event(), threading.Event()

    def decide(_: Asked) -> tuple[int, Any]:
        asked.set()
        ended.wait(60)
        return 500, {}

    server.decide = decide
    with subprocess.Popen(
        [JENNAH, *words.split()],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        ended.set()
    assert (process.returncode, printed) == (130, "")
    assert ("may have been submitted" in errors, errors.count("\n")) in [(False, 0), (True, 1)]
    assert bool(errors) == words.startswith(("submit", "retry"))


@pytest.mark.parametrize("words", ["list", "list --json", "logs x", "get x", "--help", "version"])
def test_a_reader_that_leaves_is_told_from_a_failure(
    server: ScriptedServer, job: dict[str, Any], words: str
) -> None:
    entry = {"timestamp": None, "task": 0, "stream": "stdout", "message": "x" * 100}
    server.reply(200, {**job, "jobs": [job], "entries": [entry] * 1000})
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        done = subprocess.run(
            [JENNAH, *words.split()],
            env=environment(server),
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('"$1" submit busybox 2>&-', 0),
        ('"$1" get x >&-', 0),
        ('"$1" logs x >&-', 0),
        ('"$1" list --json >&- 2>&-', 0),
        ('"$1" submit busybox <&-', 0),
        ('"$1" batch - <&-', 2),
        ('"$1" tenant delete <&-', 2),
        ('"$1" nonsense 2>&-', 2),
    ],
)
def test_streams_may_be_closed(server: ScriptedServer, job: dict[str, Any], line: str, code: int) -> None:
    entry = {"timestamp": None, "task": 0, "stream": "stdout", "message": "hello"}
    server.reply(200, {**job, "jobs": [job], "entries": [entry]})
    done = in_shell(server, line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1


def test_the_version_and_the_help_are_where_one_looks_for_them(server: ScriptedServer, here: Here) -> None:
    assert here("--version").stdout == here("version").stdout != ""
    assert here("-h").stdout == here("--help").stdout
    assert here("list", "-h").stdout == here("list", "--help").stdout
    own = here("submit", "busybox", "df", "-h")
    assert (own.returncode, own.stdout) == (2, "")
    assert "Put '--' before" in own.stderr
    assert "<bool>" not in here("list", "-h").stdout
    assert "jennah watch [OPTIONS] {ID}..." in here("watch", "-h").stdout
    assert "Missing argument 'ID'." in here("watch").stderr


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(here: Here) -> None:
    assert here("lst").stderr == (
        "jennah: No such command 'lst'. Did you mean 'list'? See 'jennah --help'.\n"
    )
