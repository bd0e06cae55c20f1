"""The local Batch service on the wire: gRPC handlers over `BatchApi`, and those of the fault controls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import grpc
from google.cloud import batch_v1
from google.cloud.logging_v2.types import ListLogEntriesRequest
from google.longrunning import operations_pb2  # type: ignore[import-untyped] # no stubs exist
from google.protobuf.message import Message

from jennah.local.batch_api import Answer, BatchApi
from jennah.local.batch_faults import SERVICE as FAULTS
from jennah.local.batch_faults import Action, Rule, decode, encode
from jennah.local.batch_jobs import JobState
from jennah.local.batch_logs import SERVICE as LOGGING
from jennah.local.batch_logs import TaskLogs, job_id_in
from jennah.local.batch_rules import Rules
from jennah.local.batch_specs import Refused

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Method:
    """How a method is decoded and carried out, and which field of its request names the job."""

    parse: Callable[[bytes], Any]
    call: Callable[[Any], Answer]
    names_job: Callable[[Any], str]


class Door:
    """Answers calls, and commits the faults that are in force."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._running: set[asyncio.Task[Message]] = set()

    def handler(self, service: str, methods: dict[str, _Method]) -> grpc.GenericRpcHandler:
        """A gRPC service of these methods."""
        return grpc.method_handlers_generic_handler(
            service,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._answering(name, method),
                    request_deserializer=method.parse,
                    response_serializer=_serialize,
                )
                for name, method in methods.items()
            },
        )

    def _answering(
        self, name: str, method: _Method
    ) -> Callable[[Any, grpc.aio.ServicerContext], Awaitable[Message]]:
        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Message:
            # A call that has arrived goes on without its caller, as it would in Batch.
            call = asyncio.create_task(self._carry_out(name, method, request))
            self._running.add(call)
            call.add_done_callback(self._forget)
            return await _or_abort(asyncio.shield(call), context)

        return answer

    async def _carry_out(self, name: str, method: _Method, request: Any) -> Message:
        job_id, rules = method.names_job(request), self._rules
        rules.count_received(name, job_id)
        if refusal := rules.find(Action.ANSWER, job_id, method=name):
            raise Refused(grpc.StatusCode[refusal.rule.code], "a fault of the local Batch service.")
        await rules.hold(Action.HOLD_BEFORE, job_id, method=name)
        answer = method.call(request)
        if answer.effective:
            rules.count_effective(name, job_id)
        await rules.hold(Action.HOLD_AFTER, job_id, method=name)
        if rules.find(Action.TIME_OUT, job_id, method=name):
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "a fault of the local Batch service.")
        return answer.message

    def _forget(self, call: asyncio.Task[Message]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            call.exception()  # its caller may be gone, and then nobody else looks at it


def batch_handlers(door: Door, api: BatchApi, logs: TaskLogs) -> list[grpc.GenericRpcHandler]:
    """`BatchService`, and what its clients need of `google.longrunning.Operations` and of Cloud Logging."""

    def by_name(request: Any) -> str:
        return _job_id_in(request.name)

    def by_parent(request: Any) -> str:
        return _job_id_in(request.parent)

    def by_id(request: batch_v1.CreateJobRequest) -> str:
        return request.job_id

    methods = {
        "CreateJob": _Method(batch_v1.CreateJobRequest.deserialize, api.create_job, by_id),
        "GetJob": _Method(batch_v1.GetJobRequest.deserialize, api.get_job, by_name),
        "ListJobs": _Method(batch_v1.ListJobsRequest.deserialize, api.list_jobs, by_parent),
        "CancelJob": _Method(batch_v1.CancelJobRequest.deserialize, api.cancel_job, by_name),
        "DeleteJob": _Method(batch_v1.DeleteJobRequest.deserialize, api.delete_job, by_name),
        "ListTasks": _Method(batch_v1.ListTasksRequest.deserialize, api.list_tasks, by_parent),
        "GetTask": _Method(batch_v1.GetTaskRequest.deserialize, api.get_task, by_name),
    }
    operations = {
        "GetOperation": _Method(operations_pb2.GetOperationRequest.FromString, api.get_operation, by_name)
    }
    entries = {"ListLogEntries": _Method(ListLogEntriesRequest.deserialize, logs.list_entries, job_id_in)}
    return [
        door.handler("google.cloud.batch.v1.BatchService", methods),
        door.handler("google.longrunning.Operations", operations),
        door.handler(LOGGING, entries),
    ]


def fault_handlers(rules: Rules, api: BatchApi) -> grpc.GenericRpcHandler:
    """The commands of `BatchFaults`."""

    async def wait_held(command: dict[str, Any]) -> None:
        await rules.wait_held(command["number"], command["count"], command["seconds"])

    async def wait_state(command: dict[str, Any]) -> None:
        job, states = command["job"], {JobState[name] for name in command["states"]}
        await rules.wait_until(lambda: api.has_been(job, states), command["seconds"])

    waiting = {"WaitHeld": wait_held, "WaitState": wait_state}
    immediate: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
        "Add": lambda command: {"number": rules.add(_rule(command["rule"]))},
        "Release": lambda command: rules.release(command["number"]),
        "Clear": lambda _: rules.clear(),
        "Acted": lambda command: dict(
            zip(("count", "occasions"), rules.acted(command["number"]), strict=True)
        ),
        "Calls": lambda command: asdict(rules.calls(command["method"], command["job"])),
        "Preempt": lambda command: {"count": api.preempt(command["job"])},
        "Vanish": lambda command: {"count": api.vanish(command["job"])},
    }

    async def obey(name: str, command: dict[str, Any]) -> dict[str, Any]:
        if name in waiting:
            await waiting[name](command)
            return {}
        return immediate[name](command) or {}

    def answering(name: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        async def answer(command: dict[str, Any], context: grpc.aio.ServicerContext) -> dict[str, Any]:
            return await _or_abort(obey(name, command), context)

        return answer

    return grpc.method_handlers_generic_handler(
        FAULTS,
        {
            name: grpc.unary_unary_rpc_method_handler(
                answering(name), request_deserializer=decode, response_serializer=encode
            )
            for name in (*waiting, *immediate)
        },
    )


async def _or_abort(call: Awaitable[_Result], context: grpc.aio.ServicerContext) -> _Result:
    try:
        return await call
    except Refused as refusal:
        await context.abort(refusal.code, refusal.message)
        raise


def _rule(values: dict[str, Any]) -> Rule:
    return Rule(**{**values, "action": Action(values["action"]), "states": tuple(values["states"])})


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _job_id_in(name: str) -> str:
    return name.partition("/jobs/")[2].partition("/")[0]
