"""Every method of the API: one table that the server routes by and the OpenAPI document is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from shared import errors
from shared.api import answers, job_answers, queries
from shared.api.batches import BatchCreateRequest
from shared.api.shapes import EmptyRequest, Shape
from shared.api.spec import SubmitRequest

MAX_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of the API.

    Attributes:
        id: its name in the OpenAPI document, and of what handles it.
        method: of HTTP.
        path: with `{job_id}` where the id stands.
        summary: one sentence for people.
        answers: what it answers when it succeeds, by HTTP status; None for an empty body.
        query: the parameters that it takes.
        body: what is sent; `EmptyRequest` where it may be left out, None where nobody looks at it.
        events: the data of its server-sent events, by their names, where it may answer with a stream.
        keyed: whether an `Idempotency-Key` header may name the request.
        tagged: whether the answer has an ETag, so that who has it already is answered 304.
        refusals: what it answers else, beside what every method may (401, 403, 503 …).
        anonymous: whether anybody may call it.
    """

    id: str
    method: str
    path: str
    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    query: type[Shape] = queries.NoQuery
    body: type[Shape] | None = None
    events: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    keyed: bool = False
    tagged: bool = False
    refusals: tuple[type[errors.JennahError], ...] = field(default=())
    anonymous: bool = False


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="health",
        method="GET",
        path="/health",
        summary="Whether the function runs.",
        answers={200: answers.Health},
        anonymous=True,
    ),
    Operation(
        id="get_openapi",
        method="GET",
        path="/openapi.json",
        summary="This document.",
        answers={200: answers.Document},
        anonymous=True,
    ),
    Operation(
        id="submit_job",
        method="POST",
        path="/v1/jobs",
        summary="Submit a job. With a key that came before: the same job, or 409 if the body differs.",
        body=SubmitRequest,
        keyed=True,
        answers={201: job_answers.JobAnswer, 200: job_answers.JobAnswer},
        refusals=(
            errors.Conflict,
            errors.FailedPrecondition,
            errors.PayloadTooLarge,
            errors.ResourceExhausted,
        ),
    ),
    Operation(
        id="list_jobs",
        method="GET",
        path="/v1/jobs",
        summary="List the tenant's jobs, newest first.",
        query=queries.JobsQuery,
        answers={200: job_answers.JobPage},
    ),
    Operation(
        id="batch_create_jobs",
        method="POST",
        path="/v1/jobs:batchCreate",
        summary="Submit up to 100 jobs, all or none. A key names them all.",
        body=BatchCreateRequest,
        keyed=True,
        answers={201: job_answers.JobBatch, 200: job_answers.JobBatch},
        refusals=(
            errors.Conflict,
            errors.FailedPrecondition,
            errors.PayloadTooLarge,
            errors.ResourceExhausted,
        ),
    ),
    Operation(
        id="get_job",
        method="GET",
        path="/v1/jobs/{job_id}",
        summary="Show a job with its attempts.",
        query=queries.TenantQuery,
        tagged=True,
        answers={200: job_answers.JobDetails},
        refusals=(errors.NotFound,),
    ),
    Operation(
        id="delete_job",
        method="DELETE",
        path="/v1/jobs/{job_id}",
        summary="Delete a job that has ended, with its audit trail. One that may not be deleted yet: 409.",
        body=EmptyRequest,
        answers={204: None},
        refusals=(errors.NotFound, errors.FailedPrecondition, errors.PayloadTooLarge),
    ),
    Operation(
        id="list_transitions",
        method="GET",
        path="/v1/jobs/{job_id}/transitions",
        summary="Show a job's audit trail, oldest first.",
        query=queries.TransitionsQuery,
        answers={200: answers.TransitionPage},
        refusals=(errors.NotFound,),
    ),
    Operation(
        id="stream_events",
        method="GET",
        path="/v1/jobs/{job_id}/events",
        summary="Follow a job's audit trail as it grows.",
        answers={},
        events={"transition": answers.TransitionAnswer, "end": answers.StreamEnd},
        refusals=(errors.NotFound, errors.ResourceExhausted),
    ),
    Operation(
        id="read_logs",
        method="GET",
        path="/v1/jobs/{job_id}/logs",
        summary="Show, or follow, what a task of a job has written.",
        query=queries.LogsQuery,
        answers={200: answers.LogPage},
        events={"log": answers.LogEntryAnswer, "end": answers.StreamEnd},
        refusals=(errors.NotFound, errors.ResourceExhausted),
    ),
    Operation(
        id="cancel_job",
        method="POST",
        path="/v1/jobs/{job_id}:cancel",
        summary="Cancel a job. One that is CANCELLED already: 200. One that is COMPLETED or FAILED: 409.",
        body=EmptyRequest,
        answers={200: job_answers.JobAnswer},
        refusals=(errors.NotFound, errors.FailedPrecondition, errors.PayloadTooLarge),
    ),
    Operation(
        id="retry_job",
        method="POST",
        path="/v1/jobs/{job_id}:retry",
        summary="Submit a job that FAILED or was CANCELLED again, as a new one that names it as its origin.",
        keyed=True,
        body=EmptyRequest,
        answers={201: job_answers.JobAnswer, 200: job_answers.JobAnswer},
        refusals=(
            errors.NotFound,
            errors.FailedPrecondition,
            errors.Conflict,
            errors.ResourceExhausted,
            errors.PayloadTooLarge,
        ),
    ),
    Operation(
        id="get_tenant",
        method="GET",
        path="/v1/tenant",
        summary="Show who you are here. The first accepted submission makes your tenant; before it: 404.",
        answers={200: answers.TenantAnswer},
        refusals=(errors.NotFound,),
    ),
    Operation(
        id="delete_tenant",
        method="DELETE",
        path="/v1/tenant",
        summary="Delete the tenant with all its jobs. No new ones are taken; those that live are cancelled.",
        body=EmptyRequest,
        answers={202: answers.TenantAnswer},
        refusals=(errors.NotFound, errors.PayloadTooLarge),
    ),
)
