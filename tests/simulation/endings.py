"""The judge of what is deleted, retried, and submitted together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from shared.model import JobKey
from tests.simulation.judge import Judge
from tests.simulation.pubsub import SKEW
from tests.simulation.store import Change
from tests.simulation.store_schema import load
from tests.simulation.world import Violation, World

_COLUMNS = {name: tuple(table.columns) for name, table in load().items()}
_FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
# For so long after its deletion began, a process may take a tenant's jobs: its cache, and its own timeout.
_GRACE = 30.0 + 60.0
_TICKS = 5 * 60.0
# For so long a commit may be held up on its way: the life of who sent it, and what the wire does to it.
_COMES_BACK = 60.0 + 120.0
_SAME = ("ImageUri", "Commands", "MaxRetries")


class Endings:
    """Looks at every commit before `Judge` does, while the judge still has the rows as they were.

    Attributes:
        unwanted: jobs that their tenant asked to delete.
    """

    def __init__(self, world: World, judge: Judge) -> None:
        self._world = world
        self._judge = judge
        self.unwanted: set[JobKey] = set()

    def committed(self, changes: Sequence[Change]) -> None:
        """Look at what a commit changed."""
        made = {
            JobKey(*change.key): _named(change.table, change.after)
            for change in changes
            if change.table == "Jobs" and change.before is None and change.after is not None
        }
        for key, row in made.items():
            self._made(key, row, made)
        removed = [JobKey(*change.key) for change in changes if change.table == "Jobs" and not change.after]
        for change in changes:
            if change.table == "Tenants":
                self._tenant(str(change.key[0]), change, removed)
        for key in removed:
            if key.tenant_id not in self._judge.deleted:
                self._removed(key, self._judge.rows[key])

    def all_stopped(self) -> None:
        """Soon after the last fault, no job lives of a tenant that has been leaving for a while."""
        for key, row in self._judge.rows.items():
            since = self._judge.leaving.get(key.tenant_id, self._world.time)
            if row["Status"] not in _FINAL and self._world.time - since > _GRACE + _TICKS:
                self._fail(key.tenant_id, f"it is leaving, and its job {key.job_id} lives on")

    def end(self) -> None:
        """Look once more, when nothing is left to happen."""
        for tenant_id in self._judge.leaving:
            self._fail(tenant_id, "it is being deleted for ever")
        for key in self.unwanted & self._judge.rows.keys():
            self._fail(key.tenant_id, f"job {key.job_id} was said to be deleted, and is there")

    def _made(self, key: JobKey, row: Mapping[str, Any], together: Mapping[JobKey, object]) -> None:
        if key in self._judge.gone:
            self._fail(key.tenant_id, f"job {key.job_id} was deleted, and is there again")
        spec = row["Spec"]
        for sibling in spec["siblings"]:
            if JobKey(key.tenant_id, sibling) not in together:
                self._fail(key.tenant_id, f"job {key.job_id} came without its sibling {sibling}")
        if spec["origin_job_id"] is None:
            return
        origin_key = JobKey(key.tenant_id, spec["origin_job_id"])
        origin = self._judge.rows.get(origin_key)
        if origin is None:
            if origin_key not in self._judge.gone:
                self._fail(key.tenant_id, f"job {key.job_id} does again what there never was")
        elif origin["Status"] not in {"FAILED", "CANCELLED"}:
            self._fail(key.tenant_id, f"job {key.job_id} does again what is {origin['Status']}")
        elif any(row[name] != origin[name] for name in _SAME):
            self._fail(key.tenant_id, f"job {key.job_id} does something else than its origin")

    def _tenant(self, tenant_id: str, change: Change, removed: Sequence[JobKey]) -> None:
        if change.after is not None:
            if change.before is not None and _named("Tenants", change.after)["DeletedAt"] is not None:
                self._judge.leaving.setdefault(tenant_id, self._world.time)
        elif tenant_id in self._judge.deleted:  # by force
            self._judge.leaving.pop(tenant_id, None)
        else:
            self._require_grace(tenant_id)
            if any(key.tenant_id == tenant_id for key in removed):
                self._fail(tenant_id, "it was deleted, and had jobs")
            del self._judge.leaving[tenant_id]
            self._judge.deleted.add(tenant_id)

    def _removed(self, key: JobKey, row: Mapping[str, Any]) -> None:
        """A job was deleted by its tenant's wish, or with its tenant."""
        if key not in self.unwanted:
            self._require_grace(key.tenant_id)
        if row["Status"] not in _FINAL or row["NextCheckAt"] is not None:
            self._fail(key.tenant_id, f"job {key.job_id} was deleted, {row['Status']} and owed a check")
        if (self._world.true_now() - row["CreatedAt"]).total_seconds() < _COMES_BACK:
            self._fail(key.tenant_id, f"job {key.job_id} was deleted, and its submission may come once more")
        self._judge.gone.add(key)
        self._judge.accepted.pop(key, None)
        if row["IdempotencyKey"] is not None:  # it is free again
            of = key.tenant_id, row["IdempotencyKey"]
            self._judge._stored[of] -= 1
            self._judge._keys.pop(of, None)

    def _require_grace(self, tenant_id: str) -> None:
        since = self._judge.leaving.get(tenant_id)
        if since is None:
            self._fail(tenant_id, "nobody asked for the deletion")
        if self._world.time - since < _GRACE - 2 * SKEW:
            self._fail(tenant_id, "it may still be given a job, and is being emptied")

    def _fail(self, tenant_id: str, what: str) -> NoReturn:
        raise Violation(f"tenant {tenant_id}: {what}")


def _named(table: str, row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(_COLUMNS[table], row, strict=True))
