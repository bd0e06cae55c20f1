"""Whether an emulator that the environment names is there."""

from __future__ import annotations

import socket

_CONNECT_SECONDS = 2.0


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
