"""docs/jobs.md says what the models say: every field, limit and default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.api.openapi import document
from shared.resources import DEFAULT_PROFILE, PROFILES
from tests.submissions import ACCOUNT, parse

TEXT = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
SCHEMAS = document()["components"]["schemas"]
ELSEWHERE = {"retry"}  # docs/retries.md


def table(heading: str) -> dict[str, list[str]]:
    """The first table after a heading: the first cell of each row, without ticks, and the others."""
    section = TEXT.partition(f"\n{heading}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


FIELDS = table("## Fields")


def fields(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every field below a schema: its path, its own schema without null, and whether it is required."""
    for name, given in schema["properties"].items():
        kinds = [kind for kind in given.get("anyOf", [given]) if kind.get("type") != "null"]
        (kind,) = kinds
        inner = kind.get("items", kind)
        path = f"{prefix}{name}"
        shown = dict(kind)
        if "default" in given:
            shown["default"] = given["default"]
        shown["nullable"] = "anyOf" in given
        yield path, shown, name in schema.get("required", ())
        if "$ref" in inner and name not in ELSEWHERE:
            model = SCHEMAS[inner["$ref"].rpartition("/")[2]]
            yield from fields(model, f"{path}[]." if inner is not kind else f"{path}.")


ALL = {path: (schema, required) for path, schema, required in fields(SCHEMAS["SubmitRequest"])}


def limits(schema: dict[str, Any]) -> Iterator[str]:
    """What must stand in the column `allowed`."""
    if "minimum" in schema:
        yield f"{schema['minimum']} to {schema['maximum']}"
    if "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"])
    if "maxLength" in schema:
        least = f"{schema['minLength']} to" if "minLength" in schema else "at most"
        yield f"{least} {schema['maxLength']} characters"
    for most in ("maxItems", "maxProperties"):
        if most in schema:
            yield f"at most {schema[most]} entries"
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from limits(schema[inner])
    if schema.get("nullable"):
        yield "or null"


def test_every_field_is_documented_in_the_order_of_the_model() -> None:
    assert list(FIELDS) == list(ALL)


@pytest.mark.parametrize("path", ALL)
def test_limits_and_defaults_are_the_models(path: str) -> None:
    allowed, default, meaning = FIELDS[path]
    schema, required = ALL[path]
    for limit in limits(schema):
        assert limit in allowed
    if required:
        assert default == "required"
    elif path not in ELSEWHERE:
        said = default.strip("`")
        assert said == schema["default"] or json.loads(said) == schema["default"]
    assert meaning
    assert ("null" in allowed) == schema["nullable"]


def test_profiles() -> None:
    shown = table("## Size")
    assert {name.split("`")[0]: [int(cell) for cell in cells] for name, cells in shown.items()} == {
        name: [size.cpu_milli, size.memory_mib] for name, size in PROFILES.items()
    }
    assert f"| `{DEFAULT_PROFILE}` (the default) |" in TEXT


@pytest.mark.parametrize("body", re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL))
def test_every_example_is_accepted(body: str) -> None:
    parse(json.loads(body)).spec(ACCOUNT)
