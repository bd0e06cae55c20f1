"""The real use cases on simulated ports: what `shared.wiring` does, for one simulated world."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from cloudevents.http import CloudEvent
from google.cloud.batch_v1 import BatchServiceClient
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared import messages
from shared.batch import BatchState
from shared.batch_client import BatchClient
from shared.callers import Admission
from shared.commits import Patience
from shared.config import Settings
from shared.dispatch import Dispatch
from shared.follow import Follower
from shared.jobs import Jobs, TenantGone
from shared.listing import FEW
from shared.messages import JobMessage
from shared.orphans import MOST_PAGES, Orphans
from shared.reconcile import Reconciliation
from shared.rows import Reads
from shared.switches import DISPATCH, Switches
from shared.tenant_deletion import TenantDeletion
from shared.tenants import CACHE_SECONDS, Tenants
from shared.transitions import Transitions
from tests.simulation.batch import BatchJob, SimulatedBatch
from tests.simulation.batch_service import BatchService
from tests.simulation.endings import Endings
from tests.simulation.faults import Fault, Site
from tests.simulation.judge import Judge
from tests.simulation.pubsub import SKEW, Topic
from tests.simulation.store import Change, Store
from tests.simulation.wire import Wire
from tests.simulation.world import Violation, World

SETTINGS = Settings(project="simulated", spanner_instance="simulated")
_TICK = SETTINGS.timing.tick.total_seconds()
_SWEEP = 3600.0
_PUBLISH_TIMEOUT = 5.0
# A tenant that leaves is mostly gone by then.
_LEAVES = 1200.0
# What a job of ours asks for. In a quarter of the worlds Batch sends every state all the same.
_NOTIFIED = frozenset({BatchState.RUNNING, BatchState.SUCCEEDED, BatchState.FAILED})


class Platform:
    """One deployment in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wire = Wire(world)
        self.store = Store(self.wire, world.true_now, self._committed)
        self.batch = SimulatedBatch(world, self._batch_notifies)
        self._client = BatchClient(
            cast("BatchServiceClient", BatchService(self.batch)),
            create_deadline=SETTINGS.timing.create_deadline,
            clock=world.clock,
        )
        self.judge = Judge(world, self.batch)
        self.endings = Endings(world, self.judge)
        self.batch.observer = self._created
        self.batch.creating = self.judge.creating
        self.batch.looking = self.judge.looked
        self.batch.unstopped = self.judge.unstopped
        self.batch.cancelling = self.judge.cancelling
        self.meddle: Callable[[Fault, Site], bool] = lambda _fault, _site: False
        self.tenants = Tenants(
            self.store,  # it stands in for the database
            Admission(everyone=True),
            clock=world.clock,
            patience=Patience(clock=world.clock, sleep=world.sleep, jitter=world.rng.random),
        )
        self._notified = _NOTIFIED if world.rng.random() < 0.75 else frozenset(BatchState)
        self._next_tick = math.inf
        self._wire_up()

    def _wire_up(self) -> None:
        world, store, batch = self.world, self.store, self._client
        self.reads = Reads(store)
        self.transitions = Transitions(
            store,
            timing=SETTINGS.timing,
            now=world.now,
            jitter=world.rng.random,
            patience=Patience(clock=world.clock, sleep=world.sleep, jitter=world.rng.random),
        )
        jitter = world.rng.random
        follower = Follower(
            transitions=self.transitions,
            reads=self.reads,
            batch=batch,
            publish=self.publish,
            settings=SETTINGS,
            now=world.now,
            jitter=jitter,
        )
        self.jobs = Jobs(
            transitions=self.transitions,
            reads=self.reads,
            publish=self.publish,
            batch_parent=SETTINGS.batch_parent,
            new_id=lambda: str(uuid.UUID(int=world.rng.getrandbits(128), version=4)),
        )
        self.dispatch = Dispatch(
            transitions=self.transitions,
            reads=self.reads,
            batch=batch,
            follower=follower,
            switches=Switches(store, now=world.now),
            settings=SETTINGS,
            now=world.now,
        )
        # Worlds are small: half of them list their jobs all the same, the others ask for each; and half of
        # them sweep page by page.
        listed = world.rng.random() < 0.5
        self.orphans = Orphans(
            reads=self.reads,
            batch=batch,
            settings=SETTINGS,
            now=world.now,
            most_pages=1 if listed else MOST_PAGES,
        )
        self.reconciliation = Reconciliation(
            transitions=self.transitions,
            reads=self.reads,
            batch=batch,
            follower=follower,
            orphans=self.orphans,
            deletion=TenantDeletion(
                store,
                reads=self.reads,
                transitions=self.transitions,
                publish=self.publish,
                timing=SETTINGS.timing,
                now=world.now,
                jitter=jitter,
            ),
            switches=Switches(store, now=world.now),
            publish=self.publish,
            settings=SETTINGS,
            now=world.now,
            jitter=jitter,
            few=0 if listed else FEW,
        )
        judge = self.judge
        on_delivery, on_tick = partial(self._meddle, Site.DELIVER), partial(self._meddle, Site.TICK)
        self.jobs_topic = Topic(
            world, "jobs", Site.DELIVER, self._schedule, judge.job_message_acknowledged, on_delivery
        )
        self.events_topic = Topic(
            world, "batch-events", Site.DELIVER, self._notify, judge.notification_acknowledged, on_delivery
        )
        self.ticks_topic = Topic(world, "ticks", Site.TICK, self._reconcile, judge.tick_acknowledged, on_tick)

    # What the functions' doors do with an event.

    def _schedule(self, event: CloudEvent) -> None:
        with self.wire.patiently():
            self.dispatch.schedule(messages.job_message(event))

    def _notify(self, event: CloudEvent) -> None:
        notification = messages.batch_notification(event)
        if notification is not None:
            with self.wire.patiently():
                self.dispatch.notify(notification)

    def _reconcile(self, event: CloudEvent) -> None:
        tick = messages.tick(event)
        age = (self.world.true_now() - tick.published_at).total_seconds()
        try:
            looked = self.reconciliation.reconcile(tick)
        except Exception as error:
            if self.world.process not in self.wire.failed:
                raise Violation(f"what one job met ends a tick: {type(error).__name__}") from error
            raise
        self.plan_tick()  # the sweep may not be at its end
        if looked and age > _TICK + SKEW:
            raise Violation(f"a tick that is {age:.0f} s old is carried out")

    def require_tenant(self, tenant_id: str) -> None:
        """Raise TenantGone where no process takes jobs for the tenant any more."""
        since = self.judge.leaving.get(tenant_id)
        if since is not None and self.world.time - since >= CACHE_SECONDS:
            raise TenantGone

    # The ports.

    def publish(self, *messages: JobMessage) -> bool:
        """As `publisher.JobPublisher.publish`, but one after the other."""
        sent = [self._publish(message) for message in messages]
        return all(sent)

    def _publish(self, message: JobMessage) -> bool:
        world = self.world
        fault = world.cross(Site.PUBLISH)
        if fault is not Fault.UNAVAILABLE and fault is not Fault.DROPPED:
            self.jobs_topic.publish(message.encode(), {})
        if fault is Fault.CRASH_AFTER:
            world.kill()
        if fault is Fault.UNAVAILABLE:
            world.sleep(_PUBLISH_TIMEOUT)
        return fault is None or fault is Fault.DROPPED

    def _batch_notifies(self, job: BatchJob, state: BatchState) -> None:
        if state not in self._notified:
            return
        world = self.world
        self.judge.said.add((job.uid, state))
        fault = world.plan.draw(Site.NOTIFY)
        if fault is not None and world.trace is not None:
            world.note(f"notification of {state}: {fault}")
        if fault is Fault.DROPPED:
            return
        attributes = notification(job.name, job.uid, state)
        delay = world.rng.random() * 90 if fault is Fault.DELAYED else 0.0

        def send() -> None:
            self.events_topic.publish(b"", attributes, genuine=not job.foreign)

        for _ in range(2 if fault is Fault.DOUBLED else 1):
            world.at(delay, send)

    def pause(self, *, paused: bool) -> None:
        """What `jennah pause` and `jennah resume` do."""
        judge = self.judge
        judge.paused_from = self.world.time if paused else math.inf
        judge.resumed_at = math.inf if paused else self.world.time
        with self.store.batch() as batch:
            columns = ("Name", "Paused", "SetAt")
            batch.insert_or_update("Switches", columns, [(DISPATCH, paused, COMMIT_TIMESTAMP)])

    def _meddle(self, site: Site, fault: Fault) -> bool:
        return self.meddle(fault, site)

    # Ticks. One that finds nothing due does nothing, so those are left out.

    def _committed(self, changes: Sequence[Change]) -> None:
        self.endings.committed(changes)
        self.judge.committed(changes)
        self.plan_tick()

    def _created(self, job: BatchJob) -> None:
        self.judge.created(job)
        self.plan_tick()  # nobody may want it

    def plan_tick(self) -> None:
        """Let the next tick be the first that finds something to do."""
        time = self.world.time
        due = min((check for check in self.judge.checks.values() if check is not None), default=math.inf)
        leaving = self.judge.leaving
        if self.orphans.under_way or (leaving and time - max(leaving.values()) < _LEAVES):
            due = min(due, time)
        elif leaving:  # one of its jobs keeps it, for hours
            due = min(due, time + _LEAVES)
        if self.judge.orphans():
            due = min(due, (time // _SWEEP + 1) * _SWEEP)
        if due == math.inf:
            return
        tick = max(math.ceil(due / _TICK), time // _TICK + 1) * _TICK
        if tick < self._next_tick or self._next_tick <= time:
            self._next_tick = tick
            self.world.at(tick - time, lambda: self._tick(tick))

    def _tick(self, planned: float) -> None:
        if planned == self._next_tick:
            self._next_tick = math.inf
            self.ticks_topic.publish(b"", {})
            self.plan_tick()


def notification(name: str, uid: str, state: str) -> dict[str, str]:
    """The attributes of Batch's own notifications. The project part of the name may be a number."""
    return {
        "JobName": name.replace("projects/simulated", "projects/123456"),
        "JobUID": uid,
        "NewJobState": state,
        "Region": "us-central1",
        "Type": "JOB_STATE_CHANGED",
    }
