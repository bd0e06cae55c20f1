"""What others do to a world at the worst moment: tenants, operators, and whoever may publish to a topic."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from math import inf

from google.cloud.spanner_v1 import KeySet

from shared.batch import our_labels
from shared.messages import JobMessage
from shared.model import JobKey
from tests.simulation.faults import Fault, Site
from tests.simulation.platform import SETTINGS, Platform, notification
from tests.simulation.world import World

_LONGEST_PAUSE = 600.0
# In so many worlds nobody cancels a job that Batch keeps queued: it is for reconciliation to give it up.
_SHARE_SPARED = 0.8
# A few orphans, sometimes so many that the database or the deployment is likelier to be wrong.
_ORPHANS, _SHARE_MANY, _MANY = (1, 1, 2), 0.3, 25
# For how long many run, and how far an orphan's attempt is from that of the job whose name it bears.
_STRAY, _FAR = 5 * 3600.0, 100
_SHARE_FOREIGN, _FOREIGN = 0.3, f"{SETTINGS.batch_parent}/jobs/foreign"


class Meddler:
    """Acts out the faults that are others' doing.

    Args:
        world: where.
        platform: of whom.
        cancel: lets a job's tenant ask for its cancel.
        leave: lets a tenant ask for its own deletion, after so many seconds.
    """

    def __init__(
        self,
        world: World,
        platform: Platform,
        *,
        cancel: Callable[[JobKey], None],
        leave: Callable[[str, float], None],
    ) -> None:
        self._world = world
        self._platform = platform
        self._cancel = cancel
        self._leave = leave
        self._spares = world.rng.random() < _SHARE_SPARED

    def race(self, fault: Fault) -> bool:
        """Do it beside a process that crosses a boundary; whether there was anything to do it to."""
        key = self._some_job(live=fault is Fault.CANCEL_RACES)
        if key is None:
            return False
        match fault:
            case Fault.CANCEL_RACES:
                self._cancel(key)
            case Fault.TENANT_LEAVES:
                if key.tenant_id in self._platform.judge.leaving:
                    return False
                self._leave(key.tenant_id, 0.0)
            case _:
                self._delete(key.tenant_id)
        return True

    def meddle(self, fault: Fault, site: Site) -> bool:
        """Do it beside a delivery; whether there was anything to do it to."""
        platform, rng = self._platform, self._world.rng
        match fault:
            case Fault.POISON if site is Site.TICK:
                platform.ticks_topic.publish(b"", {}, genuine=False, dated=False)
            case Fault.POISON:
                topic = platform.jobs_topic if rng.random() < 0.5 else platform.events_topic
                topic.publish(b"\xff not JSON", {"JobName": "jobs/of-somebody-else"}, genuine=False)
            case Fault.FORGED if site is Site.TICK:
                platform.ticks_topic.publish(b"now", {}, genuine=False)
            case Fault.FORGED:
                return self._forge()
            case Fault.ORPHANS:
                many = rng.random() < _SHARE_MANY
                self._strand(_MANY if many else rng.choice(_ORPHANS), for_ever=not many)
            case Fault.PAUSED:
                if platform.judge.paused_from < inf:
                    return False
                platform.pause(paused=True)
                self._world.at(rng.random() * _LONGEST_PAUSE, lambda: platform.pause(paused=False))
            case _:
                return False
        return True

    def _some_job(self, *, live: bool = False) -> JobKey | None:
        judge = self._platform.judge
        keys = [
            key
            for key, row in judge.rows.items()
            if not live
            or (row["CompletedAt"] is None and not (self._spares and self._stuck(key, row["Attempt"])))
        ]
        return keys[int(self._world.rng.random() * len(keys))] if keys else None

    def _stuck(self, key: JobKey, attempt: int) -> bool:
        return any(job.stuck for job in self._platform.judge.truths(key, attempt))

    def _runs(self, key: JobKey) -> bool:
        row = self._platform.judge.rows.get(key)
        return row is not None and any(
            job.live and job.started is not None and not job.lost
            for job in self._platform.judge.truths(key, row["Attempt"])
        )

    def _delete(self, tenant: str) -> None:
        """The tenant's rows go all at once, as when an operator deletes them."""
        self._platform.judge.deleted.add(tenant)
        process, self._world.process = self._world.process, None
        with self._platform.store.batch() as batch:
            batch.delete("Tenants", KeySet(keys=[[tenant]]))
        self._world.process = process

    def _strand(self, count: int, *, for_ever: bool) -> None:
        """Let jobs run in Batch of which no row speaks, as where an older database was restored.

        Seldom, a foreign one bears our label too. Those that don't run for ever end after five hours.
        """
        platform, rng = self._platform, self._world.rng
        until = None if for_ever else self._world.time + _STRAY
        rows = [(key, row["Attempt"] + _FAR) for key, row in platform.judge.rows.items()]
        for _ in range(count):
            key, attempt = self._nobody(), 1
            if rows and for_ever and rng.random() < 0.5:
                key, attempt = rows[int(rng.random() * len(rows))]
            name = platform.judge.name(key, attempt)
            if name not in platform.batch.jobs:
                platform.batch.strand(name, our_labels(key, attempt, SETTINGS), until=until)
        if rng.random() < _SHARE_FOREIGN:
            key = self._nobody()
            name = platform.judge.name(key, 1) if rng.random() < 0.5 else _FOREIGN
            if name not in platform.batch.jobs:
                platform.batch.strand(name, our_labels(key, 2, SETTINGS), until=until, foreign=True)
        platform.plan_tick()

    def _nobody(self) -> JobKey:
        tenant, job = (uuid.UUID(int=self._world.rng.getrandbits(128), version=4) for _ in range(2))
        key = JobKey(str(tenant), str(job))
        self._platform.judge.gone.add(key)
        return key

    def _forge(self) -> bool:
        """Somebody who may publish to Batch's topic lies; a message of ours is about another attempt."""
        platform, rng = self._platform, self._world.rng
        judge = platform.judge
        key = self._some_job()
        if key is None:
            return False
        # What the container of a cancelled job says while it is being stopped is likeliest to be believed.
        stopped = [key for key in judge.final_at if self._runs(key)]
        if stopped and rng.random() < 0.5:
            key = stopped[int(rng.random() * len(stopped))]
        row = judge.rows[key]
        attempt = max(1, row["Attempt"] + int(rng.random() * 3) - 1)
        state = rng.choice(("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "NEW_STATE"))
        name, uid = judge.name(key, attempt), "forged"
        # A container knows its uid while it runs, and for ever.
        ran = [job for job in judge.truths(key, min(attempt, row["Attempt"])) if job.started is not None]
        if ran and rng.random() < 0.5:
            name, uid = ran[-1].name, ran[-1].uid
        if rng.random() < 0.3:
            platform.jobs_topic.publish(JobMessage(key, attempt).encode(), {}, genuine=False)
        else:
            judge.said.add((uid, state))
            platform.events_topic.publish(b"", notification(name, uid, state), genuine=False)
        return True
