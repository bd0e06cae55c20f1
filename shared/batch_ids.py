"""The id of the Batch job of one attempt: derived, so that any event finds its row by key.

`j` + base32(tenant id) + base32(job id) + `-` + attempt, lower case: at most 63 characters of
`[a-z]([a-z0-9-]*[a-z0-9])?`, which is what Batch allows. Standard library only.
"""

from __future__ import annotations

import base64
import re
import uuid
from functools import lru_cache

from shared.model import JobKey, is_uuid

LAST_ATTEMPT = 999_999_999
"""More digits would not fit into Batch's 63 characters."""

_SHAPE = re.compile(r"j([a-z2-7]{26})([a-z2-7]{26})-([1-9][0-9]{0,8})")


# Every event of an attempt asks for it, some more than once.
@lru_cache(maxsize=1024)
def batch_id(key: JobKey, attempt: int) -> str:
    """The Batch job id of this attempt.

    Raises:
        ValueError: an id is no canonical UUID, or the attempt is not in 1 … 999,999,999.
    """
    if not 1 <= attempt <= LAST_ATTEMPT:
        raise ValueError(f"no Batch id for attempt {attempt}")
    return f"j{_base32(key.tenant_id)}{_base32(key.job_id)}-{attempt}"


def parse_batch_id(text: str) -> tuple[JobKey, int]:
    """The job and the attempt that a Batch job id, or the last segment of a resource name, stands for.

    Raises:
        ValueError: `batch_id` never makes such an id.
    """
    shape = _SHAPE.fullmatch(text.rsplit("/", 1)[-1])
    if shape is None:
        raise ValueError("not a Batch job of this platform")
    key, attempt = JobKey(_uuid(shape[1]), _uuid(shape[2])), int(shape[3])
    # 26 characters hold two bits more than a UUID: only one of the four spellings is ours.
    if batch_id(key, attempt) != shape[0]:
        raise ValueError("not a Batch job of this platform")
    return key, attempt


def _base32(text: str) -> str:
    if not is_uuid(text):
        raise ValueError(f"{text!r} is not a UUID in canonical form")
    return base64.b32encode(uuid.UUID(text).bytes).decode().rstrip("=").lower()


def _uuid(text: str) -> str:
    return str(uuid.UUID(bytes=base64.b32decode(text.upper() + "======")))
