"""What the API's shapes have in common: they are strict, and what is wrong with a request is a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from shared.errors import InvalidArgument

# What the validation library says, in the words of this API.
_SENTENCES = {
    "missing": "is required",
    "json_invalid": "is not JSON: {error}",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}

# An answer must not grow with what is wrong in the request.
_MOST_PROBLEMS = 20
_LONGEST_NAME = 100


class Shape(BaseModel):
    """Part of a request. Types are strict: true is no number. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class EmptyRequest(Shape):
    """What is sent where there is nothing to say: no body, or an object without fields."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# For whole numbers, which JSON Schema knows by their value: 3.0 is one.
WHOLE = BeforeValidator(_whole)

S = TypeVar("S", bound=Shape)


def parse(kind: type[S], body: bytes) -> S:
    """Read a body.

    Raises:
        InvalidArgument: names the first field that is wrong; the first 20 stand in its details.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, unknown="is no field of this request") from None


def parse_query(kind: type[S], arguments: Mapping[str, str]) -> S:
    """Read the parameters of a query.

    Raises:
        InvalidArgument: as `parse`.
    """
    try:
        return kind.model_validate_json(json.dumps(dict(arguments)))
    except ValidationError as error:
        raise _refusal(error, unknown="is no parameter of this method") from None


def _refusal(error: ValidationError, *, unknown: str) -> InvalidArgument:
    problems = error.errors(include_url=False, include_input=False)[:_MOST_PROBLEMS]
    details = [
        {
            "field": _path(problem["loc"]),
            "reason": unknown if problem["type"] == "extra_forbidden" else _sentence(problem),
        }
        for problem in problems
    ]
    return InvalidArgument(f"{details[0]['field']}: {details[0]['reason']}", *details)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part[:_LONGEST_NAME]}" if path else part[:_LONGEST_NAME]
    return path or "body"


def _sentence(problem: Mapping[str, Any]) -> str:
    sentence = _SENTENCES.get(problem["type"])
    return sentence.format(**problem.get("ctx", {})) if sentence else str(problem["msg"])
