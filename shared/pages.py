"""Page tokens: where a listing stands, opaque, and bound to the query and the tenant that it came from.

Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import json

from shared.errors import InvalidArgument


def encode_token(position: list[str], *, query: tuple[str | None, ...]) -> str:
    """A token for the page after `position`, good for `query` only."""
    raw = json.dumps([_fingerprint(query), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_token(token: str, *, query: tuple[str | None, ...], size: int) -> list[str]:
    """The position, of `size` texts, that the token stands for.

    Raises:
        InvalidArgument: it is none of ours, or from another query.
    """
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        fields = None
    if (
        not isinstance(fields, list)
        or len(fields) != size + 1
        # Whoever knows how they are made can make one: what stands in it goes on to the database.
        or not all(isinstance(field, str) and field.isprintable() for field in fields)
    ):
        raise InvalidArgument.of_field("page_token", "is not a token of this API")
    fingerprint, *position = fields
    if fingerprint != _fingerprint(query):
        raise InvalidArgument.of_field("page_token", "belongs to another query")
    return position


def _fingerprint(query: tuple[str | None, ...]) -> str:
    return hashlib.sha256(json.dumps(query).encode()).hexdigest()[:16]
