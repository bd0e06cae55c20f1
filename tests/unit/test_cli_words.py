"""The words of a command line: what stands after the dashes, and what is no text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jennah.client import Client
from shared.api.queries import MAX_IDEMPOTENCY_KEY, idempotency_key

if TYPE_CHECKING:
    from tests.unit.conftest import ScriptedServer

JENNAH = Path(sys.executable).with_name("jennah")
JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
Here = Callable[..., subprocess.CompletedProcess[str]]
GOOD_KEYS = ["k", "a b", "report-2026-11", "~" * MAX_IDEMPOTENCY_KEY]
BAD_KEYS = [
    "",
    " ",
    " k",
    "k ",
    "a,b",
    "a\nb",
    "a\x00b",
    "\x7f",
    "k\u00e9",
    "\udcff",
    "k" * (MAX_IDEMPOTENCY_KEY + 1),
]


@pytest.mark.parametrize(
    "case",
    [
        (("--", "echo", "hello"), "file", ["echo", "hello"]),
        (("--", "--", "echo"), "file", ["--", "echo"]),
        (("alpine", "--", "echo"), "alpine", ["echo"]),
        (("alpine", "sh", "--", "-c"), "alpine", ["sh", "-c"]),
        (("alpine",), "alpine", ["true"]),
        (("alpine", "--"), "alpine", ["true"]),
        (("--",), "file", ["true"]),
        ((), "file", ["true"]),
        (("--name", "--", "--", "echo"), "file", ["echo"]),
        (("--name=--", "--", "echo"), "file", ["echo"]),
        (("--wait", "--", "--wait"), "file", ["--wait"]),
    ],
    ids=lambda case: " ".join(case[0]),
)
def test_with_a_file_the_words_after_the_dashes_are_the_command(
    server: ScriptedServer,
    here: Here,
    job: dict[str, Any],
    tmp_path: Path,
    case: tuple[tuple[str, ...], str, list[str]],
) -> None:
    words, image, commands = case
    server.decide = lambda asked: (
        200,
        {"transitions": []} if asked.path.endswith("transitions") else {**job, "status": "COMPLETED"},
    )
    file = tmp_path / "job.yaml"
    file.write_text("image_uri: file\ncommands: ['true']\n")
    assert here("submit", "-f", str(file), *words).returncode == 0
    asked = server.asked[0].body
    assert (asked["image_uri"], asked["commands"]) == (image, commands)


def test_without_a_file_the_first_word_is_the_image(
    server: ScriptedServer, here: Here, job: dict[str, Any]
) -> None:
    server.reply(201, job)
    for words in (("busybox", "--", "a", "b"), ("--", "busybox", "a", "b"), ("busybox", "a", "b")):
        assert here("submit", *words).returncode == 0
    assert [asked.body for asked in server.asked] == [{"image_uri": "busybox", "commands": ["a", "b"]}] * 3


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_a_wrong_idempotency_key_is_named_and_asks_nobody(
    server: ScriptedServer, here: Here, tmp_path: Path, key: str
) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text("[{image_uri: busybox}]")
    for command in (["submit", "busybox"], ["batch", str(file)], ["retry", JOB_ID]):
        done = here(*command, "--idempotency-key", key)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "'--idempotency-key'" in done.stderr
        assert f"1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters" in done.stderr
    with Client(server.url, "a.b.c") as client, pytest.raises(ValueError, match="idempotency key is"):
        client.submit_job("busybox", idempotency_key=key)
    assert server.asked == []


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_a_key_that_the_server_takes_is_sent_as_it_is(
    server: ScriptedServer, here: Here, job: dict[str, Any], key: str
) -> None:
    server.reply(201, job)
    assert here("submit", "busybox", "--idempotency-key", key).returncode == 0
    assert idempotency_key(server.asked[0].headers["idempotency-key"]) == key


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["submit", "busy\udcffbox"], "IMAGE"),
        (["submit", "busybox", "--", "echo", "\udcff"], "COMMAND"),
        (["submit", "busybox", "--name", "\udcff"], "--name"),
        (["submit", "busybox", "--env", "A=\udcff"], "--env"),
        (["get", "\udcff"], "ID"),
        (["watch", JOB_ID, "\udcff"], "ID"),
        (["list", "--status", "\udcff"], "--status"),
        (["list", "--token", "\udcff"], "--token"),
        (["list", "--url", "http://\udcff"], "--url"),
        (["list", "--profile", "\udcff"], "--profile"),
        (["login", "http://127.0.0.1", "--token-command", "\udcff"], "--token-command"),
        (["token", "--email", "\udcff"], "--email"),
        (["profiles", "use", "\udcff"], "NAME"),
        (["check", "--tenant", "\udcff"], "--tenant"),
        (["pause", "--reason", "\udcff"], "--reason"),
        (["dead-letters", "show", "\udcff"], "ID"),
    ],
    ids=ascii,
)
def test_a_word_that_is_no_utf_8_is_named_and_asks_nobody(
    server: ScriptedServer, here: Here, words: list[str], named: str
) -> None:
    done = here(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert named in done.stderr
    assert "not UTF-8 text" in done.stderr
    assert server.asked == []


def test_files_may_have_names_that_are_no_utf_8(
    server: ScriptedServer, here: Here, job: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(201, {**job, "jobs": [job]})
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml"))
    try:
        file.write_text("image_uri: busybox")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    assert here("submit", "-f", str(file)).returncode == 0
    assert here("batch", str(file)).returncode == 0
    missing = here("batch", f"{file}2")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


def test_a_variable_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("JENNAH_")}
    for name in ("JENNAH_URL", "JENNAH_TOKEN", "JENNAH_PROFILE"):
        env = mine | {"JENNAH_CONFIG": os.devnull, "JENNAH_URL": "http://127.0.0.1:1", name: "\udcff"}
        done = subprocess.run(
            [JENNAH, "list"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert name in done.stderr
