"""Rules for texts, each written once: the OpenAPI document shows the pattern that the server checks.

A pattern means the same in Python and in ECMA-262: only what both read alike is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

# How much of a text that is wrong an answer repeats.
_LONGEST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Matches:
    """A text must match the pattern from its first character to its last; else `problem` is the answer."""

    pattern: str
    problem: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": anchored(self.pattern)}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.problem)
        return value


@dataclass(frozen=True, slots=True)
class Lacks:
    """A text must not have the pattern anywhere; else `problem` is the answer."""

    pattern: str
    problem: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"not": {"pattern": self.pattern}}

    def _check(self, value: str) -> str:
        if re.search(self.pattern, value):
            raise ValueError(self.problem)
        return value


@dataclass(frozen=True, slots=True)
class Names:
    """The names in an object must match the pattern; else the first that does not is shown with `problem`."""

    pattern: str
    problem: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"propertyNames": {"pattern": anchored(self.pattern)}}

    def _check(self, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value:
            if not re.fullmatch(self.pattern, name):
                raise ValueError(f"{name[:_LONGEST_SHOWN]!r} {self.problem}")
        return value


def anchored(pattern: str) -> str:
    """The pattern as JSON Schema wants it: it would look for it anywhere in a text."""
    return f"^(?:{pattern})$"
