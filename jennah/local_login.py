"""The local cloud of the project around the current folder, and the tokens of its test issuer."""

from __future__ import annotations

import json
import os
import shlex
import stat
import urllib.error
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from jennah.endpoint import check_url, is_loopback
from jennah.local.tokens import fetch_token
from jennah.output import MISUSED, UNREACHABLE, CommandFailed

DEFAULT_EMAIL = "you@example.com"
_ELSEWHERE = "name the server with --profile or --url, or work in another folder"


def known_url() -> str | None:
    """Where the local cloud is; None if none is known here.

    Raises:
        CommandFailed: the file that tells can't be read.
    """
    return _local_cloud().get("JENNAH_URL")


def test_token(email: str, server: str) -> str:
    """Get an ID token from the local cloud's test issuer.

    Args:
        email: whom it is for.
        server: the server that it is for.

    Raises:
        CommandFailed: no such issuer is known here, it refused, or it can't be reached.
    """
    issuer, audience = _issuer(server)
    if not issuer or not audience:
        raise CommandFailed(
            "no test issuer is known here: run 'make up' in this project, or set JENNAH_ISSUER_URL and "
            "JENNAH_AUDIENCE",
            UNREACHABLE,
        )
    try:
        check_url(issuer)
    except ValueError as error:
        raise CommandFailed(f"JENNAH_ISSUER_URL: {error}", MISUSED) from error
    try:
        return fetch_token(issuer, email, audience)
    except urllib.error.HTTPError as error:
        raise CommandFailed(f"the test issuer refused: {_description(error)}", MISUSED) from error
    except (OSError, ValueError) as error:
        raise CommandFailed(
            f"cannot reach the test issuer at {issuer}: start the local cloud with 'make up', "
            "or source .local/env again",
            UNREACHABLE,
        ) from error


def next_step(server: str) -> str:
    """How to get to a local cloud: to this project's, if it runs elsewhere than at `server`."""
    known = None
    with suppress(CommandFailed):  # one thing went wrong already
        known = known_url()
    if known and is_loopback(server) and not _is_local_cloud(server):
        return f"unset JENNAH_URL, as this project's .local/env names {known}"
    return "start the local cloud with 'make up'"


def _description(error: urllib.error.HTTPError) -> str:
    """Why an OAuth server refused (RFC 6749, section 5.2)."""
    try:
        return str(json.load(error)["error_description"])
    except (KeyError, TypeError, ValueError):
        return f"HTTP {error.code}"


def _is_local_cloud(url: str) -> bool:
    """Whether the server is the one that `.local/env` names."""
    return url.rstrip("/") == _local_cloud().get("JENNAH_URL", "").rstrip("/")


def has_test_issuer(url: str) -> bool:
    """Whether the test issuer that is known here is that server's own."""
    return is_loopback(url) and (_is_local_cloud(url) or "JENNAH_ISSUER_URL" in os.environ)


def _issuer(server: str) -> tuple[str | None, str | None]:
    """The test issuer's URL and audience.

    For the server of `.local/env` that file counts: what a shell sourced from it earlier is stale, because
    the issuer's port changes at each start.
    """
    sources: list[Mapping[str, str]] = [os.environ, _local_cloud()]
    if _is_local_cloud(server):
        sources.reverse()
    source = next((source for source in sources if source.get("JENNAH_ISSUER_URL")), os.environ)
    return source.get("JENNAH_ISSUER_URL"), source.get("JENNAH_AUDIENCE")


def _local_cloud() -> Mapping[str, str]:
    """What `make up` wrote for the project around the current folder; empty when there is nothing.

    Raises:
        CommandFailed: the file can't be read, or somebody else may have written it.
    """
    try:
        here = Path.cwd()
    except OSError as error:
        raise CommandFailed(
            f"the current folder can't be used ({error.strerror}): change to one that exists", MISUSED
        ) from error
    for folder in (here, *here.parents):
        file = folder / ".local" / "env"
        try:
            settings = _settings(file)
        except OSError as error:
            raise CommandFailed(f"cannot read {file} ({error.strerror}): {_ELSEWHERE}", MISUSED) from error
        except ValueError as error:
            raise CommandFailed(
                f"cannot read {file} ({error}): delete it, and start the local cloud with 'make up'", MISUSED
            ) from error
        if settings is not None:
            # Not even a file of one's own may send a token off this machine.
            return settings if is_loopback(settings.get("JENNAH_URL", "")) else {}
    return {}


def _settings(file: Path) -> Mapping[str, str] | None:
    """What the file says; None where there is no such file.

    Raises:
        OSError, ValueError: it can't be read.
        CommandFailed: somebody else may have written it.
    """
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as opened:
        if problem := distrust(os.fstat(opened.fileno())):
            raise CommandFailed(f"{file} is not believed, as {problem}: {_ELSEWHERE}", MISUSED)
        words = shlex.split(opened.read())
    return dict(word.split("=", 1) for word in words if "=" in word)


def distrust(found: os.stat_result) -> str | None:
    """Why a file may be somebody else's words; None where only we and root can have written it.

    A file that a stranger put into /tmp could lead every command below it, and its token, to him.
    """
    if not hasattr(os, "geteuid"):  # Windows keeps strangers out by other means
        return None
    if found.st_uid not in {os.geteuid(), 0}:
        return "it belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it ('chmod go-w' ends that)"
    return None
