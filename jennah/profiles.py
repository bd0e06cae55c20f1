"""Profiles: the servers that one uses and how to log in to each, in a file of one's own.

default: prod
profiles:
  prod:
    url: https://jobs.example.com
    audience: jennah.example.com
    impersonate: runner@my-project.iam.gserviceaccount.com

No token is kept: each command gets one, from `gcloud` or from the profile's `token_command`.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import typer
import yaml

from jennah import core_yaml

_LOGINS = "JENNAH_LOGINS"
"""Set for a command that gets a token: the digests of those that wait for it, with a blank between."""


class ProfileError(Exception):
    """The file, or a profile in it, can't be used; one sentence with the remedy."""


class LoginFailed(Exception):
    """No token came; one sentence with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A server, and where tokens for it come from.

    Attributes:
        url: the server.
        audience: gcloud gives ID tokens for it.
        impersonate: the service account that gcloud's are of; None is gcloud's own account.
        token_command: prints a token instead; run without a shell.
        insecure: whether tokens may go there over plain http.
    """

    url: str
    audience: str | None = None
    impersonate: str | None = None
    token_command: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.token_command is not None and (self.audience or self.impersonate):
            raise ProfileError(
                "a token command needs no audience and no account: leave out the one or the other"
            )
        words: list[str] = []
        with suppress(ValueError):
            words = ["gcloud"] if self.token_command is None else shlex.split(self.token_command)
        if not words:
            raise ProfileError(
                "the token command names no program: write a program and its arguments, every quote closed"
            )
        if self.impersonate is not None and self.audience is None:
            raise ProfileError("a token of a service account needs the server's audience: add --audience")

    @property
    def login(self) -> Callable[[], str] | None:
        """What gets a token; None where the profile names none."""
        command = self._command()
        return None if command is None else lambda: _printed(command)

    @property
    def token_program(self) -> str | None:
        """The first word of the token command: the others may hold secrets."""
        return None if self.token_command is None else shlex.split(self.token_command)[0]

    def _command(self) -> list[str] | None:
        if self.token_command is not None:
            return shlex.split(self.token_command)
        if self.audience is None:
            return None
        command = ["gcloud", "auth", "print-identity-token", f"--audiences={self.audience}"]
        if self.impersonate is not None:
            command += [f"--impersonate-service-account={self.impersonate}", "--include-email"]
        return command


@dataclass(slots=True)
class Profiles:
    """All profiles. `default`: the name of the one that counts where nothing else is named."""

    default: str | None = None
    by_name: dict[str, Profile] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Self:
        """Read the file; none is an empty one.

        Raises:
            ProfileError: it is spoilt.
        """
        file = path()
        try:
            documents = core_yaml.documents(file.read_text(encoding="utf-8"))
            content = documents[0] if documents and documents[0] is not None else {}
            by_name = {name: Profile(**_fields(entry)) for name, entry in content.get("profiles", {}).items()}
            default = content.get("default")
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except core_yaml.RepeatedKey as error:
            raise ProfileError(f"cannot use {file} ({error.problem} comes twice): leave one out") from error
        except (
            *(OSError, ValueError, TypeError, AttributeError),
            *(yaml.YAMLError, RecursionError, ProfileError),
        ) as error:
            problem = _problem(error)
            raise ProfileError(
                f"cannot use {file} ({problem}): mend it, or delete it and log in again"
            ) from error
        return cls(None if default is None else str(default), by_name)

    def save(self) -> None:
        """Write the file.

        Raises:
            ProfileError: it can't be written.
        """
        file = path()
        shown = {
            name: {key: value for key, value in asdict(profile).items() if value not in (None, False)}
            for name, profile in self.by_name.items()
        }
        content = core_yaml.dump({"default": self.default, "profiles": shown})
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as new:
                new.write(content)
            Path(new.name).replace(file)
        except OSError as error:
            raise ProfileError(
                f"cannot write {file} ({error.strerror}): let JENNAH_CONFIG name another"
            ) from error

    def find(self, name: str) -> Profile:
        """The profile of this name.

        Raises:
            ProfileError: there is none.
        """
        if name not in self.by_name:
            known = f"there are {', '.join(self.by_name)}" if self.by_name else "there is none yet"
            raise ProfileError(f"there is no profile {name!r}: {known}; 'jennah login' makes one")
        return self.by_name[name]


def is_for_a_login() -> bool:
    """Whether this process was started to get a token for a profile."""
    return bool(os.environ.get(_LOGINS))


def path() -> Path:
    """Where the file is: JENNAH_CONFIG, or the folder that the system has for settings."""
    return Path(os.environ.get("JENNAH_CONFIG") or Path(typer.get_app_dir("jennah")) / "config.yaml")


def _fields(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not all(
        isinstance(value, bool if name == "insecure" else str) for name, value in entry.items()
    ):
        raise TypeError("a profile is a mapping of texts, but for 'insecure: true'")
    return entry


def _problem(error: Exception) -> str:
    """Without the lines that YAML's own errors show: a token command may hold secrets."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def _printed(command: list[str]) -> str:
    """What a command prints. Whatever it says on stderr stands there: it may ask for a login."""
    # Not the words themselves: they may hold secrets, and the environment goes to whatever is started.
    login = hashlib.sha256(shlex.join(command).encode(errors="surrogateescape")).hexdigest()[:16]
    waiting = os.environ.get(_LOGINS, "").split()
    if login in waiting:
        raise ProfileError(
            f"{command[0]} asks for the token that it should give: let the profile's token command name "
            "another program, or another profile"
        )
    environment = os.environ | {_LOGINS: " ".join([*waiting, login])}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    except (OSError, ValueError) as error:
        step = "install the Google Cloud CLI" if command[0] == "gcloud" else "'jennah login' sets another"
        raise LoginFailed(f"cannot run {command[0]} for a token: {step}") from error
    if done.returncode != 0:
        step = "run 'gcloud auth login'" if command[0] == "gcloud" else "'jennah login' sets another"
        raise LoginFailed(f"{command[0]} gave no token (exit code {done.returncode}): {step}")
    return done.stdout.strip()
