"""docs/deploy.md: every command in it is one that its program takes. What terraform/README.md says agrees."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from jennah.cli import app
from jennah.operations.deploy import Deploy

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "deploy.md").read_text()


def blocks(language: str, text: str = GUIDE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str = GUIDE) -> list[list[str]]:
    """The words of every command of the guide, without the variables that are set before it."""
    found = []
    for line in "".join(blocks("sh", text)).replace("\\\n", " ").splitlines():
        for command in line.split(";"):
            words = shlex.split(command, comments=True)
            while words and re.match(r"[A-Z_a-z]+=", words[0]):
                words.pop(0)
            if words:
                found.append(words)
    return found


def lint_gcloud(words: list[str]) -> None:
    """It judges a command without running it."""
    lint = ["gcloud", "meta", "lint-gcloud-commands", f"--command-string={shlex.join(words)}"]
    (judged,) = json.loads(subprocess.check_output(lint, text=True, timeout=60))
    assert judged["success"], judged["error_message"]


def lint_jennah(words: list[str]) -> None:
    command: Any = get_command(app)
    _, *rest = words
    while hasattr(command, "commands"):
        command, *rest = command.commands[rest[0]], *rest[1:]
    command.make_context(command.name, rest)


def lint_make(words: list[str]) -> None:
    """It is a target, and every variable is one that the Makefile knows."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = set(re.findall(r"\$\((?:filter no,\$\()?([A-Z]+)\)", (ROOT / "Makefile").read_text()))
    known |= set(re.findall(r"\$\(if \$\(([A-Z]+)\)", (ROOT / "Makefile").read_text()))
    target, *variables = words[1:]
    assert target in targets
    assert {variable.partition("=")[0] for variable in variables} <= known


def lint_terraform(words: list[str]) -> None:
    assert words[1] == "-chdir=terraform"
    if shutil.which("terraform"):
        help_text = subprocess.run(
            ["terraform", words[2], "-help"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
        # `destroy` takes the options of `apply`.
        options = [word.partition("=")[0] for word in words[3:] if word.startswith("-")]
        assert all(option in help_text or words[2] in {"apply", "destroy"} for option in options)


JUDGES: Mapping[str, Callable[[list[str]], None]] = {
    "gcloud": lint_gcloud,
    "make": lint_make,
    ".venv/bin/jennah": lint_jennah,
    "terraform": lint_terraform,
}


@pytest.mark.parametrize("words", commands(), ids=shlex.join)
def test_a_command_parses(words: list[str]) -> None:
    judge = JUDGES.get(words[0])
    if judge is None:
        assert shutil.which(words[0]) or words[0] in {"set", "export", "."}
    else:
        judge(words)


def test_every_block_is_a_shells() -> None:
    assert len(blocks("sh")) >= 8
    for block in blocks("sh"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_the_variables_are_written_as_terraform_writes_them() -> None:
    assert len(blocks("hcl")) == 3
    if shutil.which("terraform"):
        for block in blocks("hcl"):
            subprocess.run(["terraform", "fmt", "-check", "-"], input=block, text=True, check=True)


def test_make_deploy_is_two_commands() -> None:
    section = GUIDE.partition("## The two commands")[2]
    first = section.partition("```sh\n")[2].partition("```")[0]
    assert first == "make deploy PROJECT=my-project\nmake deploy PROJECT=my-project APPLY=1\n"


MODULE = (ROOT / "terraform" / "README.md").read_text()
VARIABLES = set(
    re.findall(
        r'^variable "(\w+)"',
        "".join(file.read_text() for file in (ROOT / "terraform").glob("variables*.tf")),
        re.MULTILINE,
    )
)


def test_a_module_is_deployed_in_the_same_steps() -> None:
    section = MODULE.partition("## Deploying")[2].partition("\n## ")[0]
    assert re.findall(r"-target=module\.jennah\.(\S+)", section) == list(Deploy("my-project").first)
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    folder = re.search(r"^cd (\S+)$", block, re.MULTILINE)
    assert folder is not None
    assert 'module "jennah"' in (ROOT / folder[1] / "main.tf").read_text()


def test_variables_that_are_named_exist() -> None:
    table = MODULE.partition("## Settings")[2].partition("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)
    }
    assert len(named) >= 12
    assert named <= VARIABLES
    for block in blocks("hcl"):
        assert set(re.findall(r"^(\w+) +=", block, re.MULTILINE)) <= VARIABLES
