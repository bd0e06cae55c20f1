"""What a plan comes to where a wrong value is no error: held to expected.yaml, in either direction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.infrastructure import access
from tests.infrastructure.calls import FUNCTIONS
from tests.infrastructure.configuration import Configuration
from tests.infrastructure.planning import Plan

# Names and words for people; the project is a rule's affair.
_WORDS = {"description", "display_name", "documentation", "labels", "user_labels", "project"}
# What is held to something else: settings to `environment`, and the archive, never the same, to a rule.
_ELSEWHERE = ("service_config.environment_variables.", "build_config.source.storage_source.object")


@cache
def expected() -> Mapping[str, Any]:
    """What was reviewed."""
    content: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("expected.yaml").read_text())
    return content


def differences(name: str, plan: Plan, configuration: Configuration) -> Iterator[str]:
    """Where a plan is not what was reviewed."""
    yield from environments(name, plan)
    if name == "whole":
        yield from access.planned(configuration.tables, plan)
        yield from resources(plan, configuration.schema)
        yield from dashboards(plan)


def environments(name: str, plan: Plan) -> Iterator[str]:
    """Where a function's settings differ from those expected of this plan."""
    settings: dict[str, str] = expected()["environment"]["whole"] | expected()["environment"][name]
    for function in FUNCTIONS:
        address = f'google_cloudfunctions2_function.functions["{function}"]'
        found = plan[address]["service_config"][0]["environment_variables"]
        threads = {"THREADS": str(expected()["threads"][name][function])}
        yield from access.differing(address, settings | threads, found)


def resources(plan: Plan, schema: Mapping[str, Any]) -> Iterator[str]:
    """Where a resource of a kind that is listed differs, is missing, or is one too many."""
    kinds = {_kind(entry["resource"]) for entry in expected()["resources"]}
    meant = {
        address: dict(_flat(_filled(entry["is"], values)))
        for entry in expected()["resources"]
        for address, values in _instances(entry)
    }
    found = {
        address: {
            path: value
            for path, value in _flat(_said(schema[_kind(address)], body))
            if not path.startswith(_ELSEWHERE)
        }
        for address, body in plan.items()
        if _kind(address) in kinds
    }
    yield from (f"{address} is not expected" for address in sorted(found.keys() - meant.keys()))
    yield from (f"{address} is missing" for address in sorted(meant.keys() - found.keys()))
    for address in sorted(found.keys() & meant.keys()):
        yield from access.differing(address, meant[address], found[address])


def dashboards(plan: Plan) -> Iterator[str]:
    """Where a dashboard says what Monitoring does not keep: it would be a change in every plan."""
    for address, body in plan.items():
        if address.startswith("google_monitoring_dashboard."):
            for path, value in _flat(json.loads(body["dashboard_json"])):
                if value in ("0", "", "[]", "{}", "None", "False"):
                    yield f"{address}: {path} is {value or 'empty'}, which Monitoring drops"


def _kind(address: str) -> str:
    return address.partition(".")[0]


def _instances(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "each" not in entry:
        yield entry["resource"], {}
    for key, values in entry.get("each", {}).items():
        yield f'{entry["resource"]}["{key}"]', {"key": key, **values}


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """With `<name>` replaced by the instance's value of that name."""
    if isinstance(value, Mapping):
        return {name: _filled(inner, values) for name, inner in value.items()}
    return re.sub(r"<(\w+)>", lambda found: str(values[found[1]]), str(value))


def _said(schema: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration says of it: neither what is left out nor what Google chooses."""
    said: dict[str, Any] = {}
    for name, value in body.items():
        if name in _WORDS or name == "id" or value in (None, [], {}):
            continue
        if name in schema["blocks"]:
            said[name] = [_said(schema["blocks"][name], inner) for inner in value]
        elif schema["attributes"][name][1] != "read-only":
            said[name] = value
    return said


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each single value with where it is; of lists of one thing, the thing."""
    if isinstance(value, list) and len(value) == 1:
        yield from _flat(value[0], path)
    elif isinstance(value, Mapping | list) and value:
        inner = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, each in inner:
            yield from _flat(each, f"{path}.{name}".lstrip("."))
    else:
        yield path, str(value)
