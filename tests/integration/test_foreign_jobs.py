"""Whether a job is another's or nobody's can't be told from the time of an answer either."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_server import BatchServer
from shared.errors import NotFound
from tests.integration.conftest import make_platform
from tests.integration.wire import Wire


@pytest.mark.parametrize("use", ["get", "transitions", "cancel", "delete", "retry"])
def test_foreign_and_missing_take_the_same_reads(
    wired: Database, wire: Wire, batch_server: BatchServer, use: str
) -> None:
    platform = make_platform(wired, batch_server)
    options: dict[str, Any] = {"transitions": {"page_size": 1, "page_token": None}}.get(use, {})
    options |= {"idempotency_key": None} if use == "retry" else {}
    foreign = platform.submit("true").job_id
    with wired.batch() as batch:
        batch.insert("Tenants", ["TenantId"], [["somebody-else"]])
    taken = []
    for job_id in (foreign, str(uuid.uuid4())):
        wire.taken()
        with pytest.raises(NotFound):
            getattr(platform.jobs, use)("somebody-else", job_id, **options)
        taken.append(wire.taken())
    assert taken[0] == taken[1] != {}
