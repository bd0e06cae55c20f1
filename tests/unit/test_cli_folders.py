"""The folder that a command is called in: gone, unreadable, or with a stranger's `.local/env`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jennah import local_login
from jennah.local.cloud import _write_env

if TYPE_CHECKING:
    from tests.unit.conftest import ScriptedServer

JENNAH = Path(sys.executable).with_name("jennah")
IS_ROOT = os.geteuid() == 0
NOBODY = 65_534
Done = subprocess.CompletedProcess[str]
Jennah = Callable[..., Done]


@pytest.fixture
def jennah(tmp_path: Path) -> Jennah:
    """Run a command in a folder of its own, below which the test puts what it likes."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)

    def run(*words: str, gone: bool = False, **settings: str) -> Done:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("JENNAH_")}
        command = [str(JENNAH), *words]
        if gone:
            command = ["/bin/sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *command]
        return subprocess.run(
            command,
            env=mine | {"JENNAH_CONFIG": os.devnull} | settings,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def assert_one_sentence(done: Done, code: int, *words: str) -> None:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert done.stderr.startswith("jennah: ")
    for word in words:
        assert word in done.stderr


def env_file(folder: Path, url: str) -> Path:
    file = folder / ".local" / "env"
    file.parent.mkdir()
    file.write_text(f"JENNAH_URL={url}\nJENNAH_ISSUER_URL={url}\nJENNAH_AUDIENCE=app\n")
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("words", [["list"], ["submit", "busybox"], ["token"]], ids=" ".join)
def test_a_folder_that_is_gone_is_one_sentence(jennah: Jennah, words: list[str]) -> None:
    assert_one_sentence(jennah(*words, gone=True), 2, "the current folder", "change to one")


def test_who_names_the_server_needs_no_folder(server: ScriptedServer, jennah: Jennah) -> None:
    server.reply(200, {"jobs": []})
    named = {"JENNAH_URL": server.url, "JENNAH_TOKEN": "a.b.c"}
    done = jennah("list", "--json", gone=True, **named)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_without_a_folder_what_went_wrong_is_still_named(jennah: Jennah) -> None:
    named = {"JENNAH_URL": "http://127.0.0.1:1", "JENNAH_TOKEN": "a.b.c"}
    assert_one_sentence(jennah("list", gone=True, **named), 3, "cannot reach http://127.0.0.1:1")


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
@pytest.mark.parametrize("what", [".local", ".local/env"])
def test_what_can_not_be_read_is_one_sentence(
    server: ScriptedServer, jennah: Jennah, tmp_path: Path, what: str
) -> None:
    env_file(tmp_path, server.url)
    (tmp_path / what).chmod(0)
    try:
        assert_one_sentence(jennah("list"), 2, str(tmp_path / ".local" / "env"), "--url")
    finally:
        (tmp_path / what).chmod(0o700)
    assert server.asked == []


@pytest.mark.skipif(not IS_ROOT, reason="only root may give a file away")
def test_a_file_of_another_user_gets_no_token(server: ScriptedServer, jennah: Jennah, tmp_path: Path) -> None:
    file = env_file(tmp_path, server.url)
    os.chown(file, NOBODY, NOBODY)
    assert_one_sentence(jennah("list", JENNAH_TOKEN="secret"), 2, str(file), "another user", "--url")
    assert_one_sentence(jennah("token"), 2, "another user")
    assert_one_sentence(jennah("list", JENNAH_URL=server.url), 2, "another user")
    assert server.asked == []
    named = {"JENNAH_URL": server.url, "JENNAH_TOKEN": "a.b.c"}
    server.reply(200, {"jobs": []})
    assert jennah("list", **named).returncode == 0


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o622])
def test_a_file_that_others_may_write_to_gets_no_token(
    server: ScriptedServer, jennah: Jennah, tmp_path: Path, mode: int
) -> None:
    file = env_file(tmp_path, server.url)
    file.chmod(mode)
    assert_one_sentence(jennah("list", JENNAH_TOKEN="secret"), 2, str(file), "chmod go-w")
    assert server.asked == []


@pytest.mark.parametrize(
    ("owner", "mode", "believed"),
    [
        (os.geteuid(), 0o100600, True),
        (os.geteuid(), 0o100644, True),
        (0, 0o100644, True),
        (os.geteuid(), 0o100666, False),
        (0, 0o100664, False),
        (os.geteuid() + 1, 0o100644, False),
        (NOBODY, 0o100600, False),
    ],
)
def test_only_a_file_that_we_or_root_wrote_is_believed(owner: int, mode: int, *, believed: bool) -> None:
    found = os.stat_result((mode, 1, 1, 1, owner, owner, 1, 0, 0, 0))
    assert (local_login.distrust(found) is None) == believed


def test_what_the_local_cloud_writes_is_believed_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _write_env(tmp_path / "env", {"JENNAH_URL": "http://127.0.0.1:1"})
    finally:
        os.umask(before)
    assert local_login.distrust((tmp_path / "env").stat()) is None


def test_a_folder_of_that_name_is_passed_by(server: ScriptedServer, jennah: Jennah, tmp_path: Path) -> None:
    server.reply(200, {"id_token": "a.b.c", "jobs": []})
    env_file(tmp_path, server.url)
    (tmp_path / "a" / ".local" / "env").mkdir(parents=True)
    assert jennah("list", "--json").stdout == "[]\n"
    shutil.rmtree(tmp_path / ".local")
    assert_one_sentence(jennah("list"), 3, "no token")
