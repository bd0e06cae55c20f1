"""Jobs that are stored already, to measure beside them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from google.cloud.spanner_v1.database import Database

from shared.batch_ids import batch_id
from shared.model import JobKey
from shared.transitions import transition_id

_IN_A_COMMIT: Final = 20

_PARENT: Final = "projects/p/locations/us-central1"
_LIFE = (None, "PENDING", "SCHEDULED", "RUNNING", "COMPLETED")
_TIMES = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second) for second in range(4)]


def fill(database: Database, count: int, *, tenants: int = 10, own: str | None = None) -> None:
    """Insert `count` finished jobs of so many new tenants, with their histories and attempts.

    Half of them are of the tenant `own` instead, if one is named, which is there.
    The emulator takes 500 to 1,000 of them a second in commits of 20 jobs, and is slower with smaller and
    with larger ones.
    """
    ids = [str(uuid.uuid4()) for _ in range(tenants)]
    with database.batch() as batch:
        batch.insert("Tenants", ["TenantId", "CreatedAt"], [[tenant, _TIMES[0]] for tenant in ids])
    for start in range(0, count, _IN_A_COMMIT):
        number = start // _IN_A_COMMIT
        tenant = own if own and number % 2 else ids[number // (2 if own else 1) % tenants]
        keys = [JobKey(tenant, str(uuid.uuid4())) for _ in range(min(_IN_A_COMMIT, count - start))]
        names = [(f"{_PARENT}/jobs/{batch_id(key, 1)}", f"uid-{key.job_id}") for key in keys]
        with database.batch() as batch:
            batch.insert(
                "Jobs",
                (
                    *("TenantId", "JobId", "Status", "ImageUri", "Version", "BatchParent"),
                    *("CreatedAt", "ScheduledAt", "StartedAt", "CompletedAt", "UpdatedAt"),
                    *("GcpBatchJobName", "BatchUid"),
                ),
                [
                    (*key, "COMPLETED", "busybox", 4, _PARENT, *_TIMES, _TIMES[-1], *name)
                    for key, name in zip(keys, names, strict=True)
                ],
            )
            batch.insert(
                "JobStateTransitions",
                (
                    *("TenantId", "JobId", "TransitionId", "FromStatus", "ToStatus", "TransitionedAt"),
                    *("Reason", "Actor", "Attempt"),
                ),
                [
                    (
                        *key,
                        transition_id(n),
                        _LIFE[n - 1],
                        _LIFE[n],
                        _TIMES[n - 1],
                        "because",
                        "batch" if n > 1 else "tenant",
                        1,
                    )
                    for key in keys
                    for n in range(1, len(_LIFE))
                ],
            )
            batch.insert(
                "JobAttempts",
                ("TenantId", "JobId", "Attempt", "GcpBatchJobName", "BatchUid", "CreatedAt"),
                [(*key, 1, *name, _TIMES[1]) for key, name in zip(keys, names, strict=True)],
            )
