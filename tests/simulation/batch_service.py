"""The API of the simulated Batch: what `batch_client.BatchClient` calls, its errors, and faults on the way.

Answers are the real messages, errors those of the real client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NoReturn, TypeVar

from google.api_core import exceptions
from google.cloud import batch_v1

from shared.batch import DEPLOYMENT, BatchState
from tests.simulation.batch import BatchJob, SimulatedBatch
from tests.simulation.batch_messages import write_task
from tests.simulation.faults import Fault, Site
from tests.simulation.world import Violation

_PAGE = 2  # small, so that there are several
_LAG = 90.0
_SLOW_PAGES, _SLOW_PAGE, _LONGEST_CALL = 10, 7.0, 12.0
_SHARE_DEDUPLICATED = 0.5

_JOB_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILTER = re.compile(rf'labels\.{DEPLOYMENT}="([^"]*)"(?: AND status\.state="([A-Z_]+)")?')

_PLATFORM_FAULTS = (
    exceptions.PermissionDenied,
    exceptions.Unauthenticated,
    exceptions.NotFound,
    exceptions.FailedPrecondition,
    exceptions.MethodNotImplemented,
)
_DONE = (Fault.CRASH_AFTER, Fault.UNAVAILABLE_DONE, Fault.TIMEOUT_DONE)
_NO_ANSWER = (
    exceptions.ServiceUnavailable,
    exceptions.ResourceExhausted,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.Cancelled,
)

_Response = TypeVar("_Response")
_JobsResponse: Any = batch_v1.ListJobsResponse.pb()
_TasksResponse: Any = batch_v1.ListTasksResponse.pb()


@dataclass(frozen=True, slots=True)
class Pager(Generic[_Response]):
    """The answer to a listing. Only the page that was asked for: who wants more asks again."""

    page: _Response

    @property
    def pages(self) -> Iterator[_Response]:
        """As the pagers of the real client."""
        yield self.page


class BatchService:
    """The methods of `batch_v1.BatchServiceClient` that the platform uses.

    Args:
        batch: what is asked.
    """

    def __init__(self, batch: SimulatedBatch) -> None:
        self._batch = batch
        self._world = batch.world

    def create_job(self, request: batch_v1.CreateJobRequest, *, timeout: float) -> batch_v1.Job:
        """CreateJob."""
        world, batch = self._world, self._batch
        pb = batch_v1.CreateJobRequest.pb(request)
        name = f"{pb.parent}/jobs/{pb.job_id}"
        fault = world.cross(Site.CREATE)
        batch.creating(name, pb.request_id)
        if batch.refuses:
            fault = Fault.PLATFORM_FAULT
        match fault:
            case Fault.NAME_TAKEN:
                if not batch.take(name, pb.job):
                    world.plan.void(Site.CREATE, fault)
            case Fault.PLATFORM_FAULT:
                batch.platform_faults[name] = world.time
                raise world.rng.choice(_PLATFORM_FAULTS)("simulated")
            case Fault.UNAVAILABLE_LATER | Fault.TIMEOUT_LATER:
                batch.create_later(name, request, valid=_valid(pb))
        self._fail(fault, timeout)
        if fault in _DONE:
            with suppress(exceptions.GoogleAPICallError):  # nobody is told of it
                self._create(name, request)
            self._fail_after(fault, timeout)
        return self._create(name, request).message.now(world.time)

    def get_job(self, *, name: str, retry: None, timeout: float) -> batch_v1.Job:
        """GetJob."""
        assert retry is None
        fault = self._world.cross(Site.GET)
        self._batch.looking(name)
        self._keep_waiting(fault, timeout)
        if fault is Fault.BEHIND and (
            name not in self._batch.jobs or not self._batch.jobs[name].message.changed
        ):
            self._world.plan.void(Site.GET, fault)
        job = self._hindered(name, Site.GET, fault)
        return self._shown(job, fault)

    def list_tasks(
        self, request: batch_v1.ListTasksRequest, *, retry: None, timeout: float
    ) -> Pager[batch_v1.ListTasksResponse]:
        """ListTasks."""
        assert retry is None
        fault = self._world.cross(Site.TASKS)
        self._keep_waiting(fault, timeout)
        name, _, group = request.parent.partition("/taskGroups/")
        job = self._hindered(name, Site.TASKS, fault)
        if group != "group0" or job.tasks == "not found":
            raise _not_found(request.parent)
        here, next_page = self._tasks_page(job, request.page_token, timeout)
        response = _TasksResponse(next_page_token=next_page)
        if here and job.tasks != "none":
            write_task(
                response.tasks.add(),
                name=f"{request.parent}/tasks/0",
                state=job.state,
                started=job.started,
                ended=job.ended,
                exit_code=job.exit_code,
            )
        return Pager(batch_v1.ListTasksResponse.wrap(response))

    def list_jobs(
        self, request: batch_v1.ListJobsRequest, *, retry: None, timeout: float
    ) -> Pager[batch_v1.ListJobsResponse]:
        """ListJobs, the youngest first. A page may show fewer jobs than were asked for."""
        assert retry is None
        fault = self._world.cross(Site.LIST)
        self._keep_waiting(fault, timeout)
        pb = batch_v1.ListJobsRequest.pb(request)
        assert pb.order_by == "create_time desc"
        deployment, state = _filter(pb.filter)
        region = pb.parent.removesuffix("-") if pb.parent.endswith("/locations/-") else f"{pb.parent}/"
        listed = self._listed(behind=fault is Fault.BEHIND)
        if fault is Fault.BEHIND and not self._differs(listed):
            self._world.plan.void(Site.LIST, fault)
        found = [
            job
            for job in listed
            if job.name.startswith(region)
            and job.labels[DEPLOYMENT] == deployment
            and (state is None or job.shown is state)
        ]
        first = int(pb.page_token or 0)
        last = first + min(_PAGE, pb.page_size)
        response = _JobsResponse(next_page_token=str(last) if found[last:] else "")
        for job in found[first:last]:
            response.jobs.append(batch_v1.Job.pb(self._shown(job, fault)))
        return Pager(batch_v1.ListJobsResponse.wrap(response))

    def cancel_job(self, request: batch_v1.CancelJobRequest, *, timeout: float) -> None:
        """CancelJob. Its operation is awaited by nobody."""
        world, batch = self._world, self._batch
        fault = world.cross(Site.CANCEL)
        batch.cancelling(request.name)
        if fault in {Fault.UNAVAILABLE_LATER, Fault.TIMEOUT_LATER}:
            batch.cancel_later(request.name)
        self._fail(fault, timeout)
        if fault in _DONE:
            with suppress(exceptions.GoogleAPICallError):
                self._cancel(request.name)
            self._fail_after(fault, timeout)
        self._cancel(request.name)

    def _cancel(self, name: str) -> None:
        job = self._find(name)
        if job.shown is not BatchState.CANCELLED and (job.deleting or job.stopping or not job.live):
            raise exceptions.FailedPrecondition(f"{name} is {job.shown}: it cannot be cancelled.")
        self._batch.cancel(name)

    def _hindered(self, name: str, site: Site, fault: Fault | None) -> BatchJob:
        """Find a job, and act out what it does to whoever looks at it, for hours after that was drawn."""
        world = self._world
        known = self._batch.jobs.get(name)
        if fault in {Fault.DEADLY, Fault.SLOW_TASKS} and (known is None or known.foreign):
            world.plan.void(site, fault)
            fault = None
        job = self._find(name)
        if fault is Fault.DEADLY:
            job.deadly_until = world.time + self._batch.hindered
        elif fault is Fault.SLOW_TASKS:
            job.slow_until = world.time + self._batch.hindered
            job.task_page = world.rng.choice((0, _SLOW_PAGES - 1))
        if job.deadly_until > world.time:
            world.kill()
        return job

    def _tasks_page(self, job: BatchJob, token: str, timeout: float) -> tuple[bool, str]:
        """Whether the tasks stand on this page, and the token of the next one. Each page comes in time.

        Raises:
            Violation: the caller goes on for longer than any call may take.
        """
        world = self._world
        if job.slow_until <= world.time:
            return True, ""
        number, began = token.split() if token else ("0", str(world.time))
        if world.time - float(began) > _LONGEST_CALL:
            raise Violation(f"tasks are listed for more than {_LONGEST_CALL:.0f} s")
        if timeout < _SLOW_PAGE:
            self._time_out(timeout)
        world.sleep(_SLOW_PAGE)
        page = int(number)
        return page == job.task_page, f"{page + 1} {began}" if page < _SLOW_PAGES - 1 else ""

    def _create(self, name: str, request: batch_v1.CreateJobRequest) -> BatchJob:
        pb = batch_v1.CreateJobRequest.pb(request)
        if not _valid(pb):
            if name in self._batch.jobs:
                raise exceptions.AlreadyExists(f"Resource '{name}' already exists.")
            raise exceptions.InvalidArgument("the machine type does not exist")
        job = self._batch.jobs.get(name)
        if job is None:
            return self._batch.create(name, request)
        # The request's id says that it is the same request. How long Batch remembers it is not for sure.
        if not job.foreign and self._world.rng.random() < _SHARE_DEDUPLICATED:
            return job
        raise exceptions.AlreadyExists(f"Resource '{name}' already exists.")

    def _listed(self, *, behind: bool) -> list[BatchJob]:
        """What a listing shows, the youngest first; behind the truth, what is deleted and not what is new."""
        if not behind:
            return list(reversed(self._batch.jobs.values()))
        known = self._world.time - _LAG
        jobs = [job for job in self._batch.jobs.values() if job.created < known]
        jobs += [job for gone in self._batch.gone.values() for job in gone]
        return sorted(jobs, key=lambda job: -job.created)

    def _differs(self, listed: list[BatchJob]) -> bool:
        """Whether these, shown as they were before, are not what there is."""
        return {job.uid for job in listed} != {job.uid for job in self._batch.jobs.values()} or any(
            job.message.changed for job in listed
        )

    def _find(self, name: str) -> BatchJob:
        job = self._batch.jobs.get(name)
        if job is None:
            raise _not_found(name)
        return job

    def _shown(self, job: BatchJob, fault: Fault | None) -> batch_v1.Job:
        time = self._world.time
        return job.message.before(time) if fault is Fault.BEHIND else job.message.now(time)

    def _keep_waiting(self, fault: Fault | None, timeout: float) -> None:
        """Act out a read that nobody answers: it fails at once, or when its caller has waited in vain."""
        if fault is not Fault.UNAVAILABLE:
            return
        if self._world.rng.random() < 0.5:
            self._time_out(timeout)
        raise self._world.rng.choice(_NO_ANSWER)("simulated")

    def _fail(self, fault: Fault | None, timeout: float) -> None:
        """Act out a fault of a call that does not do what it was called for, or does it later."""
        match fault:
            case Fault.UNAVAILABLE | Fault.UNAVAILABLE_LATER:
                raise exceptions.ServiceUnavailable("simulated")
            case Fault.THROTTLED:
                raise exceptions.ResourceExhausted("simulated")
            case Fault.TIMEOUT | Fault.TIMEOUT_LATER:
                self._time_out(timeout)

    def _fail_after(self, fault: Fault | None, timeout: float) -> NoReturn:
        """Act out a fault of a call that has done what it was called for."""
        if fault is Fault.CRASH_AFTER:
            self._world.kill()
        if fault is Fault.UNAVAILABLE_DONE:
            raise exceptions.ServiceUnavailable("simulated, but done")
        self._time_out(timeout)

    def _time_out(self, timeout: float) -> NoReturn:
        self._world.sleep(timeout)
        raise exceptions.DeadlineExceeded("simulated")


def _valid(pb: Any) -> bool:
    """Whether Batch takes the request; jobs whose script says so are refused."""
    assert _JOB_ID.fullmatch(pb.job_id)
    assert _REQUEST_ID.fullmatch(pb.request_id)
    return bool(pb.job.task_groups[0].task_spec.runnables[0].container.commands[0] != "invalid")


@lru_cache
def _filter(text: str) -> tuple[str, BatchState | None]:
    read = _FILTER.fullmatch(text)
    if read is None:
        raise exceptions.InvalidArgument(f"{text} is no filter")
    return read[1], BatchState(read[2]) if read[2] else None


def _not_found(name: str) -> exceptions.NotFound:
    return exceptions.NotFound(f"Resource '{name}' was not found.")
