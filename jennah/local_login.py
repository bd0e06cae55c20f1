"""The local cloud of the project around the current folder, and the tokens of its test issuer."""

from __future__ import annotations

import json
import os
import shlex
import urllib.error
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jennah.connection import check_url, is_loopback
from jennah.local.tokens import fetch_token
from jennah.output import MISUSED, UNREACHABLE, CommandFailed

DEFAULT_EMAIL = "you@example.com"


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


@cache
def _local_cloud() -> Mapping[str, str]:
    """What `make up` wrote for the project around the current folder; empty when there is nothing.

    Raises:
        CommandFailed: the file can't be read.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        file = folder / ".local" / "env"
        if file.is_file():
            try:
                words = shlex.split(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise CommandFailed(
                    f"cannot read {file} ({error}): delete it, and start the local cloud with 'make up'",
                    MISUSED,
                ) from error
            settings = dict(word.split("=", 1) for word in words if "=" in word)
            # Nobody else's file of that name may send a token off this machine.
            return settings if is_loopback(settings.get("JENNAH_URL", "")) else {}
    return {}
