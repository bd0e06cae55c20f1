"""The real use cases on simulated ports: what `shared.wiring` does, for one simulated world."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from cloudevents.http import CloudEvent
from google.api_core import exceptions
from google.cloud.batch_v1 import BatchServiceClient
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared import messages
from shared.batch import BatchState
from shared.batch_client import BatchClient
from shared.commits import Patience
from shared.config import Settings
from shared.dispatch import Dispatch
from shared.follow import Follower
from shared.jobs import Jobs
from shared.listing import FEW
from shared.messages import JobMessage
from shared.orphans import MOST_PAGES, Orphans
from shared.reconcile import Reconciliation
from shared.rows import Reads
from shared.switches import DISPATCH, Switches
from shared.tenant_deletion import TenantDeletion
from shared.transitions import Transitions
from tests.simulation.batch import BatchJob, SimulatedBatch
from tests.simulation.batch_service import BatchService
from tests.simulation.endings import Endings
from tests.simulation.faults import Fault, Site
from tests.simulation.judge import Judge
from tests.simulation.pubsub import Topic
from tests.simulation.store import Change, Method, Store
from tests.simulation.world import World

_T = TypeVar("_T")

SETTINGS = Settings(project="simulated", spanner_instance="simulated")
_TICK = SETTINGS.timing.tick.total_seconds()
_SWEEP = 3600.0
_RPC_TIMEOUT = 10.0
_PUBLISH_TIMEOUT = 5.0
_LATEST_WRITE = 120.0
_LATER = {Fault.UNAVAILABLE_LATER, Fault.TIMEOUT_LATER}
_NOTIFIED = {BatchState.RUNNING, BatchState.SUCCEEDED, BatchState.FAILED}


class Platform:
    """One deployment in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = Store(self._wire, world.true_now, self._committed)
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
        self.meddle: Callable[[Fault], bool] = lambda _: False
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
        switches = Switches(store, now=world.now)
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
            switches=switches,
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
            switches=switches,
            publish=self.publish,
            settings=SETTINGS,
            now=world.now,
            jitter=jitter,
            few=0 if listed else FEW,
        )
        judge = self.judge
        self.jobs_topic = Topic(
            world, "jobs", Site.DELIVER, self._schedule, judge.job_message_acknowledged, self._meddle
        )
        self.events_topic = Topic(
            world, "batch-events", Site.DELIVER, self._notify, judge.notification_acknowledged, self._meddle
        )
        self.ticks_topic = Topic(
            world, "ticks", Site.TICK, self._reconcile, judge.tick_acknowledged, self._meddle
        )

    # What the functions' doors do with an event.

    def _schedule(self, event: CloudEvent) -> None:
        self.dispatch.schedule(messages.job_message(event))

    def _notify(self, event: CloudEvent) -> None:
        notification = messages.batch_notification(event)
        if notification is not None:
            self.dispatch.notify(notification)

    def _reconcile(self, event: CloudEvent) -> None:
        self.reconciliation.reconcile(messages.tick(event))
        self.plan_tick()  # the sweep may not be at its end

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

    def _wire(self, method: Method, perform: Callable[[], _T]) -> _T:
        world = self.world
        if world.process is None:
            return perform()
        fault = world.cross(Site.READ if method == "Read" else Site.COMMIT)
        if fault in _LATER:
            world.at(world.rng.random() * _LATEST_WRITE, lambda: self._perform_late(perform))
        match fault:
            case None:
                return perform()
            case Fault.ABORTED:
                raise exceptions.Aborted("simulated")
            case Fault.UNAVAILABLE | Fault.UNAVAILABLE_LATER:
                raise exceptions.ServiceUnavailable("simulated, not done yet")
            case Fault.TIMEOUT | Fault.TIMEOUT_LATER:
                world.sleep(_RPC_TIMEOUT)
                raise exceptions.DeadlineExceeded("simulated, not done yet")
        result = perform()
        match fault:
            case Fault.CRASH_AFTER:
                world.kill()
            case Fault.UNAVAILABLE_DONE:
                raise exceptions.ServiceUnavailable("simulated, but done")
            case Fault.TIMEOUT_DONE:
                world.sleep(_RPC_TIMEOUT)
                raise exceptions.DeadlineExceeded("simulated, but done")
        return result

    def _perform_late(self, perform: Callable[[], object]) -> None:
        try:
            perform()
        except exceptions.GoogleAPICallError as error:
            self.world.note(f"a late write changes nothing: {type(error).__name__}")
        else:
            self.world.note("a late write is applied")

    def _batch_notifies(self, job: BatchJob, state: BatchState) -> None:
        if state not in _NOTIFIED:
            return
        world = self.world
        fault = world.plan.draw(Site.NOTIFY)
        if fault is not None and world.trace is not None:
            world.note(f"notification of {state}: {fault}")
        if fault is Fault.DROPPED:
            return
        attributes = notification(job.name, job.uid, state)
        delay = world.rng.random() * 90 if fault is Fault.DELAYED else 0.0

        def send() -> None:
            self.events_topic.publish(b"", attributes)

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

    def _meddle(self, fault: Fault) -> bool:
        return self.meddle(fault)

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
        if self.judge.leaving or self.orphans.under_way:
            due = min(due, time)
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
