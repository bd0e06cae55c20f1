"""Which server a command speaks to, and as whom; and what becomes of its errors."""

from __future__ import annotations

import json
import os
import shlex
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import typer

from jennah.client import ApiError, Client, ConnectionFailed
from jennah.connection import check_url, is_loopback
from jennah.local.tokens import fetch_token

REFUSED, MISUSED, UNREACHABLE = 1, 2, 3

_DEFAULT_URL = "http://127.0.0.1:8080"
_DEFAULT_EMAIL = "you@example.com"
QUICK, PATIENT = 5.0, 60.0
"""For how many seconds a request is repeated: while somebody waits for it; while a job is followed."""

_NEXT_STEPS = {
    401: "put a fresh ID token into JENNAH_TOKEN",
    403: "ask the operator to admit you",
    404: "'jennah list' shows your jobs",
}


class CommandFailed(typer.TyperException):
    """Ends the command with one sentence on stderr."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def connect(url: str | None, token: str | None, *, retry_seconds: float = QUICK) -> Iterator[Client]:
    """A client of the server that is meant, as the tenant that is meant.

    Args:
        url: None means the local cloud that runs for this project, or else the place where it would be.
        token: None gets one from the local cloud's test issuer, when the server is the local cloud's.

    Raises:
        CommandFailed: no token, or any error of the client within the block.
    """
    server = _server(url)
    with _one_sentence(server):
        check_url(server)
        if not token and _has_test_issuer(server):
            token = test_token(os.environ.get("JENNAH_EMAIL") or _DEFAULT_EMAIL, server)
        if not token:
            local = f"{_local_step(server)}, or " if is_loopback(server) else ""
            raise CommandFailed(
                f"no token for {server}: {local}set JENNAH_TOKEN to an ID token of your identity provider",
                UNREACHABLE,
            )
        with Client(server, token.strip(), retry_seconds=retry_seconds) as client:
            yield client


def test_token(email: str, url: str | None) -> str:
    """Get an ID token from the local cloud's test issuer.

    Args:
        email: whom it is for.
        url: the server that it is for; None means what JENNAH_URL names, or else the local cloud.

    Raises:
        CommandFailed: no such issuer is known here, it refused, or it can't be reached.
    """
    issuer, audience = _issuer(_server(url or os.environ.get("JENNAH_URL")))
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


@contextmanager
def _one_sentence(server: str) -> Iterator[None]:
    """Turn the client's errors into one sentence with the next step, and an exit code.

    Raises:
        CommandFailed: instead of ApiError, ConnectionFailed and ValueError.
    """
    try:
        yield
    except ConnectionFailed as error:
        step = f"{_local_step(server)}, or set JENNAH_URL to the server that you mean"
        raise CommandFailed(f"{error}: {step}", UNREACHABLE) from error
    except ApiError as error:
        code = _exit_code(error.status)
        step = _NEXT_STEPS.get(error.status, "try again in a moment" if code == UNREACHABLE else "")
        if error.status == 401 and _has_test_issuer(server):
            step = "unset JENNAH_TOKEN, or set it to what 'jennah token --email YOU' prints"
        message = error.message.rstrip(".")
        raise CommandFailed(f"{message}; {step}" if step else message, code) from error
    except ValueError as error:
        raise CommandFailed(str(error), MISUSED) from error


def _local_step(server: str) -> str:
    """How to get to a local cloud: to this project's, if it runs elsewhere than at `server`."""
    known = _local_cloud().get("JENNAH_URL")
    if known and is_loopback(server) and not _is_local_cloud(server):
        return f"unset JENNAH_URL, as this project's .local/env names {known}"
    return "start the local cloud with 'make up'"


def _description(error: urllib.error.HTTPError) -> str:
    """Why an OAuth server refused (RFC 6749, section 5.2)."""
    try:
        return str(json.load(error)["error_description"])
    except (KeyError, TypeError, ValueError):
        return f"HTTP {error.code}"


def _exit_code(status: int) -> int:
    if status in {400, 413}:
        return MISUSED
    return UNREACHABLE if status in {401, 403, 429} or status >= 500 else REFUSED


def _server(url: str | None) -> str:
    return url or _local_cloud().get("JENNAH_URL") or _DEFAULT_URL


def _is_local_cloud(url: str) -> bool:
    """Whether the server is the one that `.local/env` names."""
    return url.rstrip("/") == _local_cloud().get("JENNAH_URL", "").rstrip("/")


def _has_test_issuer(url: str) -> bool:
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
