"""What a tenant has open, as the database says."""

from __future__ import annotations

from typing import Any

from google.cloud.spanner_v1 import param_types
from google.cloud.spanner_v1.database import Database

from shared.config import Limits
from shared.limits import LEAST_CPU_MILLI, Usage, cpu_milli
from shared.model import JobStatus
from shared.resources import Resources
from shared.rows import READ_TIMEOUT
from shared.spec import JobSpec

_LIVE = ", ".join(f"'{status.value}'" for status in JobStatus if not status.final)
_FOUND = (
    f"FROM Jobs@{{FORCE_INDEX=JobsByStatus}} WHERE TenantId = @tenant AND Status IN ({_LIVE}) LIMIT @limit"
)
_COUNT = f"SELECT COUNT(*) FROM (SELECT 1 {_FOUND})"  # noqa: S608 - of constants
# The few fields of the specification that say how much it is, and how many jobs are alike in them: to read
# jobs by the thousand would keep the interpreter from all other requests meanwhile.
_SIZES = (
    "SELECT cpu_milli, profile, machine_type, task_count, parallelism, COUNT(*) "  # noqa: S608 - of constants
    "FROM (SELECT "
    "JSON_VALUE(Spec, '$.resources.cpu_milli') AS cpu_milli, JSON_VALUE(Spec, '$.profile') AS profile, "
    "JSON_VALUE(Spec, '$.machine_type') AS machine_type, JSON_VALUE(Spec, '$.task_count') AS task_count, "
    f"JSON_VALUE(Spec, '$.parallelism') AS parallelism {_FOUND}) "
    "GROUP BY cpu_milli, profile, machine_type, task_count, parallelism"
)


class OpenJobs:
    """Counts what a tenant has open, as far as its limits need it: 1 RPC.

    Whatever a tenant has stored, no more is read than what shows that a limit is reached.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, tenant_id: str, limits: Limits) -> Usage:
        """What it has open; where a limit is passed, perhaps less than all of it."""
        enough = []  # so many jobs show that a limit is reached
        if limits.open_jobs is not None:
            enough.append(limits.open_jobs + 1)
        if limits.vcpu_in_flight is not None:
            enough.append(1000 * limits.vcpu_in_flight // LEAST_CPU_MILLI + 1)
        if limits.vcpu_in_flight is None:
            ((jobs,),) = self._rows(_COUNT, tenant_id, min(enough))
            return Usage(jobs)
        use = Usage()
        for milli, profile, machine_type, task_count, parallelism, jobs in self._rows(
            _SIZES, tenant_id, min(enough)
        ):
            spec = JobSpec(
                resources=Resources(cpu_milli=int(milli), memory_mib=0) if milli else None,
                profile=profile,
                machine_type=machine_type,
                task_count=int(task_count or 1),
                parallelism=int(parallelism) if parallelism else None,
            )
            use += Usage(jobs, jobs * cpu_milli(spec))
        return use

    def _rows(self, statement: str, tenant_id: str, limit: int) -> list[list[Any]]:
        with self._database.snapshot() as snapshot:
            return list(
                snapshot.execute_sql(
                    statement,
                    params={"tenant": tenant_id, "limit": limit},
                    param_types={"tenant": param_types.STRING, "limit": param_types.INT64},
                    timeout=READ_TIMEOUT,
                )
            )
