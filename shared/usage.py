"""What a tenant has open, as the database says."""

from __future__ import annotations

from google.cloud.spanner_v1 import param_types
from google.cloud.spanner_v1.database import Database

from shared.config import Limits
from shared.limits import LEAST_CPU_MILLI, Usage, cpu_milli
from shared.model import JobStatus
from shared.resources import Resources
from shared.rows import READ_TIMEOUT, Reads
from shared.spec import JobSpec

_LIVE = ", ".join(f"'{status.value}'" for status in JobStatus if not status.final)
# The few fields of the specification that say how much it is: the rest may be large.
_SIZES = (
    "SELECT JSON_QUERY(Spec, '$.resources'), JSON_VALUE(Spec, '$.profile'), "  # noqa: S608 - of constants
    "JSON_VALUE(Spec, '$.machine_type'), JSON_VALUE(Spec, '$.task_count'), JSON_VALUE(Spec, '$.parallelism') "
    "FROM Jobs@{FORCE_INDEX=JobsByStatus} "
    f"WHERE TenantId = @tenant AND Status IN ({_LIVE}) LIMIT @limit"
)


class OpenJobs:
    """Counts what a tenant has open, as far as its limits need it: 1 RPC, with vCPUs 2.

    Whatever a tenant has stored, no more is read than what shows that a limit is reached.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads = Reads(database)

    def __call__(self, tenant_id: str, limits: Limits) -> Usage:
        """What it has open; where a limit is passed, perhaps less than all of it."""
        jobs = 0
        if limits.open_jobs is not None:
            jobs = len(self._reads.live_keys(tenant_id, limit=limits.open_jobs + 1))
        if limits.vcpu_in_flight is None:
            return Usage(jobs)
        return Usage(jobs, self._cpu_milli(tenant_id, 1000 * limits.vcpu_in_flight))

    def _cpu_milli(self, tenant_id: str, limit: int) -> int:
        total = 0
        with self._database.snapshot() as snapshot:
            rows = snapshot.execute_sql(
                _SIZES,
                params={"tenant": tenant_id, "limit": limit // LEAST_CPU_MILLI + 1},
                param_types={"tenant": param_types.STRING, "limit": param_types.INT64},
                timeout=READ_TIMEOUT,
            )
            for resources, profile, machine_type, task_count, parallelism in rows:
                total += cpu_milli(
                    JobSpec(
                        resources=Resources(cpu_milli=resources["cpu_milli"], memory_mib=0)
                        if resources
                        else None,
                        profile=profile,
                        machine_type=machine_type,
                        task_count=int(task_count or 1),
                        parallelism=int(parallelism) if parallelism else None,
                    )
                )
                if total > limit:
                    break
        return total
