"""What the API's answers have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Time = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "date-time", "description": "RFC 3339, UTC."}),
]
Number = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """Part of an answer. Every field is always there; one that has no value is null."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_serialization_defaults_required=True, defer_build=True
    )

    def shown(self) -> dict[str, Any]:
        """The JSON object, without fields that this answer leaves out."""
        return self.model_dump(mode="json", exclude_unset=True)


def shown_time(value: datetime | None) -> str | None:
    """RFC 3339, UTC, microseconds: what Spanner stores."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
