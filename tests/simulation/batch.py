"""GCP Batch, simulated: jobs that live by the script that stands in their commands.

What its API answers stands in `batch_service`, how a job looks in those answers in `batch_messages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.cloud import batch_v1

from shared.batch import ATTEMPT, DEPLOYMENT, BatchState
from tests.simulation.batch_messages import JobMessage
from tests.simulation.faults import Fault, Site
from tests.simulation.world import World

_LATEST_CREATE = 500.0
_LATEST_CANCEL = 60.0
# When a job is queued for too long, and until when the platform must have given it up.
_QUEUED_TOO_LONG, _GIVEN_UP = 24 * 3600.0, 26 * 3600.0
# Longer than a world is given to become quiet: only its own job may still wait then.
_HINDERED = 14 * 3600.0
_PREEMPTED, _VM_LOST, _TOO_LONG = 50001, 50002, 50005
# Not the code of a task, but that of a job which failed and has no task that ran.
_NO_CODE = -1
_EXIT_CODES = {"timeout": _TOO_LONG, "preempted": _PREEMPTED, "lost": _VM_LOST, "norun": _NO_CODE}

_QUEUED, _RUNNING, _LONG = 30.0, 60.0, 3600.0
_SHARE_LONG = 0.03
_SHARE_SCHEDULED = 0.4
_SHARE_PREEMPTED_ON_SPOT = 0.3
_SPOT = batch_v1.AllocationPolicy.ProvisioningModel.SPOT
# What shows when a job ends.
_AT_THE_END = (Fault.PREEMPTED, Fault.VM_LOST, Fault.RUNNING_SKIPPED)
_Job: Any = batch_v1.Job.pb()
_BEFORE_IT_RUNS = (BatchState.QUEUED, BatchState.SCHEDULED)


@dataclass(slots=True)
class BatchJob:
    """The truth about one Batch job. Times are virtual seconds.

    Attributes:
        message: what the API shows of it.
        tasks: what ListTasks answers about a job that failed before it ran: `none`, `not found`, or the task
            `without a code`; empty for other jobs.
        deadly_until: until then, whoever asks for it, or for its tasks, dies.
        slow_until: until then, its tasks come on many pages, each of which takes long.
        task_page: the only page that is not empty.
    """

    name: str
    uid: str
    labels: dict[str, str]
    created: float
    message: JobMessage
    state: BatchState = BatchState.QUEUED
    exit_code: int = 0  # 0 too where it failed before it ran
    started: float | None = None
    ended: float | None = None
    outside: bool = False  # somebody outside cancelled or deleted it
    deleting: bool = False  # and its record will soon be gone
    lost: bool = False  # its record is gone
    stuck: bool = False  # it stays queued
    foreign: bool = False  # nobody here made it, though it may have our name, or our label
    spot: bool = False
    tasks: str = ""
    deadly_until: float = 0.0
    slow_until: float = 0.0
    task_page: int = 0

    @property
    def live(self) -> bool:
        """Whether it runs, or may yet."""
        return not self.state.final

    @property
    def stopping(self) -> bool:
        """Whether it is being cancelled."""
        return self.state is BatchState.CANCELLATION_IN_PROGRESS

    @property
    def shown(self) -> BatchState:
        """The state that Batch shows."""
        return BatchState.DELETION_IN_PROGRESS if self.deleting else self.state


@dataclass
class SimulatedBatch:
    """The truth about Batch.

    Attributes:
        jobs: what Batch has, by name.
        gone: what it had and lost, because it was deleted outside.
        coming: names of jobs that a create will still make, with how many creates are under way.
        notify: sends a notification: the job and the state that it entered.
        hindered: for so many seconds whoever looks at a job that is deadly, or slow, is hindered.
        observer, creating, looking, cancelling, unstopped: who is told of each job made, each CreateJob (with
            its request id), GetJob and CancelJob before it is answered, and each job that was left queued.
    """

    world: World
    notify: Callable[[BatchJob, BatchState], None]
    jobs: dict[str, BatchJob] = field(default_factory=dict)
    gone: dict[str, list[BatchJob]] = field(default_factory=dict)
    coming: dict[str, int] = field(default_factory=dict)
    platform_faults: dict[str, float] = field(default_factory=dict)  # when a name last met one
    observer: Callable[[BatchJob], None] = lambda _: None
    creating: Callable[[str, str], None] = lambda _name, _request_id: None
    looking: Callable[[str], None] = lambda _: None
    cancelling: Callable[[str], None] = lambda _: None
    unstopped: Callable[[BatchJob], None] = lambda _: None
    hindered: float = _HINDERED
    _made: int = 0
    _refused: tuple[float, float] = (0.0, 0.0)

    @property
    def refuses(self) -> bool:
        """Whether no job can be made now, because permission or configuration is wrong."""
        begin, end = self._refused
        return begin <= self.world.time < end

    def refuse(self, begin: float, end: float) -> None:
        """Let no job be made in that time."""
        self._refused = begin, end

    # What calls do.

    def create(self, name: str, request: batch_v1.CreateJobRequest) -> BatchJob:
        """Make the job of a request that is valid, and whose name is free."""
        made = self._make(name, batch_v1.CreateJobRequest.pb(request).job)
        made.spot = made.message.provisioning == _SPOT
        self.observer(made)
        script = made.message.commands
        self._begin(made, script[min(int(made.labels[ATTEMPT]), len(script)) - 1])
        return made

    def _make(self, name: str, job: Any) -> BatchJob:
        self._made += 1
        message = JobMessage(name, f"uid-{self._made}", job, self.world.time)
        made = self.jobs[name] = BatchJob(name, message.uid, message.labels, self.world.time, message)
        return made

    def create_later(self, name: str, request: batch_v1.CreateJobRequest, *, valid: bool) -> None:
        """Let a create arrive when its caller has long given up."""
        self.coming[name] = self.coming.get(name, 0) + 1

        def arrive() -> None:
            self.coming[name] -= 1
            if self.world.trace is not None:
                self.world.note(f"a late CreateJob arrives: {name[-4:]}")
            # Batch knows the request's id, and that it was carried out.
            if valid and name not in self.jobs and name not in self.gone:
                self.create(name, request)

        self.world.at(self.world.rng.random() * _LATEST_CREATE, arrive)

    def cancel(self, name: str) -> None:
        """Begin to cancel it, if it lives."""
        job = self.jobs.get(name)
        if job is None or not self._moves(job) or job.stopping:
            return
        self._enter(job, BatchState.CANCELLATION_IN_PROGRESS)
        self.world.at(self.world.rng.random() * 30, lambda: self._cancelled(job))

    def cancel_later(self, name: str) -> None:
        """Let a cancel arrive when its caller has given up."""
        self.world.at(self.world.rng.random() * _LATEST_CANCEL, lambda: self.cancel(name))

    # What others do.

    def take(self, name: str, job: Any) -> bool:
        """Somebody else has a job of that name, with other labels, if it is free; whether it was."""
        if name in self.jobs or name in self.gone or self.coming.get(name):
            return False
        foreign = self._make(name, job)
        foreign.foreign = True
        if self.world.rng.random() < 0.5:
            foreign.labels[DEPLOYMENT] = "another"
        else:
            foreign.labels[ATTEMPT] = "0"
        state = self.world.rng.choice((BatchState.QUEUED, BatchState.RUNNING, BatchState.SUCCEEDED))
        foreign.message.relabel(foreign.labels)
        self._enter(foreign, state)
        return True

    def strand(
        self, name: str, labels: Mapping[str, str], *, until: float | None, foreign: bool = False
    ) -> None:
        """Let a job run of which nobody here knows; for ever, unless it is stopped or is said until when."""
        stray = self._make(name, _Job(labels=labels))
        stray.foreign = foreign
        stray.started = self.world.time
        self._enter(stray, BatchState.RUNNING)
        if until is not None:
            self.world.at(until - self.world.time, lambda: self._end(stray, BatchState.SUCCEEDED, 0))

    def delete_outside(self, name: str) -> None:
        """Somebody deletes the Batch job: nothing runs any more, and its record is gone at once or soon."""
        job = self.jobs.get(name)
        if job is None or job.deleting:
            return
        if job.live:
            self.world.plan.effect(Site.LIFE, Fault.DELETED_OUTSIDE)
        job.outside = True
        if self.world.rng.random() < 0.5:
            self._forget(job)
            return
        job.deleting = True
        self._show(job, BatchState.DELETION_IN_PROGRESS)
        self.world.at(self.world.rng.random() * 60, lambda: self._forget(job))

    def cancel_outside(self, name: str) -> None:
        """Somebody cancels the Batch job."""
        job = self.jobs.get(name)
        if job is not None and self._moves(job):
            if not job.stopping:
                self.world.plan.effect(Site.LIFE, Fault.CANCELLED_OUTSIDE)
            job.outside = True
            self.cancel(name)

    # Its life.

    def _begin(self, job: BatchJob, outcome: str) -> None:
        world, rng = self.world, self.world.rng
        fault = world.plan.draw(Site.LIFE)
        if fault is not None and world.trace is not None:
            world.note(f"{job.uid}: {fault}")
        if fault is not None:
            # Each counts when it shows: many a job is cancelled before.
            world.plan.void(Site.LIFE, fault)
        queued = rng.random() * _QUEUED
        long = rng.random() < _SHARE_LONG and outcome != "quick"
        running = rng.random() * (_LONG if long else _RUNNING)
        if outcome.startswith("run"):  # for so many seconds
            running = float(outcome[3:])
        if fault is Fault.STUCK:
            job.stuck = True
            world.at(_QUEUED_TOO_LONG, lambda: self._count_stuck(job))
            world.at(_GIVEN_UP, lambda: self._require_given_up(job))
            return
        if fault is Fault.DELETED_OUTSIDE:
            world.at(rng.random() * (queued + running), lambda: self.delete_outside(job.name))
        elif fault is Fault.CANCELLED_OUTSIDE:
            world.at(rng.random() * (queued + running), lambda: self.cancel_outside(job.name))
        code = self._exit_code(job, outcome, fault)
        if rng.random() < _SHARE_SCHEDULED:
            world.at(queued * rng.random(), lambda: self._schedule(job))
        if code == _NO_CODE:
            job.tasks = rng.choice(("none", "not found", "without a code"))
            world.at(queued, lambda: self._end_before_it_ran(job))
            return
        if fault is not Fault.RUNNING_SKIPPED:
            world.at(queued, lambda: self._run(job))
        state = BatchState.FAILED if code else BatchState.SUCCEEDED
        shows = fault if fault in _AT_THE_END else None
        world.at(queued + running, lambda: self._end(job, state, code, shows))

    def _exit_code(self, job: BatchJob, outcome: str, fault: Fault | None) -> int:
        if fault is Fault.PREEMPTED or (job.spot and self.world.rng.random() < _SHARE_PREEMPTED_ON_SPOT):
            return _PREEMPTED
        if fault is Fault.VM_LOST:
            return _VM_LOST
        if outcome.startswith("exit"):
            return int(outcome[4:])
        return _EXIT_CODES.get(outcome, 0)

    def _count_stuck(self, job: BatchJob) -> None:
        if job.state is BatchState.QUEUED and self._moves(job):
            self.world.plan.effect(Site.LIFE, Fault.STUCK)

    def _require_given_up(self, job: BatchJob) -> None:
        """No machine was found in a day. The platform should have stopped it, if it could look at it."""
        late = job.deadly_until + _GIVEN_UP - _QUEUED_TOO_LONG - self.world.time
        if late > 0:
            self.world.at(late, lambda: self._require_given_up(job))
            return
        if job.state is BatchState.QUEUED and self._moves(job):
            self.unstopped(job)

    def _moves(self, job: BatchJob) -> bool:
        """Whether it may still enter another state."""
        return job.live and not job.deleting and self.jobs.get(job.name) is job

    def _enter(self, job: BatchJob, state: BatchState) -> None:
        job.state = state
        self._show(job, state)
        self.notify(job, state)

    def _show(self, job: BatchJob, state: BatchState) -> None:
        job.message.enter(state, self.world.time)
        if self.world.trace is not None:
            self.world.note(f"{job.uid} is {state} in Batch")

    def _schedule(self, job: BatchJob) -> None:
        if job.state is BatchState.QUEUED and self._moves(job):
            self._enter(job, BatchState.SCHEDULED)

    def _run(self, job: BatchJob) -> None:
        if job.state in _BEFORE_IT_RUNS and self._moves(job):
            job.started = self.world.time
            self._enter(job, BatchState.RUNNING)

    def _end_before_it_ran(self, job: BatchJob) -> None:
        if job.state in _BEFORE_IT_RUNS and self._moves(job):
            job.ended = self.world.time
            self._enter(job, BatchState.FAILED)

    def _end(self, job: BatchJob, state: BatchState, code: int, shows: Fault | None = None) -> None:
        if not self._moves(job):
            return
        if job.stopping and job.started is None:
            return
        if shows is not None:
            self.world.plan.effect(Site.LIFE, shows)
        if job.started is None:
            job.started = self.world.time
        job.ended, job.exit_code = self.world.time, code
        self._enter(job, state)

    def _cancelled(self, job: BatchJob) -> None:
        if job.stopping and self._moves(job):
            job.ended = self.world.time
            self._enter(job, BatchState.CANCELLED)

    def _forget(self, job: BatchJob) -> None:
        if self.jobs.get(job.name) is job:
            del self.jobs[job.name]
            job.lost = True
            self.gone.setdefault(job.name, []).append(job)
