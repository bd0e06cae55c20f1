"""The methods of `google.cloud.batch.v1.BatchService` over the jobs of this process, without the wire.

Choices where Batch's own answer is not documented: lists are ordered by creation, oldest first; a job that is
being deleted can be neither cancelled nor deleted again; a call that repeats a request_id gets what the first
one got, whatever else it says.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import grpc
from google.cloud import batch_v1
from google.longrunning import operations_pb2  # type: ignore[import-untyped] # no stubs exist
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import Message

from jennah.local.batch_execution import Execution
from jennah.local.batch_jobs import LIVE, TASK_GROUP, Job, JobState, Task
from jennah.local.batch_lists import JobFilter, JobOrder, page_of, parse_task_filter
from jennah.local.batch_specs import Refused, admit, check_parent, check_request_id


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returns; `effective` is False when an earlier call had already done it."""

    message: Message
    effective: bool = True


@dataclass(slots=True)
class _Operation:
    """A long-running operation; without an `ending` it was done from the start."""

    name: str
    verb: str
    job: Job
    ending: asyncio.Task[None] | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_message(self) -> operations_pb2.Operation:
        operation = operations_pb2.Operation(name=self.name)
        metadata = batch_v1.OperationMetadata(
            create_time=self.created, target=self.job.name, verb=self.verb, api_version="v1"
        )
        operation.metadata.Pack(batch_v1.OperationMetadata.pb(metadata))
        if self.ending is None or self.ending.done():
            operation.done = True
            operation.response.CopyFrom(_packed_response(self.verb))
        return operation


class BatchApi:
    """The jobs of this process. Every method raises `Refused` instead of answering with an error.

    Args:
        execute: starts a job's execution.
    """

    def __init__(self, execute: Callable[[Job], Execution]) -> None:
        self._execute = execute
        self._executions: dict[str, Execution] = {}
        self._operations: dict[str, _Operation] = {}
        self._created_by: dict[tuple[str, str], Job] = {}
        self._operation_of: dict[tuple[str, str], _Operation] = {}

    def create_job(self, request: batch_v1.CreateJobRequest) -> Answer:
        """Admit a job and start it."""
        spec = admit(request)
        origin = (request.parent, request.request_id)
        if request.request_id and (first := self._created_by.get(origin)):
            return Answer(_pb(first.to_message()), effective=False)
        job_id = request.job_id or f"job-{uuid.uuid4()}"
        name = f"{request.parent}/jobs/{job_id}"
        if name in self._executions:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Resource {name!r} already exists.")
        job = Job(name, f"{job_id}-{uuid.uuid4()}", spec)
        self._executions[name] = self._execute(job)
        if request.request_id:
            self._created_by[origin] = job
        return Answer(_pb(job.to_message()))

    def get_job(self, request: batch_v1.GetJobRequest) -> Answer:
        """Show one job."""
        return Answer(_pb(self._find(request.name).job.to_message()))

    def list_jobs(self, request: batch_v1.ListJobsRequest) -> Answer:
        """Show the jobs of a location, or of all locations (`locations/-`), page by page."""
        check_parent(request.parent)
        wanted, order = JobFilter(request.filter), JobOrder(request.order_by)
        inside = request.parent + "/"
        if inside.endswith("/locations/-/"):
            inside = inside.removesuffix("-/")
        jobs = [
            execution.job
            for name, execution in self._executions.items()
            if name.startswith(inside) and wanted.admits(execution.job)
        ]
        query = [request.parent, request.filter, request.order_by]
        page, token = page_of(
            jobs, order.key, query, request.page_size, request.page_token, descending=order.descending
        )
        messages = [job.to_message() for job in page]
        return Answer(_pb(batch_v1.ListJobsResponse(jobs=messages, next_page_token=token)))

    def cancel_job(self, request: batch_v1.CancelJobRequest) -> Answer:
        """Stop a live job and keep its record. CANCELLED is accepted again, other final states refused."""
        if earlier := self._repeated(request.name, request.request_id):
            return Answer(earlier.to_message(), effective=False)
        execution = self._find(request.name)
        state = execution.job.state
        if state not in LIVE and state is not JobState.CANCELLED:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{request.name} is {state.name}: it cannot be cancelled.",
            )
        ending = execution.cancel() if state in LIVE else None
        operation = self._begin("cancel", execution.job, ending, request.request_id)
        return Answer(operation.to_message(), effective=ending is not None)

    def delete_job(self, request: batch_v1.DeleteJobRequest) -> Answer:
        """Stop a job if it is live, and discard its record."""
        if earlier := self._repeated(request.name, request.request_id):
            return Answer(earlier.to_message(), effective=False)
        execution = self._find(request.name)
        if execution.job.state is JobState.DELETION_IN_PROGRESS:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"{request.name} is being deleted.")
        ending = asyncio.create_task(self._forget_after(execution.delete(), execution.job))
        return Answer(self._begin("delete", execution.job, ending, request.request_id).to_message())

    def list_tasks(self, request: batch_v1.ListTasksRequest) -> Answer:
        """Show the tasks of the job's group, page by page."""
        name, _, group = request.parent.partition("/taskGroups/")
        tasks = self._tasks_of(name, group, request.parent)
        state = parse_task_filter(request.filter)
        page, token = page_of(
            [task for task in tasks if state in {None, task.state}],
            _by_index,
            [request.parent, request.filter],
            request.page_size,
            request.page_token,
        )
        messages = [task.to_message() for task in page]
        return Answer(_pb(batch_v1.ListTasksResponse(tasks=messages, next_page_token=token)))

    def get_task(self, request: batch_v1.GetTaskRequest) -> Answer:
        """Show one task."""
        group_name, _, index = request.name.partition("/tasks/")
        name, _, group = group_name.partition("/taskGroups/")
        for task in self._tasks_of(name, group, request.name):
            if str(task.index) == index:
                return Answer(_pb(task.to_message()))
        raise _not_found(request.name)

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> Answer:
        """Show whether a cancellation or deletion is done."""
        operation = self._operations.get(request.name)
        if operation is None:
            raise _not_found(request.name)
        return Answer(operation.to_message())

    def preempt(self, job: str) -> int:
        """End the running tasks of the jobs whose id matches a glob; return how many there were."""
        return sum(execution.preempt() for execution in self._matching(job))

    def vanish(self, job: str) -> int:
        """Discard the jobs whose id matches a glob as if they had never been; return how many there were."""
        executions = self._matching(job)
        for execution in executions:
            execution.discard()
            del self._executions[execution.job.name]
        return len(executions)

    def has_been(self, job: str, states: set[JobState]) -> bool:
        """Whether a job whose id matches a glob is, or has been, in one of the states."""
        return any(execution.job.has_been & states for execution in self._matching(job))

    def _matching(self, job: str) -> list[Execution]:
        return [
            execution for execution in self._executions.values() if fnmatchcase(execution.job.job_id, job)
        ]

    def _find(self, name: str) -> Execution:
        execution = self._executions.get(name)
        if execution is None:
            raise _not_found(name)
        return execution

    def _tasks_of(self, name: str, group: str, asked: str) -> list[Task]:
        execution = self._find(name)
        if group != TASK_GROUP:
            raise _not_found(asked)
        return execution.job.tasks

    def _repeated(self, name: str, request_id: str) -> _Operation | None:
        check_request_id(request_id)
        return self._operation_of.get((name, request_id)) if request_id else None

    def _begin(self, verb: str, job: Job, ending: asyncio.Task[None] | None, request_id: str) -> _Operation:
        location = job.name.partition("/jobs/")[0]
        operation = _Operation(f"{location}/operations/operation-{uuid.uuid4()}", verb, job, ending)
        self._operations[operation.name] = operation
        if request_id:
            self._operation_of[job.name, request_id] = operation
        return operation

    async def _forget_after(self, ending: asyncio.Task[None], job: Job) -> None:
        await ending
        execution = self._executions.get(job.name)
        if execution and execution.job is job:  # it may have vanished meanwhile, and its name be taken again
            del self._executions[job.name]


def _by_index(task: Task) -> str:
    return f"{task.index:06}"


def _not_found(name: str) -> Refused:
    return Refused(grpc.StatusCode.NOT_FOUND, f"Resource {name!r} was not found.")


def _packed_response(verb: str) -> any_pb2.Any:
    packed = any_pb2.Any()
    if verb == "cancel":
        packed.Pack(batch_v1.CancelJobResponse.pb(batch_v1.CancelJobResponse()))
    else:
        packed.Pack(empty_pb2.Empty())
    return packed


def _pb(
    message: batch_v1.Job | batch_v1.Task | batch_v1.ListJobsResponse | batch_v1.ListTasksResponse,
) -> Message:
    pb: Message = type(message).pb(message)
    return pb
