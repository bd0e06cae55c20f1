"""The command line as a process, against a real server that answers what it is told."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from jennah import live
from jennah.client import Client
from tests.command import run_command

if TYPE_CHECKING:
    from tests.unit.conftest import Asked, ScriptedServer

JENNAH = Path(sys.executable).with_name("jennah")
JOB_ID = "0b9f8c0e-3f0d-4a86-9f0e-6b1f2f3a4c5d"
Done = subprocess.CompletedProcess[str]


def environment(server: ScriptedServer | None = None, **more: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("JENNAH_")}
    if server is not None:
        mine |= {"JENNAH_URL": server.url, "JENNAH_TOKEN": "a.b.c"}
    return mine | {"JENNAH_CONFIG": os.devnull} | more


def jennah(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    return run_command(*arguments, env=env or environment(), cwd=cwd)


def assert_one_sentence(done: Done, code: int) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("jennah: ")
    assert done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1


def refusal(status: int, message: str = "No.") -> dict[str, Any]:
    return {"error": {"code": status, "status": "X", "message": message, "details": []}}


def test_help_comes_without_loading_what_it_does_not_need() -> None:
    program = (
        "import sys; sys.argv = ['jennah', '--help']; before = set(sys.modules)\n"
        "from jennah.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "heavy = loaded & {'shared', 'google', 'grpc', 'httpx', 'pydantic', 'yaml'}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Exit codes: 0 done" in done.stdout


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 3), (403, 3), (404, 1), (409, 1), (413, 2), (500, 3), (301, 1)],
)
def test_a_refusal_is_one_sentence_and_an_exit_code(
    server: ScriptedServer, here: Callable[..., Done], status: int, code: int
) -> None:
    server.reply(status, refusal(status))
    assert_one_sentence(here("cancel", JOB_ID), code)


def test_an_unreachable_server_is_one_sentence_with_the_remedy() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = jennah("list", "--url", url, "--token", "t")
    assert_one_sentence(done, 3)
    assert url in done.stderr
    assert "make up" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "step"),
    [
        ("SSL_CERT_FILE", "/nonexistent", "PEM file"),
        ("SSL_CERT_FILE", __file__, "PEM file"),
        ("HTTPS_PROXY", "garbage::::", "http://proxy.example.com:3128"),
        ("https_proxy", "ftp://me:s3cret@a:1", "http://proxy.example.com:3128"),
        ("NO_PROXY", ":::garbage", "http://proxy.example.com:3128"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "httpx[socks]"),
    ],
)
def test_what_the_environment_spoils_is_named(name: str, value: str, step: str) -> None:
    env = {key: text for key, text in environment().items() if not key.upper().endswith("_PROXY")}
    env |= {"HTTP_PROXY": "http://127.0.0.1:1"} if name == "NO_PROXY" else {}
    env.pop("SSL_CERT_FILE", None)
    done = jennah("list", "--url", "https://jobs.example.com", "--token", "t", env=env | {name: value})
    assert_one_sentence(done, 2)
    assert name in done.stderr
    assert step in done.stderr
    assert "s3cret" not in done.stderr


def test_a_name_that_no_host_can_have_is_an_unreachable_server() -> None:
    env = {key: text for key, text in environment().items() if not key.upper().endswith("_PROXY")}
    done = jennah("list", "--url", f"https://{'a' * 70}.example", "--token", "t", env=env)
    assert_one_sentence(done, 3)
    assert "no such host" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("get",),
        ("nonsense",),
        ("get", ".."),
        ("get", "../../health"),
        ("list", "--limit", "0"),
        ("list", "--limit", "many"),
        ("list", "--limit", "9" * 30),
        ("list", "--tenant", "t" * 70_000),
        ("history", "j" * 70_000, "-f"),
        ("list", "--url", "http://127.0.0.1:99999", "--token", "t"),
        ("list", "--url", "localhost:8080", "--token", "t"),
        ("list", "--token", "a\nb"),
        ("submit", "busybox", "sh", "-c", "true"),
        ("submit", "busybox", "--env", "NOVALUE"),
        ("submit", "busybox", "--timeout", "0"),
        ("submit", "busybox", "--max-retries", "-1"),
        ("submit", "busybox", "--max-infrastructure-retries", "-1"),
        ("submit", "busybox", "--retry-delay", "0.5"),
        ("submit", "busybox", "--retry-factor", "nan"),
        ("submit", "busybox", "--retry-factor", "1e999"),
        ("token", "--email"),
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_wrong_usage_is_one_sentence_and_asks_nobody(
    server: ScriptedServer, here: Callable[..., Done], arguments: tuple[str, ...]
) -> None:
    assert_one_sentence(here(*arguments), 2)
    assert server.asked == []


def test_a_jobs_own_options_need_the_dashes_and_the_message_says_so(here: Callable[..., Done]) -> None:
    done = here("submit", "busybox", "sh", "-c", "true")
    assert "Put '--' before" in done.stderr


def test_without_a_token_the_remedy_is_named(tmp_path: Path) -> None:
    done = jennah("list", "--url", "https://jobs.example.com", cwd=tmp_path)
    assert_one_sentence(done, 3)
    assert "JENNAH_TOKEN" in done.stderr


def test_submission_prints_the_id_alone(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(201, job)
    options = ["--name", "n", "--env", "A=b=c", "--env", "B=", "--max-retries", "1", "--timeout", "5"]
    done = jennah(
        *("submit", "busybox", *options, "--idempotency-key", "k", "--", "sh", "-c", "exit 0", "--json"),
        env=environment(server),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{JOB_ID}\n", "")
    assert server.asked[0].headers["idempotency-key"] == "k"
    assert server.asked[0].body == {
        "image_uri": "busybox",
        "commands": ["sh", "-c", "exit 0", "--json"],
        "name": "n",
        "env": {"A": "b=c", "B": ""},
        "max_retries": 1,
        "timeout_seconds": 5,
    }


def test_a_retry_policy_is_asked_for_by_options(
    server: ScriptedServer, here: Callable[..., Done], job: dict[str, Any]
) -> None:
    server.reply(201, job)
    backoff = ("--retry-delay", "5", "--retry-factor", "1.5", "--retry-max-delay", "60")
    fail_on = ("--fail-on", "2", "--fail-on", "timeout", "--fail-on", "137", "--fail-on", "9" * 5000)
    budget = ("--max-infrastructure-retries", "0", "--provisioning", "spot_then_standard")
    for options in ([*backoff, *fail_on, *budget], ["--retry-delay", "0"], ["--provisioning", "spot"]):
        assert here("submit", "busybox", *options).returncode == 0
    assert [asked.body for asked in server.asked] == [
        {
            "image_uri": "busybox",
            "retry": {
                "backoff": {"first_delay_seconds": 5, "factor": 1.5, "max_delay_seconds": 60},
                "rules": [
                    {"exit_codes": [2, 137], "action": "fail"},
                    {"reasons": ["timeout", "9" * 5000], "action": "fail"},
                ],
                "max_infrastructure_retries": 0,
            },
            "provisioning": "spot_then_standard",
        },
        {"image_uri": "busybox", "retry": {"backoff": {"first_delay_seconds": 0}}},
        {"image_uri": "busybox", "provisioning": "spot"},
    ]


def test_a_job_is_shown_with_its_retry_policy(
    server: ScriptedServer, here: Callable[..., Done], job: dict[str, Any]
) -> None:
    policy = {
        "backoff": {"first_delay_seconds": 5, "factor": 1.5, "max_delay_seconds": 60},
        "rules": [
            {"exit_codes": [2, 137], "action": "fail"},
            {"reasons": ["timeout"], "action": "retry"},
        ],
        "max_infrastructure_retries": 4,
    }
    server.reply(200, {**job, "retry": policy, "infra_retry_count": 1, "provisioning": "spot"})
    lines = [line.split(maxsplit=1) for line in here("get", JOB_ID).stdout.splitlines()]
    assert ["retries", "0 of 3"] in lines
    assert ["infra", "retries  1 of 4"] in lines
    assert ["backoff", "up to 5 s, 1.5 times as long each time, at most 60 s"] in lines
    assert ["rule", "1         fail on exit code 2, exit code 137"] in lines
    assert ["rule", "2         retry on timeout"] in lines
    assert ["machine", "spot"] in lines


def test_a_server_from_before_retry_policies_is_shown(
    server: ScriptedServer, here: Callable[..., Done], job: dict[str, Any]
) -> None:
    later = {"retry", "infra_retry_count", "provisioning"}
    server.reply(200, {name: value for name, value in job.items() if name not in later})
    done = here("get", JOB_ID)
    assert done.returncode == 0
    assert not any(word in done.stdout for word in ("infra", "machine", "backoff"))


def test_json_is_what_the_server_said(
    server: ScriptedServer, here: Callable[..., Done], job: dict[str, Any], transition: dict[str, Any]
) -> None:
    shown = {**job, "new": {"field": 1}}
    whole = {**shown, "jobs": [shown], "transitions": [transition]}
    server.reply(200, whole)
    for command in (["submit", "busybox"], ["get", JOB_ID], ["cancel", JOB_ID]):
        assert json.loads(here(*command, "--json").stdout) == whole
    assert json.loads(here("list", "--json").stdout) == [shown]
    assert json.loads(here("history", JOB_ID, "--json").stdout) == [transition]


def test_tables_pipe_well_and_hostile_text_stays_in_its_cell(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    hostile = "a\x1b[31mred\n\r\u202e" + "long " * 60
    named = {**job, "name": hostile, "error_message": hostile}
    reason = {**transition, "reason": hostile}
    server.decide = lambda _: (200, {**named, "jobs": [named] * 3, "transitions": [reason] * 3})
    for command, lines in ((["list"], 4), (["history", JOB_ID], 4), (["get", JOB_ID], 10)):
        done = jennah(*command, env=environment(server, COLUMNS="20"))
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == lines
        assert done.stdout.isascii()
        assert all(char.isprintable() or char == "\n" for char in done.stdout)
        assert not any(line.endswith(" ") for line in done.stdout.splitlines())
    listing = jennah("list", env=environment(server)).stdout.splitlines()
    assert [line.split()[0] for line in listing] == ["JOB", *[JOB_ID] * 3]


def test_a_row_without_times_is_shown(
    server: ScriptedServer, here: Callable[..., Done], job: dict[str, Any]
) -> None:
    bare = {name: None if name.endswith("_at") else value for name, value in job.items()}
    server.reply(200, {**bare, "jobs": [bare]})
    assert here("list").stdout.splitlines()[1].split()[3:5] == ["-", "-"]
    assert here("get", JOB_ID).returncode == 0


def test_listing_stops_at_its_limit(
    server: ScriptedServer, here: Callable[..., Done], job: dict[str, Any]
) -> None:
    server.reply(200, {"jobs": [job] * 2, "next_page_token": "more"})
    done = here("list", "--limit", "3", "--status", "failed", "--json")
    assert len(json.loads(done.stdout)) == 3
    assert [asked.path for asked in server.asked] == [
        "/v1/jobs?status=FAILED&page_size=3",
        "/v1/jobs?status=FAILED&page_size=3&page_token=more",
    ]


def story(server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any], end: str) -> None:
    """Let the job go through its life, one status at each look."""
    statuses = ["PENDING", "SCHEDULED", "RUNNING", end]
    looks: list[str] = []

    def decide(asked: Asked) -> tuple[int, Any]:
        if asked.path.endswith("/transitions"):
            trail = [
                {**transition, "transition_id": str(number), "to_status": status}
                for number, status in enumerate(looks)
            ]
            return 200, {"transitions": trail}
        if asked.method == "GET" and len(looks) < len(statuses):
            looks.append(statuses[len(looks)])
        return 200, {**job, "status": looks[-1] if looks else "PENDING"}

    server.decide = decide


@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_watching_shows_each_change_and_exits_by_the_outcome(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any], end: str, code: int
) -> None:
    story(server, job, transition, end)
    done = jennah("watch", JOB_ID, env=environment(server))
    assert done.returncode == code
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["PENDING", "SCHEDULED", "RUNNING", end]
    assert (end in done.stderr) == (code == 1)


@pytest.mark.parametrize("command", [["watch", JOB_ID], ["submit", "busybox", "--wait"]], ids=" ".join)
def test_with_json_the_progress_goes_to_stderr(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any], command: list[str]
) -> None:
    story(server, job, transition, "FAILED")
    done = jennah(*command, "--json", env=environment(server))
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "FAILED"
    assert "RUNNING" in done.stderr


def test_a_terminal_gets_a_live_view(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    story(server, job, transition, "COMPLETED")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [JENNAH, "watch", JOB_ID],
        env=environment(server, TERM="xterm-256color", COLUMNS="120"),
        stdout=theirs,
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
    assert process.returncode == 0
    assert b"COMPLETED" in seen
    assert b"\x1b[" in seen


@pytest.mark.parametrize(
    ("said", "code", "asked"), [("y", 0, 2), ("n", 1, 0), ("\x04", 130, 0), ("\x03", 130, 0)]
)
def test_who_deletes_everything_is_asked(
    server: ScriptedServer, tenant: dict[str, Any], said: str, code: int, asked: int
) -> None:
    server.reply(200, tenant)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [JENNAH, "tenant", "delete"],
        env=environment(server),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - for Ctrl-C
    ) as process:
        os.close(theirs)
        assert process.stderr is not None
        question = "Delete your tenant with all its jobs?"
        assert process.stderr.read(len(question)) == question
        os.write(ours, f"{said}\n".encode())
        _, errors = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert len(server.asked) == asked


def test_completion_knows_commands_and_options() -> None:
    for words, expected in (("jennah su", "submit"), ("jennah list --col", "--columns")):
        asked = {
            "_JENNAH_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        assert jennah(env=environment(None, **asked)).stdout.split() == [expected]


def test_what_the_terminal_echoes_does_not_repeat_the_headline(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    """ "^C" must find room on the last line: the live view goes up by the lines that it wrote itself."""
    width = 80
    server.decide = lambda _: (
        200,
        {**job, "status": "COMPLETED", "transitions": [{**transition, "reason": "word " * 40}]},
    )
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=width, color_system=None)
    with Client(server.url, "a.b.c") as client:
        live.follow(client, [JOB_ID], console, print)
    lines = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", text.getvalue()).replace("\r", "\n").splitlines()
    assert width - 12 < max(map(len, lines)) <= width - len("^C")


def test_an_interrupted_watch_says_that_the_job_goes_on(
    server: ScriptedServer, job: dict[str, Any], transition: dict[str, Any]
) -> None:
    story(server, job, transition, "RUNNING")
    with subprocess.Popen(
        [JENNAH, "watch", JOB_ID],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "PENDING" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == f"The job goes on without you: jennah watch {JOB_ID}\n"
    assert process.returncode == 130


def test_an_interruption_while_it_starts_is_silent() -> None:
    program = (
        "import signal, sys; wanted = sys.argv.pop(); sys.argv.append('list')\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == wanted: signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from jennah.cli import main\n"
        "main()\n"
    )
    for module in ("typer", "typer.core", "jennah.access", "httpx"):
        command = [sys.executable, "-c", program, module]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), module


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's own")
@pytest.mark.parametrize(
    "command", [["list"], ["list", "--json"], ["cancel", JOB_ID], ["version"], ["--help"]]
)
def test_an_output_that_can_not_be_written_is_one_sentence(
    server: ScriptedServer, job: dict[str, Any], command: list[str]
) -> None:
    server.reply(200, {**job, "jobs": [job]})
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [JENNAH, *command],
            env=environment(server),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("jennah: cannot write: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error(server: ScriptedServer, job: dict[str, Any]) -> None:
    server.reply(200, {"jobs": [job] * 100, "next_page_token": None})
    for arguments in (["list"], ["list", "--json"]):
        with subprocess.Popen(
            [JENNAH, *arguments],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""


def local_cloud(server: ScriptedServer, folder: Path, url: str | None = None) -> None:
    file = folder / ".local" / "env"
    file.parent.mkdir()
    file.write_text(
        f"JENNAH_URL={url or server.url}\nJENNAH_ISSUER_URL={server.url}\nJENNAH_AUDIENCE='an app'\n"
    )
    file.chmod(0o600)


def issue(asked: Asked) -> tuple[int, Any]:
    if asked.path == "/token":
        return 200, {"id_token": f"token.of.{asked.body['email']}"}
    return 200, {"jobs": []}


def test_the_local_cloud_is_found_and_gives_a_token(server: ScriptedServer, tmp_path: Path) -> None:
    server.decide = issue
    local_cloud(server, tmp_path)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    done = jennah("list", "--json", cwd=below)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert server.asked[0].body == {"email": "you@example.com", "audience": "an app"}
    assert server.asked[1].headers["authorization"] == "Bearer token.of.you@example.com"
    jennah("list", env=environment(JENNAH_EMAIL="me@example.com"), cwd=below)
    assert server.asked[3].headers["authorization"] == "Bearer token.of.me@example.com"


def test_the_local_cloud_gives_no_token_for_another_server(server: ScriptedServer, tmp_path: Path) -> None:
    server.decide = issue
    local_cloud(server, tmp_path)
    for url in ("http://127.0.0.1:1", "https://jobs.example.com"):
        assert_one_sentence(jennah("list", "--url", url, cwd=tmp_path), 3)
    assert server.asked == []


def test_a_file_can_not_send_a_token_off_this_machine(server: ScriptedServer, tmp_path: Path) -> None:
    local_cloud(server, tmp_path, url="http://evil.example.com")
    done = jennah("list", env=environment(JENNAH_TOKEN="secret"), cwd=tmp_path)
    assert "evil" not in done.stderr
    assert server.asked == []


def test_a_token_is_printed_alone(server: ScriptedServer, tmp_path: Path) -> None:
    long = "x" * 2000
    server.reply(200, {"id_token": long})
    local_cloud(server, tmp_path)
    done = jennah("token", "--email", "you@example.com", env=environment(COLUMNS="40"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{long}\n", "")


def test_the_issuers_refusal_and_absence_are_one_sentence(server: ScriptedServer, tmp_path: Path) -> None:
    server.reply(400, {"error": "invalid_request", "error_description": "email: an address"})
    (tmp_path / "cloud").mkdir()
    local_cloud(server, tmp_path / "cloud")
    refused = jennah("token", "--email", "x", cwd=tmp_path / "cloud")
    assert_one_sentence(refused, 2)
    assert "email: an address" in refused.stderr
    assert_one_sentence(jennah("token", "--email", "you@example.com", cwd=tmp_path), 3)
    gone = environment(JENNAH_ISSUER_URL="http://127.0.0.1:1", JENNAH_AUDIENCE="a")
    assert_one_sentence(jennah("token", "--email", "you@example.com", env=gone, cwd=tmp_path), 3)


def test_a_restarted_local_cloud_is_found_by_a_shell_that_knows_the_one_before(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.decide = issue
    local_cloud(server, tmp_path)
    stale = {"JENNAH_ISSUER_URL": "http://127.0.0.1:1", "JENNAH_AUDIENCE": "old"}
    env = environment(None, JENNAH_URL=f"{server.url}/", **stale)
    for arguments in (["list", "--json"], ["token", "--email", "you@example.com"]):
        assert jennah(*arguments, env=env, cwd=tmp_path).returncode == 0
    assert {asked.body["audience"] for asked in server.asked if asked.path == "/token"} == {"an app"}
    (tmp_path / ".local" / "env").unlink()
    lost = jennah("list", env=env, cwd=tmp_path)
    assert_one_sentence(lost, 3)
    assert "source .local/env again" in lost.stderr


@pytest.mark.parametrize("content", [b"JENNAH_URL='http://127.0.0.1:1\n", b"JENNAH_URL=\xff\n"])
def test_a_spoilt_file_of_the_local_cloud_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".local" / "env"
    file.parent.mkdir()
    file.write_bytes(content)
    file.chmod(0o600)
    for arguments in (["list"], ["token", "--email", "you@example.com"]):
        done = jennah(*arguments, cwd=tmp_path)
        assert_one_sentence(done, 2)
        assert str(file) in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:x", "127.0.0.1:80", "http://["])
def test_an_issuer_that_is_no_url_is_named(tmp_path: Path, url: str) -> None:
    env = environment(JENNAH_ISSUER_URL=url, JENNAH_AUDIENCE="a")
    done = jennah("token", "--email", "you@example.com", env=env, cwd=tmp_path)
    assert_one_sentence(done, 2)
    assert "JENNAH_ISSUER_URL" in done.stderr


@pytest.mark.parametrize("answer", [b"<html>", {}, [], None])
def test_an_issuer_that_is_none_is_one_sentence(
    server: ScriptedServer, tmp_path: Path, answer: object
) -> None:
    server.reply(200, answer)
    local_cloud(server, tmp_path)
    assert_one_sentence(jennah("token", "--email", "you@example.com", cwd=tmp_path), 3)


@pytest.mark.parametrize("url", ["localhost:8080", "http://[", "http://127.0.0.1:x"])
def test_a_server_that_is_no_url_is_refused_before_its_token_is_missed(tmp_path: Path, url: str) -> None:
    done = jennah("list", env=environment(JENNAH_URL=url), cwd=tmp_path)
    assert_one_sentence(done, 2)
    assert "URL" in done.stderr
    assert "token" not in done.stderr


@pytest.mark.parametrize("more", [{}, {"JENNAH_TOKEN": "a.b.c"}], ids=["no token", "a token"])
def test_on_a_wrong_port_the_local_cloud_that_is_known_is_named(
    server: ScriptedServer, tmp_path: Path, more: dict[str, str]
) -> None:
    local_cloud(server, tmp_path)
    done = jennah("list", env=environment(None, JENNAH_URL="http://127.0.0.1:1", **more), cwd=tmp_path)
    assert_one_sentence(done, 3)
    assert server.url in done.stderr


def test_a_token_that_the_local_cloud_does_not_accept_is_remedied_locally(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.reply(401, refusal(401))
    local_cloud(server, tmp_path)
    done = jennah("list", env=environment(JENNAH_TOKEN="a.b.c"), cwd=tmp_path)
    assert_one_sentence(done, 3)
    assert "jennah token --email" in done.stderr
    assert "jennah token" not in jennah("list", env=environment(server)).stderr
