"""The OpenAPI document says what the server does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.api.openapi import document
from shared.api.operations import OPERATIONS, Operation
from shared.handlers import Handlers

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
ANSWERED_BY_THE_DOOR = {"health", "get_openapi"}


def test_the_committed_document_is_the_one_that_is_served() -> None:
    assert COMMITTED.read_text() == json.dumps(document(), indent=2) + "\n"


def test_every_operation_has_its_handler_and_every_handler_its_operation() -> None:
    handlers = {name for name in vars(Handlers) if not name.startswith("_")}
    assert handlers == {operation.id for operation in OPERATIONS} - ANSWERED_BY_THE_DOOR


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_operation_is_described(operation: Operation) -> None:
    described = document()["paths"][operation.path][operation.method.lower()]
    assert described["operationId"] == operation.id
    assert described["summary"].endswith((".", "differs."))
    assert ("401" in described["responses"]) is not operation.anonymous
    assert all(answer["description"] for answer in described["responses"].values())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_headers_that_a_client_must_heed_are_described(operation: Operation) -> None:
    answers = document()["paths"][operation.path][operation.method.lower()]["responses"]
    for status, header in (("401", "WWW-Authenticate"), ("429", "Retry-After"), ("503", "Retry-After")):
        assert status not in answers or answers[status]["headers"][header]["required"]


@pytest.mark.parametrize(
    ("method", "path"), [("post", "/v1/jobs"), ("post", "/v1/jobs:batchCreate"), ("get", "/v1/jobs")]
)
def test_a_job_is_linked_to_all_that_can_be_done_with_it(method: str, path: str) -> None:
    links = document()["paths"][path][method]["responses"]["200"]["links"]
    assert list(links) == [operation.id for operation in OPERATIONS if "{job_id}" in operation.path]
