"""docs/api.md says what the API does: every operation, parameter, answer, error, field and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import errors
from shared.api.openapi import document
from shared.api.operations import OPERATIONS, Operation
from shared.model import Actor
from shared.status_details import CODES, UNKNOWN

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
DOCUMENT = document()
EVERYWHERE = {400, 401, 403, 503}
# Shapes without a table: what is in them stands with the shape that they hold, or on another page.
ELSEWHERE = {
    *("Document", "Health", "JobDetails", "JobPage", "JobBatch", "TransitionPage", "LogPage", "LimitsAnswer"),
    "UsageAnswer",
    *("ErrorAnswer", "ErrorBody", "JobStatus", "Provisioning"),
    *("ResourcesAnswer", "GpusAnswer", "MountAnswer"),
}


def sections(text: str) -> dict[str, str]:
    """What stands below each heading of a name."""
    parts = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


OF_OPERATIONS, OF_SHAPES = (sections(part) for part in TEXT.split("\n## Shapes\n"))


def rows(text: str) -> list[list[str]]:
    """The first table, without its head."""
    found = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = found[0].splitlines()[2:] if found else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cells: list[list[str]]) -> list[str]:
    return [name for row in cells for name in re.findall(r"`([^`]+)`", row[0])]


def described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


def test_every_operation_has_its_section_and_no_other_is_there() -> None:
    assert sorted(OF_OPERATIONS) == sorted(operation.id for operation in OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_an_operation_is_described_as_it_is(operation: Operation) -> None:
    section = OF_OPERATIONS[operation.id]
    assert section.strip().startswith(f"`{operation.method} {operation.path}` ")
    parameters = {parameter["name"]: parameter for parameter in described(operation).get("parameters", ())}
    shown = {row[0].strip("`"): row[1:] for row in rows(section)}
    assert list(shown) == list(parameters)
    for name, (where, allowed, _) in shown.items():
        assert where == parameters[name]["in"]
        assert list(limits(parameters[name]["schema"])) == re.findall(r"\d+ to \d+", allowed)
    if operation.body:
        assert f"`{operation.body.__name__}`" in section
    assert ("needs no token" in section) == operation.anonymous


def limits(schema: dict[str, Any]) -> Iterator[str]:
    for least, most in (("minimum", "maximum"), ("minLength", "maxLength")):
        if least in schema:
            yield f"{schema[least]} to {schema[most]}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_answer_of_an_operation_is_named(operation: Operation) -> None:
    (said,) = re.findall(r"^Answers: (.*)$", OF_OPERATIONS[operation.id], re.MULTILINE)
    everywhere = set() if operation.anonymous else EVERYWHERE
    statuses = {int(status) for status in described(operation)["responses"]}
    assert {int(status) for status in re.findall(r"\b\d{3}\b", said)} == statuses - everywhere
    for answer in (*operation.answers.values(), *operation.events.values()):
        assert answer is None or f"`{answer.__name__}`" in said
    for name in operation.events:
        assert f"`{name}` (" in said


def test_every_error_is_named() -> None:
    shown = {(int(row[0]), row[1].strip("`")) for row in rows(TEXT.partition("## Errors")[2])}
    kinds = [errors.JennahError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert shown == {(kind.http_status, kind.code) for kind in kinds}


@pytest.mark.parametrize("shape", OF_SHAPES)
def test_every_field_of_a_shape_is_described(shape: str) -> None:
    if shape != "StatusDetailAnswer":
        properties = DOCUMENT["components"]["schemas"][shape]["properties"]
        assert sorted(names(rows(OF_SHAPES[shape]))) == sorted(properties)


def test_every_shape_of_an_answer_is_described() -> None:
    answers = {name for name in DOCUMENT["components"]["schemas"] if not name.endswith("Request")}
    assert answers == OF_SHAPES.keys() | ELSEWHERE


def test_every_code_is_described() -> None:
    assert sorted(names(rows(OF_SHAPES["StatusDetailAnswer"]))) == sorted({*CODES, UNKNOWN})


def test_every_actor_is_named() -> None:
    assert all(f"`{actor}`" in OF_SHAPES["TransitionAnswer"] for actor in Actor)
