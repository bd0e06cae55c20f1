"""The operators' documents name what there is: settings with defaults and bounds, commands, files, links."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from jennah.cli import app
from shared.config import _TIMES, Settings, Timing
from shared.errors import SettingsError
from shared.semantics import LogEvent

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in (
        "configuration",
        "costs",
        "permissions",
        "proofs",
        "retention",
        "runbook",
        "capacity",
        "security",
        "telemetry",
    )
}
CONFIGURATION = PAGES["configuration"]
NEEDED = {"GOOGLE_CLOUD_PROJECT": "my-project", "SPANNER_INSTANCE": "jennah"}

# Where they are described apart: docs/telemetry.md, and a paragraph of docs/configuration.md.
TELEMETRY = set(re.findall(r"OTEL_[A-Z_]+", PAGES["telemetry"]))
SET_BY_THE_PLATFORM = {"FUNCTION_TARGET", "K_SERVICE"}

_ROW = r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$"
ROWS = {name: cells for name, *cells in re.findall(_ROW, CONFIGURATION, re.MULTILINE)}


class Recorded(Mapping[str, str]):
    """An environment that knows what was asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def with_(**changed: str) -> Settings:
    return Settings.from_env(NEEDED | changed)


def test_every_variable_that_is_read_is_described_and_no_other() -> None:
    environ = Recorded(NEEDED)
    Settings.from_env(environ)
    assert set(ROWS) == environ.read - TELEMETRY - SET_BY_THE_PLATFORM
    for name in environ.read & TELEMETRY:
        assert f"`{name}" in PAGES["telemetry"], name
    for name in SET_BY_THE_PLATFORM:
        assert f"`{name}`" in CONFIGURATION, name


def test_variables_of_telemetry_are_refused_with_all_others() -> None:
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER"):
        with_(OTEL_TRACES_EXPORTER="made-up")


@pytest.mark.parametrize("name", ROWS)
def test_the_default_is_the_codes(name: str) -> None:
    default = ROWS[name][0].strip("`")
    if default == "required":
        with pytest.raises(SettingsError, match=name):
            Settings.from_env({key: value for key, value in NEEDED.items() if key != name})
    elif default in {"unset", "4 for each CPU"}:
        assert with_(**{name: ""}) == with_()
    else:
        assert with_(**{name: default}) == with_()
        assert with_(**{name: default}) == Settings.from_env(NEEDED | {name: ""})


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        (name, float(found[1]), float(found[2]))
        for name, (_, allowed, _) in ROWS.items()
        if (found := re.fullmatch(r"([\d.]+) to ([\d.]+)", allowed))
    ],
)
def test_the_bounds_are_the_codes(name: str, least: float, most: float) -> None:
    for allowed in (least, most):
        with_(**{name: f"{allowed:g}" if allowed < 1 else str(int(allowed))})
    for refused in (least / 2 if least < 1 else least - 1, most + 1):
        with pytest.raises(SettingsError, match=name):
            with_(**{name: f"{refused:g}" if refused < 1 else str(int(refused))})


def test_a_default_that_differs_would_be_found() -> None:
    assert with_(JENNAH_TICK_SECONDS="61") != with_()
    assert with_(SPANNER_DATABASE="main2") != with_()


def test_those_it_is_for_are_there() -> None:
    known = {"submission", "scheduling", "notification", "reconciliation", "commands", "all"}
    for name, (_, _, whom) in ROWS.items():
        assert set(whom.split(", ")) <= known, name


def test_times_that_are_no_settings_are_the_codes() -> None:
    table = CONFIGURATION.partition("## What is not a setting")[2]
    shown = {
        name: timedelta(seconds=int(seconds))
        for name, seconds in re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    }
    timing = Timing()
    assert shown == {
        field.name: getattr(timing, field.name) for field in fields(Timing) if field.name not in _TIMES
    }


def commands(page: str) -> list[str]:
    """Every `jennah` command that a page tells somebody to type, in a block or in a line."""
    typed = []
    for block in re.findall(r"^ *```(?:sh)?\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE):
        joined = re.sub(r"\\\n\s*", " ", block)
        typed += [line.strip() for line in joined.splitlines() if re.match(r"\s*jennah ", line)]
    prose = re.sub(r"^ *```.*?^ *```", "", page, flags=re.DOTALL | re.MULTILINE)
    typed += re.findall(r"`(jennah [^`\n]+)`", prose)
    return typed


def problem(command: str) -> str | None:
    """What the command line itself has against a command; it is parsed, and not run."""
    words = shlex.split(command, comments=True)[1:]
    current: Any = get_command(app)
    context = current.context_class(current, info_name="jennah")
    try:
        while hasattr(current, "commands"):
            _, current, words = current.resolve_command(context, words)
            context = current.context_class(current, parent=context)
        current.make_context(current.name, words, parent=context)
    except typer.TyperException as error:
        return str(error) or type(error).__name__
    return None


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist_with_their_options(name: str) -> None:
    problems = {command: found for command in commands(PAGES[name]) if (found := problem(command))}
    assert problems == {}


EVENTS = {event.label for event in LogEvent}


def filters_of_logs(page: str) -> list[str]:
    """What the page gives its shell function `logs`."""
    return re.findall(r"\blogs '([^'\n]+)'", page)


def test_log_lines_that_are_looked_for_are_written() -> None:
    searched = filters_of_logs(PAGES["runbook"])
    assert len(searched) >= 6
    for found in searched:
        by_severity = re.fullmatch(r"severity>=(\w+)", found)
        assert by_severity or found.startswith("jsonPayload.event="), found
        named = set(re.findall(r'"(\w+)"', found))
        assert named <= EVENTS, found
        assert bool(named) != bool(by_severity), found


def test_events_that_pages_name_are_written() -> None:
    named = {
        "runbook": {"orphan_cancelled", "orphans_left_alone", "http_busy", "http_unexpected_error"},
        "retention": {"tenant_deleted"},
    }
    for page, events in named.items():
        for event in events:
            assert f"`{event}`" in PAGES[page], event
            assert event in EVENTS, event


def test_commands_are_found_and_wrong_ones_refused() -> None:
    assert len(commands(PAGES["runbook"])) >= 20
    assert problem("jennah dead-letters list --topic jobs") is None
    assert problem("jennah dead-letters burn")
    assert problem("jennah pause --for 5")
    assert problem("jennah get")
    assert problem("jennah dead-letters list --topic ticks")


def gcloud_tree() -> dict[str, Any]:
    """Every command of the gcloud that is installed, with its flags, as its completion knows them."""
    program = shutil.which("gcloud")
    if program is None:
        pytest.skip("gcloud is not installed")
    sdk = Path(program).resolve().parents[1]
    found = next(sdk.glob("data/cli/gcloud_completions.py"), None)
    if found is None:
        pytest.skip("this gcloud has no completions")
    names: dict[str, Any] = runpy.run_path(str(found))
    tree: dict[str, Any] = names["STATIC_COMPLETION_CLI_TREE"]
    return tree


def gcloud_commands(page: str) -> list[list[str]]:
    joined = re.sub(r"\\\n\s*", " ", page)
    return [
        shlex.split(re.split(r"`|; }|\s+#", found)[0])
        for found in re.findall(r"\bgcloud [a-z][^\n]*", joined)
    ]


def test_gcloud_commands_exist_with_their_flags() -> None:
    tree = gcloud_tree()
    typed = [words for page in PAGES.values() for words in gcloud_commands(page)]
    assert len(typed) >= 15
    for words in typed:
        node, flags = tree, set(tree["flags"])
        for word in words[1:]:
            if word not in node["commands"]:
                break
            node = node["commands"][word]
            flags |= set(node["flags"])
        assert not node["commands"], words  # it names a command, not a group
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= flags, words


LINKING = (
    "README.md",
    "terraform/README.md",
    *(f"docs/{name}.md" for name in (*PAGES, "deploy", "operations", "streams")),
)


@pytest.mark.parametrize("page", LINKING)
def test_links_and_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        headings = [] if file.is_dir() else re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, (target, anchor)
    for file_name in re.findall(
        r"(?<![\w./-])((?:shared|jennah|functions|tests|schema)/[\w/.-]+\.\w+)", text
    ):
        assert (ROOT / file_name).exists(), file_name


JOINED = {
    "README.md": {"docs/deploy.md", "docs/permissions.md", "docs/runbook.md", "docs/operations.md"},
    "docs/configuration.md": {"deploy.md"},
    "docs/deploy.md": {"costs.md", "permissions.md", "runbook.md", "operations.md"},
    "docs/operations.md": {"runbook.md", "permissions.md", "deploy.md"},
    "docs/runbook.md": {"deploy.md", "permissions.md", "operations.md"},
    "docs/security.md": {"deploy.md", "permissions.md"},
    "terraform/README.md": {"../docs/deploy.md", "../docs/configuration.md", "../docs/permissions.md"},
}


@pytest.mark.parametrize("page", JOINED)
def test_pages_lead_to_each_other(page: str) -> None:
    linked = re.findall(r"\]\(([^)#:]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert set(linked) >= JOINED[page]


@pytest.mark.parametrize("name", PAGES)
def test_pages_stay_short(name: str) -> None:
    assert len(PAGES[name].splitlines()) <= (300 if name == "runbook" else 200)
