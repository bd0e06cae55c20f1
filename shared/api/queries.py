"""The parameters and headers that methods take."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from shared.api.shapes import Shape
from shared.api.texts import Matches
from shared.api.times import Instant
from shared.errors import InvalidArgument
from shared.model import JobStatus

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50
MAX_LOG_PAGE_SIZE = 1000
MAX_IDEMPOTENCY_KEY = 255
IDEMPOTENCY_KEY = "[ -+.-~-]+"

_DIGITS = re.compile(r"[0-9]{1,4}")


def _number(value: object) -> object:
    # A query is text. More digits than any limit has are no number either.
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError(f"must be a number from 1 to {MAX_PAGE_SIZE}")
        return int(value)
    return value


PageSize = Annotated[
    int,
    Field(ge=1, le=MAX_PAGE_SIZE, description="How many entries a page holds at most."),
    BeforeValidator(_number),
]
PageToken = Annotated[
    str | None,
    Field(description="The `next_page_token` of the page before; it holds for the same query only."),
]


EVERY_TENANT = "-"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class NoQuery(Shape):
    """No parameters."""


class PageQuery(Shape):
    """Which page of a listing."""

    page_size: PageSize = DEFAULT_PAGE_SIZE
    page_token: PageToken = None


class TenantQuery(Shape):
    """Whose job."""

    tenant_id: Annotated[
        Annotated[str, Matches(_UUID, "must be the id of a tenant")] | None,
        Field(description="For operators: whose job it is."),
    ] = None


class TransitionsQuery(PageQuery, TenantQuery):
    """Whose job, and which page of its audit trail."""


class JobsQuery(PageQuery):
    """Which jobs, and which page of them."""

    status: Annotated[JobStatus | None, Field(description="Only jobs in this status.")] = None
    created_after: Annotated[
        Instant | None, Field(description="Only jobs that are younger; RFC 3339, with + written as %2B.")
    ] = None
    tenant_id: Annotated[
        Annotated[str, Matches(f"{_UUID}|{EVERY_TENANT}", "must be the id of a tenant, or - for all of them")]
        | None,
        Field(
            description="For operators: whose jobs. `-` is everybody's, tenant after tenant; "
            "pages before the last may then be short, or empty."
        ),
    ] = None


def _whole(value: object) -> object:
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("must be a whole number of at most 4 digits")
        return int(value)
    return value


def _flag(value: object) -> object:
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise ValueError("must be true or false")
        return value == "true"
    return value


_LogPageSize = Annotated[
    int,
    Field(ge=1, le=MAX_LOG_PAGE_SIZE, description="How many lines a page holds at most."),
    BeforeValidator(_whole),
]


class LogsQuery(Shape):
    """Which lines of a job's log."""

    attempt: Annotated[
        int | None,
        Field(ge=1, le=9999, description="Which attempt; the token's, or else the current one."),
        BeforeValidator(_whole),
    ] = None
    task: Annotated[
        int, Field(ge=0, le=9999, description="The index of the task."), BeforeValidator(_whole)
    ] = 0
    page_size: _LogPageSize = 100
    page_token: PageToken = None
    follow: Annotated[
        bool,
        Field(description="`true`: a stream of events, of every line from the token on as it comes."),
        BeforeValidator(_flag),
    ] = False


def idempotency_key(text: str | None) -> str | None:
    """The value of an `Idempotency-Key` header, checked.

    Raises:
        InvalidArgument: it is too long, or not printable ASCII: what is not ASCII has no agreed meaning in a
            header. Or there is a comma in it: as such two headers of one name arrive (RFC 9110 §5.3).
    """
    if text is None or (len(text) <= MAX_IDEMPOTENCY_KEY and re.fullmatch(IDEMPOTENCY_KEY, text)):
        return text
    raise InvalidArgument.of_field(
        "Idempotency-Key",
        f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters without a comma, and come once",
    )
