"""docs/deploy.md: whoever follows it can log in as it says, and each login may do what it is used for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hcl2.utils import SerializationOptions

from tests.e2e.test_deploy_guide import GUIDE, blocks, commands

DOCS = Path(__file__).parents[2] / "docs"
ACCOUNT = "{}@my-project.iam.gserviceaccount.com"

# Which of the commands speak to the API, as the profile that is meant.
BY_PROFILE = {
    "submit",
    "list",
    "get",
    "history",
    "watch",
    "logs",
    "cancel",
    "retry",
    "delete",
    "tenant",
    "batch",
}
# What of Google's a person can't have a token for: an audience that is no OAuth client's.
OF_A_CLIENT = ".apps.googleusercontent.com"


def variables(guide: str) -> dict[str, Any]:
    """The guide's first terraform.tfvars, with which the first job is submitted."""
    options = SerializationOptions(with_comments=False, strip_string_quotes=True)
    return dict(hcl2.loads(blocks("hcl", guide)[0], serialization_options=options))


def option(words: Sequence[str], name: str) -> str | None:
    """The value of an option, as `--name value` or `--name=value`."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


@dataclass
class Reader:
    """Somebody who follows the guide: what there is so far, and who may do what by its terraform.tfvars."""

    audiences: set[str]
    operators: set[str]
    admitted: set[str]
    made: set[str] = field(default_factory=set)
    impersonable: set[str] = field(default_factory=set)
    profiles: dict[str, str] = field(default_factory=dict)
    current: str | None = None

    def follow(self, words: Sequence[str]) -> Iterator[str]:
        """Do as a command says, and tell what would fail."""
        match words:
            case ["gcloud", "iam", "service-accounts", "create", name, *_]:
                self.made.add(ACCOUNT.format(name))
            case ["gcloud", "iam", "service-accounts", "add-iam-policy-binding", account, *_]:
                if option(words, "--role") == "roles/iam.serviceAccountTokenCreator":
                    self.impersonable.add(account)
            case [".venv/bin/jennah", "login", *_]:
                yield from self.log_in(words)
            case ["export", assignment] if assignment.startswith("JENNAH_PROFILE="):
                self.current = assignment.partition("=")[2]
                if self.current not in self.profiles:
                    yield f"there is no profile {self.current}"
            case [".venv/bin/jennah", command, *_] if command in BY_PROFILE:
                yield from self.ask(words)

    def log_in(self, words: Sequence[str]) -> Iterator[str]:
        name, account = option(words, "--profile") or "default", option(words, "--impersonate") or "nobody"
        self.profiles[name], self.current = account, name
        if option(words, "--audience") not in self.audiences:
            yield f"{name}: no issuer is accepted for that audience"
        if account not in self.made & self.impersonable:
            yield f"{name}: {account} is no account that the guide makes and lets be impersonated"
        if account not in self.operators | self.admitted:
            yield f"{name}: {account} is not let in"

    def ask(self, words: Sequence[str]) -> Iterator[str]:
        named = option(words, "--profile") or self.current
        if named not in self.profiles:
            yield f"{words[1]}: there is no profile {named}"
        elif option(words, "--tenant") and self.profiles[named] not in self.operators:
            yield f"{words[1]}: {named} is no operator, and asks for others' jobs"


def problems(guide: str) -> Iterator[str]:
    """What would fail at the first login, or at the first command that needs more than it may."""
    given = variables(guide)
    reader = Reader(
        {each["audience"] for each in given["oidc_issuers"]},
        set(given["operators"]["emails"]),
        set(given["admit"]["emails"]),
    )
    for words in commands(guide):
        yield from reader.follow(words)
    if not any(audience.endswith(OF_A_CLIENT) for audience in reader.audiences):
        for email in sorted((reader.operators | reader.admitted) - reader.made):
            yield f"{email} can get no token for {', '.join(reader.audiences)}"


def test_everybody_who_logs_in_may_do_what_follows() -> None:
    assert list(problems(GUIDE)) == []


def replaced(old: str, new: str) -> Callable[[str], str]:
    def edit(guide: str) -> str:
        assert old in guide
        return guide.replace(old, new)

    return edit


OPERATORS = 'operators    = { emails = ["operator@my-project.iam.gserviceaccount.com"] }'


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (replaced("--profile ops\n", "--profile prod\n"), "prod is no operator"),
        (replaced("--profile ops\n", "\n"), "prod is no operator"),
        (
            replaced('jennah login "$JENNAH_URL" --profile ops', 'jennah login "$JENNAH_URL" --profile op'),
            "no profile ops",
        ),
        (replaced("export JENNAH_PROFILE=prod", "export JENNAH_PROFILE=main"), "no profile main"),
        (
            replaced(OPERATORS, 'operators    = { emails = ["ann@example.com"] }'),
            "ann@example.com can get no token",
        ),
        (replaced(OPERATORS, "operators    = { emails = [] }"), "is not let in"),
        (
            replaced('audience = "jennah.example.com"', 'audience = "jennah.example.org"'),
            "no issuer is accepted",
        ),
        (
            replaced("service-accounts create operator", "service-accounts create operators"),
            "is no account that the guide makes",
        ),
        (
            replaced("--role=roles/iam.serviceAccountTokenCreator", "--role=roles/iam.serviceAccountUser"),
            "is no account",
        ),
        (
            replaced("  --impersonate operator@my-project.iam.gserviceaccount.com", "  --json"),
            "nobody is no account",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_guide_that_leads_astray_is_found(edit: Callable[[str], str], words: str) -> None:
    assert any(words in found for found in problems(edit(GUIDE)))


def by_profile(page: str) -> list[str]:
    """The commands of a page that name a profile."""
    return re.findall(r"jennah (?!login\b|profiles\b|token\b)[^`\n]*--profile \S+[^`\n]*", page)


@pytest.mark.parametrize("name", ["deploy", "runbook", "operations"])
def test_profiles_and_operators_of_other_pages_are_the_guides(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text()
    logins = dict(re.findall(r"jennah login \S+ --profile (\w+) .*?--impersonate (\S+)", GUIDE, re.DOTALL))
    for command in by_profile(page):
        used = re.search(r"--profile (\w+)", command)
        assert used is not None
        assert used[1] in logins, command
        assert "--tenant" not in command or logins[used[1]] in variables(GUIDE)["operators"]["emails"], (
            command
        )
    # Whoever asks for another tenant's jobs by a whole command says as whom.
    asked = re.findall(r"jennah (?:list|get|history) [^`\n]*--tenant [^`\n]+", page)
    assert asked == [command for command in asked if "--profile" in command]
