"""The OpenAPI 3.1 document, made from the table of operations and the shapes that it names.

python -m shared.api.openapi prints it; docs/openapi.json is that, and a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared import errors
from shared.api.answers import ErrorAnswer
from shared.api.job_answers import JobAnswer, JobBatch, JobPage
from shared.api.operations import OPERATIONS, Operation
from shared.api.queries import IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY, NoQuery
from shared.api.shapes import EmptyRequest

_REF = "#/components/schemas/{model}"
_EVERYWHERE = (errors.InvalidArgument, errors.Unavailable)
# OpenAPI 3.1 leaves to each method of HTTP whether a body means anything: to DELETE it means nothing.
_WITH_BODY = frozenset({"POST"})
_AUTHENTICATED = (errors.Unauthenticated, errors.PermissionDenied)


def document() -> dict[str, Any]:
    """The document, as JSON would read it."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Jennah",
            "version": "1",
            "summary": "Run container jobs on Google Cloud Batch: submit, follow and audit them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"oidc": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in schemas.items() if not name.endswith("Query")},
            "securitySchemes": {
                "oidc": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An OpenID Connect token, of an accepted issuer and made for us.",
                }
            },
        },
    }


def _shapes() -> Iterator[tuple[type[BaseModel], Any]]:
    yield ErrorAnswer, "serialization"
    for operation in OPERATIONS:
        yield operation.query, "validation"
        if operation.body:
            yield operation.body, "validation"
        for event in operation.events.values():
            yield event, "serialization"
        for answer in operation.answers.values():
            if answer:
                yield answer, "serialization"


def _schemas() -> dict[str, Any]:
    _, found = models_json_schema(list(dict.fromkeys(_shapes())), ref_template=_REF)
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"operationId": operation.id, "summary": operation.summary}
    if operation.anonymous:
        shown["security"] = []
    parameters = [*_path_parameters(operation), *_query_parameters(operation, schemas)]
    if operation.keyed:
        parameters.append(_KEY)
    if operation.events:
        parameters.append(_LAST_EVENT)
    if operation.tagged:
        parameters.append(_TAGS)
    if parameters:
        shown["parameters"] = parameters
    if operation.body and operation.method in _WITH_BODY:
        required = operation.body is not EmptyRequest
        shown["requestBody"] = {"required": required, "content": _content(operation.body)}
    shown["responses"] = dict(sorted(_answers(operation).items()))
    return shown


def _answers(operation: Operation) -> dict[str, dict[str, Any]]:
    answers: dict[str, dict[str, Any]] = {
        str(status): {"description": _sentence(answer), "content": _content(answer)}
        if answer
        else {"description": "Done."}
        for status, answer in operation.answers.items()
    }
    if operation.tagged:
        answers["200"] |= {"headers": _TAGGED}
        answers["304"] = {"description": "It is what you have.", "headers": _TAGGED}
    if operation.events:
        shown_events = answers.setdefault("200", {"description": "A stream of events.", "content": {}})
        shown_events["content"]["text/event-stream"] = {"schema": _events(operation)}
    for status, links in _links(operation):
        answers[status]["links"] = links
    for refusal in _refusals(operation):
        status, shown = str(refusal.http_status), _refused(refusal)
        if status in answers:
            shown["description"] = f"{answers[status]['description']} {shown['description']}"
        answers[status] = shown
    return answers


_KEY_PATTERN = f"^{IDEMPOTENCY_KEY}$"
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the request: sent again with the same body, it is done once.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_IDEMPOTENCY_KEY,
        "pattern": _KEY_PATTERN,
    },
}


_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that was received: the stream goes on after it.",
    "schema": {"type": "string"},
}


def _events(operation: Operation) -> dict[str, Any]:
    kinds = [_event(name, model) for name, model in operation.events.items()]
    return {"description": "Each server-sent event of the stream; its data is JSON.", "oneOf": kinds}


def _event(name: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model.__name__)}
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    return {
        "type": "object",
        "properties": {"event": {"const": name}, "id": {"type": "string"}, "data": data},
        "required": ["event", "data"],
    }


_TAGS = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of an earlier answer: if nothing changed since, the answer is 304.",
    "schema": {"type": "string"},
}
_TAGGED = {"ETag": {"description": "Names what is shown.", "required": True, "schema": {"type": "string"}}}


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if "{job_id}" in operation.path:
        schema = {"type": "string", "format": "uuid"}
        yield {"name": "job_id", "in": "path", "required": True, "schema": schema}


# Where the id of a job stands in an answer.
_JOB_IDS = {
    JobAnswer: "$response.body#/job_id",
    JobBatch: "$response.body#/jobs/0/job_id",
    JobPage: "$response.body#/jobs/0/job_id",
}


def _links(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """What can be done with the jobs that an operation answers with."""
    for status, answer in operation.answers.items():
        if answer in _JOB_IDS and operation.id != "cancel_job":
            yield (
                str(status),
                {
                    other.id: {"operationId": other.id, "parameters": {"path.job_id": _JOB_IDS[answer]}}
                    for other in OPERATIONS
                    if "{job_id}" in other.path
                },
            )


def _query_parameters(operation: Operation, schemas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if operation.query is NoQuery:
        return
    for name, schema in schemas[operation.query.__name__]["properties"].items():
        # A query knows no null: a parameter that has no value is left out.
        shown = dict(schema)
        shown.pop("title", None)
        description = shown.pop("description", None)
        if "anyOf" in shown and shown.get("default", "") is None:
            (kind,) = (kind for kind in shown.pop("anyOf") if kind != {"type": "null"})
            del shown["default"]
            shown = kind | shown
        parameter = {"name": name, "in": "query", "schema": shown}
        yield parameter | ({"description": description} if description else {})


def _refusals(operation: Operation) -> Iterator[type[errors.JennahError]]:
    yield from operation.refusals
    if not operation.anonymous:
        yield from _AUTHENTICATED
        yield from _EVERYWHERE


_WAIT = {
    "Retry-After": {
        "description": "The seconds after which the same may succeed.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_PROOF = {
    "WWW-Authenticate": {
        "description": "How to prove who you are.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    }
}
_HEADERS: Mapping[type[errors.JennahError], dict[str, Any]] = {
    errors.ResourceExhausted: _WAIT,
    errors.Unavailable: _WAIT,
    errors.Unauthenticated: _PROOF,
}


def _refused(refusal: type[errors.JennahError]) -> dict[str, Any]:
    shown = {"description": _sentence(refusal), "content": _content(ErrorAnswer)}
    return shown | ({"headers": _HEADERS[refusal]} if refusal in _HEADERS else {})


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def _sentence(thing: type) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))  # noqa: T201 - that is its purpose
