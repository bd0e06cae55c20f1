"""docs/cli.md names every command, column, method and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from jennah import access, connection, job_columns, output
from jennah.cli import app
from jennah.client import Client

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(command: Any, path: str = "jennah") -> Iterator[tuple[str, set[str]]]:
    """Every command with its options."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from commands(below, f"{path} {name}")
    else:
        yield path, {option for parameter in command.params for option in parameter.opts}


def test_every_command_is_documented_and_no_other() -> None:
    known = {path for path, _ in commands(get_command(app))}
    assert known == {path for path in known if re.search(rf"`{path}\b", TEXT)}
    named = re.findall(r"`(jennah (?:(?:dead-letters|profiles|tenant) )?[a-z][a-z-]+)", TEXT)
    assert set(named) - {"jennah tenant", "jennah profiles"} == known


def test_every_option_that_is_named_exists() -> None:
    every = {option for _, options in commands(get_command(app)) for option in options}
    every |= {"--install-completion", "--show-completion", "--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) - {"--client-id"} <= every


def test_columns_methods_and_exit_codes_are_documented() -> None:
    listed = TEXT.partition("`--columns` takes any of ")[2].partition(", in your order")[0]
    assert re.split(r",\s+| and ", listed) == list(job_columns.ALL)
    methods = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    table = TEXT.partition("| method | |")[2]
    assert set(re.findall(r"`([a-z_]+)`", table)) - {"idempotency_key", "on_missing"} == methods
    codes = TEXT.partition("| exit code | |")[2].partition("\n\n")[0]
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", codes, re.MULTILINE)}
    assert shown == {0, output.REFUSED, output.MISUSED, output.UNREACHABLE, 130, 141}


def test_the_times_of_repeats_are_the_codes() -> None:
    repeats = " ".join(
        TEXT.partition("Requests are repeated for ")[2].partition(" when the network")[0].split()
    )
    seconds = [int(number) for number in re.findall(r"(\d+) s", repeats)]
    assert seconds == [access.QUICK, access.PATIENT, connection.FIRST_CONTACT_SECONDS]


def test_every_environment_variable_that_is_named_exists() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "jennah").glob("*.py"))
    named = set(re.findall(r"JENNAH_[A-Z_]+", TEXT))
    assert {name for name in named if name not in sources} == set()
    assert set(re.findall(r'envvar="(JENNAH_[A-Z]+)"', sources)) - {"JENNAH_PORT"} <= named
