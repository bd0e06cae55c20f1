"""Whether Google Cloud, or the emulator that the environment names, can be asked."""

from __future__ import annotations

import socket

_CONNECT_SECONDS = 2.0


class Unreachable(Exception):
    """The service does not answer, or does not let us in. The message is one sentence with the remedy."""


def no_credentials(error: Exception) -> Unreachable:
    """What becomes of an error that is about who asks."""
    return Unreachable(
        f"Google credentials are missing or refused ({one_line(error)}): run "
        "`gcloud auth application-default login`."
    )


def one_line(error: Exception) -> str:
    """An error's text, which may have many lines, within a sentence."""
    return " ".join(str(error).split()).rstrip(".")


def is_about_credentials(error: Exception) -> bool:
    """Whether gRPC wrapped what google.auth raised during a call."""
    return "metadata from plugin" in str(error)


def unanswered(variable: str, host: str) -> str | None:
    """The sentence for an operator whose emulator at `host` does not answer; None where it does.

    Google's clients would wait for it, and say nothing of the variable that names it.
    """
    name, _, port = host.rpartition(":")
    try:
        with socket.create_connection((name, int(port)), _CONNECT_SECONDS):
            return None
    except (OSError, ValueError, OverflowError):
        return (
            f"Nothing answers at {variable}={host}: start the local cloud with `make up`, or unset the "
            "variable to reach Google Cloud."
        )
