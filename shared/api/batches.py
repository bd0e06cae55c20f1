"""Several submissions in one request."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.api.shapes import Shape
from shared.api.spec import SubmitRequest

MAX_BATCH = 100


class BatchCreateRequest(Shape):
    """The body of POST /v1/jobs:batchCreate."""

    requests: Annotated[list[SubmitRequest], Field(min_length=1, max_length=MAX_BATCH)]
