"""GCP Batch, simulated: jobs that live by the script that stands in their commands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from google.cloud import batch_v1

from shared.batch import ATTEMPT, DEPLOYMENT, BatchPage, BatchRecord, BatchState, TaskRecord
from shared.batch_client import NameTaken, PlatformFault, SpecRefused
from shared.errors import Unavailable
from shared.events import BatchRef
from tests.simulation.faults import Fault, Site
from tests.simulation.world import EPOCH, World

_LATEST_CREATE = 500.0
_PAGE = 2
_PATIENCE = 10.0
_STUCK = 3 * 24 * 3600.0
_PREEMPTED, _VM_LOST, _TOO_LONG = 50001, 50002, 50005


@dataclass(slots=True)
class BatchJob:
    """The truth about one Batch job. Times are virtual seconds."""

    name: str
    uid: str
    labels: dict[str, str]
    created: float
    state: BatchState = BatchState.QUEUED
    before: BatchState = BatchState.QUEUED  # what an answer that is behind the truth still shows
    exit_code: int = 0
    started: float | None = None
    ended: float | None = None
    outside: bool = False  # somebody outside cancelled or deleted it
    lost: bool = False  # its record is gone
    stuck: bool = False  # it stays queued

    @property
    def live(self) -> bool:
        """Whether it runs, or may yet."""
        return not self.state.final


@dataclass
class SimulatedBatch:
    """The port that use cases call, and the truth behind it.

    Attributes:
        jobs: what Batch has, by name.
        gone: what it had and lost, because it was deleted outside.
        coming: names of jobs that a create will still make, with how many creates are under way.
        notify: sends a notification: the job and the state that it entered.
    """

    world: World
    notify: Callable[[BatchJob, BatchState], None]
    jobs: dict[str, BatchJob] = field(default_factory=dict)
    gone: dict[str, list[BatchJob]] = field(default_factory=dict)
    coming: dict[str, int] = field(default_factory=dict)
    platform_faults: set[str] = field(default_factory=set)
    observer: Callable[[BatchJob], None] = lambda _: None
    creating: Callable[[str], None] = lambda _: None
    looking: Callable[[str], None] = lambda _: None
    unstopped: Callable[[BatchJob], None] = lambda _: None
    _made: int = 0

    # The port.

    def create(self, name: str, job: batch_v1.Job) -> BatchRecord:
        """As `batch_client.BatchClient.create`."""
        world = self.world
        fault = world.cross(Site.CREATE)
        self.creating(name)
        match fault:
            case Fault.UNAVAILABLE | Fault.THROTTLED:
                raise Unavailable(f"Batch did not create the job: {fault}")
            case Fault.PLATFORM_FAULT:
                self.platform_faults.add(name)
                raise PlatformFault("permission denied")
            case Fault.TIMEOUT_LATER:
                self.coming[name] = self.coming.get(name, 0) + 1
                world.at(world.rng.random() * _LATEST_CREATE, lambda: self._create_late(name, job))
                world.sleep(30)
                raise Unavailable("Batch did not create the job: timed out")
        made = self._create(name, job)
        if fault is Fault.CRASH_AFTER:
            world.kill()
        if fault is Fault.TIMEOUT_DONE:
            world.sleep(30)
            raise Unavailable("Batch did not create the job: timed out")
        return self._record(made)

    def get(self, name: str) -> BatchRecord | None:
        """As `batch_client.BatchClient.get`."""
        fault = self.world.cross(Site.GET)
        self.looking(name)
        if fault is Fault.UNAVAILABLE:
            self._keep_waiting()
        job = self.jobs.get(name)
        return self._record(job, behind=fault is Fault.BEHIND) if job else None

    def tasks(self, name: str) -> list[TaskRecord]:
        """As `batch_client.BatchClient.tasks`."""
        if self.world.cross(Site.TASKS) is Fault.UNAVAILABLE:
            self._keep_waiting()
        job = self.jobs.get(name)
        if job is None or (job.started is None and not job.exit_code):
            return []
        return [
            TaskRecord(
                failed=job.state is BatchState.FAILED,
                ran=job.started is not None,
                exit_code=job.exit_code or None,
                started_at=_time(job.started),
                finished_at=_time(job.ended),
            )
        ]

    def cancel(self, name: str) -> None:
        """As `batch_client.BatchClient.cancel`."""
        world = self.world
        fault = world.cross(Site.CANCEL)
        if fault is Fault.UNAVAILABLE:
            raise Unavailable("Batch did not answer")
        if fault is Fault.TIMEOUT_LATER:
            world.at(world.rng.random() * 60, lambda: self._cancel(name))
            raise Unavailable("Batch did not answer")
        self._cancel(name)
        if fault is Fault.CRASH_AFTER:
            world.kill()
        if fault is Fault.UNAVAILABLE_DONE:
            raise Unavailable("Batch did not answer")

    def list_jobs(
        self, parent: str, *, deployment: str, state: BatchState | None = None, page_token: str = ""
    ) -> BatchPage:
        """As `batch_client.BatchClient.list_jobs`; pages are small, so that there are several."""
        fault = self.world.cross(Site.LIST)
        if fault is Fault.UNAVAILABLE:
            self._keep_waiting()
        region = parent.removesuffix("/locations/-")
        found = [
            self._record(job, behind=fault is Fault.BEHIND)
            for job in reversed(self.jobs.values())
            if job.name.startswith(region) and job.labels[DEPLOYMENT] == deployment
        ]
        found = [record for record in found if state is None or record.state is state]
        first = int(page_token or 0)
        rest = found[first + _PAGE :]
        return BatchPage(found[first : first + _PAGE], str(first + _PAGE) if rest else "")

    def _keep_waiting(self) -> NoReturn:
        """Answer that nobody answers: at once, or when the caller has waited for as long as it will."""
        if self.world.rng.random() < 0.5:
            self.world.sleep(_PATIENCE)
        raise Unavailable("Batch did not answer")

    # The truth.

    def _create_late(self, name: str, job: batch_v1.Job) -> None:
        self.coming[name] -= 1
        if self.world.trace is not None:
            self.world.note(f"a late CreateJob arrives: {name[-4:]}")
        # Batch knows the request's id, and that it was carried out.
        if name not in self.jobs and name not in self.gone:
            with suppress(SpecRefused):
                self._create(name, job)

    def _create(self, name: str, job: batch_v1.Job) -> BatchJob:
        container = job.task_groups[0].task_spec.runnables[0].container
        script = container.commands
        if name in self.jobs:
            raise NameTaken
        if script[0] == "invalid":
            raise SpecRefused("the machine type does not exist")
        labels = dict(job.labels)
        self._made += 1
        made = BatchJob(name, f"uid-{self._made}", labels, self.world.time)
        self.jobs[name] = made
        self.observer(made)
        attempt = int(labels[ATTEMPT])
        self._begin(made, script[min(attempt, len(script)) - 1])
        return made

    def _begin(self, job: BatchJob, outcome: str) -> None:
        world = self.world
        fault = world.plan.draw(Site.LIFE)
        if fault is not None and world.trace is not None:
            world.note(f"{job.uid}: {fault}")
        queued, running = world.rng.random() * 30, world.rng.random() * 60
        if fault is Fault.STUCK:
            job.stuck = True
            world.at(_STUCK, lambda: self._give_up(job))
            return
        if fault is Fault.DELETED_OUTSIDE:
            world.at(world.rng.random() * 90, lambda: self.delete_outside(job.name))
        elif fault is Fault.CANCELLED_OUTSIDE:
            world.at(world.rng.random() * 90, lambda: self.cancel_outside(job.name))
        if fault is not Fault.RUNNING_SKIPPED:
            world.at(queued, lambda: self._run(job))
        code = _EXIT_CODES.get(outcome, 0)
        if fault is Fault.PREEMPTED:
            code = _PREEMPTED
        elif fault is Fault.VM_LOST:
            code = _VM_LOST
        elif outcome.startswith("exit"):
            code = int(outcome[4:])
        state = BatchState.FAILED if code else BatchState.SUCCEEDED
        world.at(queued + running, lambda: self._end(job, state, code))

    def _give_up(self, job: BatchJob) -> None:
        """No machine was found in days. Long before that, the platform should have stopped it."""
        if job.state is BatchState.QUEUED and self.jobs.get(job.name) is job:
            self.unstopped(job)

    def _enter(self, job: BatchJob, state: BatchState) -> None:
        job.before, job.state = job.state, state
        if self.world.trace is not None:
            self.world.note(f"{job.uid} is {state} in Batch")
        self.notify(job, state)

    def _run(self, job: BatchJob) -> None:
        if job.state is BatchState.QUEUED and self.jobs.get(job.name) is job:
            job.started = self.world.time
            self._enter(job, BatchState.RUNNING)

    def _end(self, job: BatchJob, state: BatchState, code: int) -> None:
        if job.state.final or self.jobs.get(job.name) is not job:
            return
        if job.state is BatchState.CANCELLATION_IN_PROGRESS and job.started is None:
            return
        if job.started is None:
            job.started = self.world.time
        job.ended, job.exit_code = self.world.time, code
        self._enter(job, state)

    def _cancel(self, name: str) -> None:
        job = self.jobs.get(name)
        if job is None or job.state.final or job.state is BatchState.CANCELLATION_IN_PROGRESS:
            return
        self._enter(job, BatchState.CANCELLATION_IN_PROGRESS)
        self.world.at(self.world.rng.random() * 30, lambda: self._cancelled(job))

    def _cancelled(self, job: BatchJob) -> None:
        if job.state is BatchState.CANCELLATION_IN_PROGRESS:
            job.ended = self.world.time
            self._enter(job, BatchState.CANCELLED)

    def delete_outside(self, name: str) -> None:
        """Somebody deletes the Batch job: its record is gone, and nothing runs any more."""
        job = self.jobs.pop(name, None)
        if job is not None:
            job.outside = job.lost = True
            self.gone.setdefault(name, []).append(job)

    def cancel_outside(self, name: str) -> None:
        """Somebody cancels the Batch job."""
        job = self.jobs.get(name)
        if job is not None and not job.state.final:
            job.outside = True
            self._cancel(name)

    def _record(self, job: BatchJob, *, behind: bool = False) -> BatchRecord:
        state = job.before if behind else job.state
        ran = (job.ended or self.world.time) - job.started if job.started is not None else 0.0
        if behind and not state.final and state is not BatchState.RUNNING:
            ran = 0.0
        return BatchRecord(
            ref=BatchRef(job.name, job.uid),
            state=state,
            labels=job.labels,
            run_duration=timedelta(seconds=ran),
            last_event=f"the job is {state}",
            last_event_at=_time(job.ended if job.ended is not None and not behind else job.created),
            created_at=_time(job.created),
        )


_EXIT_CODES = {"timeout": _TOO_LONG, "preempted": _PREEMPTED, "lost": _VM_LOST}


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else EPOCH + timedelta(seconds=seconds)
