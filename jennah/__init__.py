"""What people run: the command line, the HTTP client, the operator's tools and the local cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jennah.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """Load the client when it is first asked for: the command line starts without it."""
    if name == "Client":
        from jennah.client import Client  # noqa: PLC0415 - lazily, on purpose

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
