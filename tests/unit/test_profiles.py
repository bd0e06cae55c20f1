"""Profiles, and the logins that they name, with the command as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.command import run_command

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer

JENNAH = Path(sys.executable).with_name("jennah")
Done = subprocess.CompletedProcess[str]
Jennah = Callable[..., Done]
# A name that DNS can't have: what is sent there fails at once.
ELSEWHERE = f"http://{'a' * 70}.example"
GCLOUD = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
case "$*" in *refused*) echo 'no credentials' >&2; exit 1;; esac
echo "token.of.$(wc -l < "$(dirname "$0")/asked" | tr -d ' ')"
"""


@pytest.fixture
def jennah(tmp_path: Path) -> Jennah:
    """Run a command in an empty folder with a `gcloud` that gives tokens, each another."""
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(GCLOUD)
    gcloud.chmod(0o755)

    def run(*arguments: str, **settings: str) -> Done:
        env = {name: value for name, value in os.environ.items() if not name.startswith("JENNAH_")}
        env |= {
            "PATH": f"{gcloud.parent}:{env['PATH']}",
            "JENNAH_CONFIG": str(tmp_path / "c" / "config.yaml"),
            "no_proxy": "*",
        }
        return run_command(*arguments, env=env | settings, cwd=tmp_path)

    return run


def assert_one_sentence(done: Done, code: int, words: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.splitlines()[-1].startswith("jennah: ")
    assert words in done.stderr.splitlines()[-1]


def bearers(server: ScriptedServer) -> list[str]:
    return [asked.headers["authorization"].removeprefix("Bearer ") for asked in server.asked]


def test_a_login_is_tried_and_then_used(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(200, {**tenant, "jobs": []})
    account = "runner@p.iam.gserviceaccount.com"
    done = jennah("login", server.url, "--audience", "jennah.example.com", "--impersonate", account)
    assert done.returncode == 0, done.stderr
    assert "me@example.com" in done.stdout
    assert jennah("list").returncode == 0
    asked = (
        "auth print-identity-token --audiences=jennah.example.com "
        f"--impersonate-service-account={account} --include-email\n"
    )
    assert (tmp_path / "bin" / "asked").read_text() == asked * 2
    assert bearers(server) == ["token.of.1", "token.of.2"]
    assert "token.of" not in (tmp_path / "c" / "config.yaml").read_text()
    assert jennah("token").stdout == "token.of.3\n"


def test_each_profile_leads_to_its_server(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any]
) -> None:
    server.reply(200, {**tenant, "jobs": []})
    assert jennah("login", server.url, "--profile", "a", "--audience", "a").returncode == 0
    assert jennah("login", server.url, "--profile", "b", "--token-command", "echo mine").returncode == 0
    server.asked.clear()
    for settings in ({}, {"JENNAH_PROFILE": "a"}, {"JENNAH_TOKEN": "given"}):
        assert jennah("list", **settings).returncode == 0
    assert jennah("list", "--profile", "b", "--url", f"{server.url}/").returncode == 0
    assert jennah("profiles", "use", "a").returncode == 0
    assert jennah("list").returncode == 0
    assert bearers(server) == ["mine", "token.of.2", "given", "mine", "token.of.3"]
    listed = jennah("profiles", "list").stdout.splitlines()
    assert [line.split() for line in listed] == [
        ["PROFILE", "URL", "LOGIN"],
        ["*", "a", server.url, "gcloud"],
        ["b", server.url, "echo"],
    ]
    assert jennah("profiles", "remove", "a").returncode == 0
    assert json.loads(jennah("profiles", "list", "--json").stdout) == {
        "default": None,
        "profiles": {
            "b": {
                "url": server.url,
                "audience": None,
                "impersonate": None,
                "token_command": "echo",
                "insecure": False,
            }
        },
    }


def test_a_profiles_token_goes_to_its_own_server_only(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any]
) -> None:
    server.reply(200, tenant)
    assert jennah("login", server.url, "--token-command", "echo mine").returncode == 0
    server.asked.clear()
    for url in (f"{server.url}0", "https://jobs.example.com"):
        done = jennah("list", "--profile", "default", "--url", url)
        assert_one_sentence(done, 2, "JENNAH_PROFILE")
        assert_one_sentence(jennah("list", "--profile", "default", JENNAH_URL=url), 2, url)
    assert_one_sentence(jennah("list", "--url", server.url), 3, "no token")
    assert server.asked == []


def test_a_token_does_not_go_over_plain_http_unless_that_is_allowed(jennah: Jennah, tmp_path: Path) -> None:
    server = ELSEWHERE
    login = ("login", server, "--token-command", f"sh -c 'echo asked >> {tmp_path}/asked; echo mine'")
    assert_one_sentence(jennah("list", "--url", server, "--token", "t"), 2, "--insecure")
    assert_one_sentence(jennah("list", "--url", server, "--token", "t", JENNAH_INSECURE="0"), 2, "https")
    assert_one_sentence(jennah(*login), 2, "plain http")
    assert not (tmp_path / "asked").exists()
    # No such host: it was tried.
    assert_one_sentence(jennah("list", "--url", server, "--token", "t", "--insecure"), 3, "cannot reach")
    assert_one_sentence(
        jennah("list", "--url", server, "--token", "t", JENNAH_INSECURE="1"), 3, "cannot reach"
    )
    assert_one_sentence(jennah(*login, "--insecure"), 3, "cannot reach")


def test_a_profile_remembers_that_plain_http_is_allowed(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(200, tenant)
    login = ("login", server.url, "--token-command", "echo mine")
    assert jennah(*login).returncode == 0
    file = tmp_path / "c" / "config.yaml"
    assert "insecure" not in file.read_text()
    assert jennah(*login, "--insecure").returncode == 0
    assert json.loads(jennah("profiles", "list", "--json").stdout)["profiles"]["default"]["insecure"] is True
    file.write_text(file.read_text().replace(server.url, ELSEWHERE))
    assert_one_sentence(jennah("list"), 3, "no such host")
    file.write_text(file.read_text().replace("insecure: true", "insecure: false"))
    assert_one_sentence(jennah("list"), 2, "plain http")


def test_a_login_that_fails_is_not_saved(server: ScriptedServer, jennah: Jennah, tmp_path: Path) -> None:
    refusal = {"code": 401, "status": "UNAUTHENTICATED", "message": "No.", "details": []}
    server.reply(401, {"error": refusal})
    assert_one_sentence(jennah("login", server.url, "--audience", "a"), 3, "No")
    assert_one_sentence(jennah("login", server.url, "--audience", "refused"), 3, "gcloud auth login")
    assert_one_sentence(jennah("login", server.url, "--token-command", "/nonexistent"), 3, "cannot run")
    assert_one_sentence(jennah("login", server.url, "--token-command", "false"), 3, "exit code 1")
    assert_one_sentence(jennah("login", server.url, "--token-command", "true"), 2, "token is empty")
    assert_one_sentence(jennah("login", server.url, "--token-command", "'"), 2, "token command")
    assert_one_sentence(jennah("login", server.url, "--impersonate", "a@b"), 2, "--audience")
    assert_one_sentence(
        jennah("login", server.url, "--audience", "a", "--token-command", "b"), 2, "leave out"
    )
    assert_one_sentence(jennah("login", "jobs.example.com", "--audience", "a"), 2, "URL")
    assert_one_sentence(jennah("login", server.url), 3, "no token")
    assert not (tmp_path / "c").exists()


def test_who_has_no_tenant_yet_may_log_in(server: ScriptedServer, jennah: Jennah) -> None:
    missing = {"code": 404, "status": "NOT_FOUND", "message": "None.", "details": []}
    server.reply(404, {"error": missing})
    assert "no tenant yet" in jennah("login", server.url, "--audience", "a").stdout
    assert json.loads(jennah("login", server.url, "--audience", "a", "--json").stdout)["tenant"] is None


def test_a_token_that_runs_out_is_fetched_again(
    server: ScriptedServer, jennah: Jennah, job: dict[str, Any], tenant: dict[str, Any]
) -> None:
    server.reply(200, tenant)
    assert jennah("login", server.url, "--audience", "a").returncode == 0
    server.asked.clear()

    def decide(asked: Asked) -> tuple[int, Any]:
        if len(server.asked) == 2:
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "", "details": []}}
        status = "COMPLETED" if len(server.asked) > 2 else "PENDING"
        return 200, {**job, "status": status, "transitions": []}

    server.decide = decide
    assert jennah("watch", "a").returncode == 0
    assert list(dict.fromkeys(bearers(server))) == ["token.of.2", "token.of.3"]


@pytest.mark.parametrize(
    "content",
    [
        b"profiles: [",
        b"[]",
        b"\xff",
        b"profiles: {a: {}}",
        b"profiles: {a: {url: 1}}",
        b"profiles: {a: {url: http://a, colour: red}}",
        b"profiles: {a: 1}",
        b"profiles: {a: {url: http://a, insecure: yes}}",
        b"profiles: {a: {url: true}}",
        b"profiles: 1",
        b"default: gone",
        b"profiles: {a: {url: http://a}, a: {url: http://b}}",
        b'profiles: {a: {url: http://a, token_command: "\'s3cret"}}',
        b"profiles: {a: {token_command: s3cret, url: [}}",
    ],
)
def test_a_spoilt_file_is_named(jennah: Jennah, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    done = jennah("list", JENNAH_CONFIG=str(file))
    assert_one_sentence(done, 2, "gone" if b"gone" in content else str(file))
    assert "s3cret" not in done.stderr


def test_a_place_that_can_not_be_written_is_named(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(200, tenant)
    file = tmp_path / "file"
    file.touch()
    done = jennah("login", server.url, "--audience", "a", JENNAH_CONFIG=str(file / "config.yaml"))
    assert done.returncode == 2
    assert "JENNAH_CONFIG" in done.stderr


def test_a_profile_may_be_called_anything(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(200, {**tenant, "jobs": []})
    for name in ("no", "1e3", "2026-01-01"):
        assert (
            jennah("login", server.url, "--profile", name, "--token-command", f"echo of.{name}").returncode
            == 0
        )
        assert jennah("list").returncode == 0
        assert bearers(server)[-1] == f"of.{name}"
    file = tmp_path / "c" / "config.yaml"
    file.write_text(f"default: off\nprofiles:\n  off: {{url: '{server.url}', token_command: echo by.hand}}\n")
    assert jennah("list").returncode == 0
    assert bearers(server)[-1] == "by.hand"


def test_a_profile_that_is_named_goes_before_the_address_of_the_environment(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any]
) -> None:
    server.decide = lambda asked: (200, {"id_token": "of.the.issuer"} if asked.path == "/token" else tenant)
    assert jennah("login", server.url, "--profile", "p", "--token-command", "echo of.p").returncode == 0
    issuer = {"JENNAH_ISSUER_URL": server.url, "JENNAH_AUDIENCE": "app"}
    me = {"JENNAH_EMAIL": "me@example.com", **issuer}
    assert jennah("token", "--profile", "p", **me).stdout == "of.p\n"
    assert jennah("token", JENNAH_PROFILE="p", **me).stdout == "of.p\n"
    assert jennah("token", **me).stdout == "of.p\n"
    assert (
        jennah("token", "--email", "you@example.com", JENNAH_PROFILE="p", **issuer).stdout
        == "of.the.issuer\n"
    )
    assert server.asked[-1].body["email"] == "you@example.com"
    both = jennah("token", "--profile", "p", "--email", "you@example.com", **issuer)
    assert_one_sentence(both, 2, "leave out the one or the other")
    assert jennah("profiles", "remove", "p").returncode == 0
    assert jennah("token", JENNAH_URL=server.url, **me).stdout == "of.the.issuer\n"
    assert server.asked[-1].body["email"] == "me@example.com"


def test_a_token_command_may_be_jennah_token_but_not_for_its_own_profile(
    server: ScriptedServer,
    jennah: Jennah,
    tenant: dict[str, Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A profile's command inherits the profile and the address that its caller was given."""
    answer = {**tenant, "jobs": []}
    server.decide = lambda asked: (200, {"id_token": "of.the.issuer"} if asked.path == "/token" else answer)

    def profiles(**commands: str) -> None:
        lines = [
            f"  {name}: {{url: '{server.url}', token_command: '{JENNAH} {words}'}}"
            for name, words in commands.items()
        ]
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / "config.yaml").write_text("default: p\nprofiles:\n" + "\n".join(lines))

    issuer = {"JENNAH_ISSUER_URL": server.url, "JENNAH_AUDIENCE": "app"}
    me = {"JENNAH_EMAIL": "me@example.com", **issuer}
    profiles(p="token --email you@example.com", q="token --profile p")
    for settings in (me, issuer, {**me, "JENNAH_PROFILE": "p"}, {**me, "JENNAH_PROFILE": "q"}):
        done = jennah("list", **settings)
        assert done.returncode == 0, done.stderr
        assert server.asked[-1].headers["authorization"] == "Bearer of.the.issuer"
    profiles(p="token")
    assert jennah("list", **me).returncode == 0
    assert jennah("list", JENNAH_PROFILE="p", **me).returncode == 0
    assert jennah("token", JENNAH_PROFILE="p", **me).stdout == "of.the.issuer\n"
    for words in (
        {"p": "token"},
        {"p": "token --profile p"},
        {"p": "token --profile q", "q": "token --profile p"},
    ):
        profiles(**words)
        done = jennah("list", **issuer)
        assert_one_sentence(done, 3, "gave no token")
        assert "asks for the token that it should give" in capfd.readouterr().err
        assert len(done.stderr.splitlines()) <= 3
        assert_one_sentence(jennah("token", "--profile", "p", **issuer), 3, "gave no token")


def test_a_token_command_may_hold_secrets(
    server: ScriptedServer, jennah: Jennah, tenant: dict[str, Any]
) -> None:
    server.reply(200, tenant)
    command = "echo --password=s3cret 'two words'"
    assert jennah("login", server.url, "--token-command", command, "--json").returncode == 0
    assert_one_sentence(jennah("login", server.url, "--token-command", f"false {command}"), 3, "exit code 1")
    for words in (
        ["profiles", "list"],
        ["profiles", "list", "--json"],
        ["profiles", "use", "gone"],
        ["list"],
    ):
        done = jennah(*words)
        assert "s3cret" not in done.stdout + done.stderr
    assert "echo" in jennah("profiles", "list").stdout
    shown = json.loads(jennah("profiles", "list", "--json").stdout)
    assert shown["profiles"]["default"]["token_command"] == "echo"


def test_a_login_that_prints_nothing_gives_no_empty_token(jennah: Jennah, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("profiles: {p: {url: http://127.0.0.1:1, token_command: 'true'}}")
    for words in (["token"], ["list"]):
        done = jennah(*words, "--profile", "p", JENNAH_CONFIG=str(file))
        assert_one_sentence(done, 2, "the token is empty")
