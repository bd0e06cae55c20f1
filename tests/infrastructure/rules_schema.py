"""Rules that hold for any configuration: arguments that exist, descriptions, one project."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.infrastructure.configuration import Configuration, texts
from tests.infrastructure.hcl import META, Block
from tests.infrastructure.reviewed import (
    ADDED_IN_7,
    DYNAMIC,
    IGNORED_CHANGES,
    OTHER_SERVICES,
    REMOVED_IN_7,
    SERVICES,
)


def arguments(configuration: Configuration) -> Iterator[str]:
    """Every argument exists in the provider, and the required ones are there."""
    for block in configuration.blocks:
        if block.kind.startswith(("google_", "data.")):
            schema = configuration.schema.get(block.kind)
            if schema is None:
                yield f"{block.address}: no such resource in the schema; write it anew with read_schema"
            else:
                yield from _arguments(block, schema, block.body, "")


def _arguments(block: Block, schema: Mapping[str, Any], body: Mapping[str, Any], path: str) -> Iterator[str]:
    attributes, blocks = schema["attributes"], schema["blocks"]
    for name, value in body.items():
        place = f"{path}{name}"
        if not path and name in META:
            continue
        if (block.kind, place) in REMOVED_IN_7:
            yield f"{block.address}: {place} is gone in provider 7"
        elif name in blocks:
            yield from _nested(block, blocks[name], value, place)
        elif name in attributes:
            if problem := _unfit(attributes[name], value):
                yield f"{block.address}: {place} {problem}"
        elif (block.kind, place) not in ADDED_IN_7:
            yield f"{block.address}: there is no argument {place}"
    required = [name for name, (_, how) in attributes.items() if how == "required"]
    required += [name for name, inner in blocks.items() if inner["required"]]
    yield from (f"{block.address}: {path}{name} is missing" for name in required if name not in body)


def _nested(block: Block, schema: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{block.address}: {place} is a block"
        return
    if len(value) > 1 and not schema["many"]:
        yield f"{block.address}: {place} may be there once"
    for inner in value:
        yield from _arguments(block, schema, inner, f"{place}.")


def _unfit(attribute: tuple[str, str], value: Any) -> str | None:
    type_, how = attribute
    if how == "read-only":
        return "can only be read"
    if isinstance(value, Mapping) and not type_.startswith("map"):
        return "is no map"
    if isinstance(value, list) and not type_.startswith("list"):
        return "is no list"
    return None


def dynamic(configuration: Configuration) -> Iterator[str]:
    """Blocks that may be absent are reviewed: other rules take what is in a `dynamic` one as always there."""
    found = {(block.address, name) for block in configuration.blocks for name in block.dynamic}
    yield from (f"{address}: {name} may be absent" for address, name in sorted(found - DYNAMIC.keys()))
    yield from (f"{address}: {name} is always there" for address, name in sorted(DYNAMIC.keys() - found))


def ignored_changes(configuration: Configuration) -> Iterator[str]:
    """What is written is what is deployed: no change is ignored but the reviewed ones."""
    for block in configuration.blocks:
        for lifecycle in block.body.get("lifecycle", ()):
            ignored, may = lifecycle.get("ignore_changes", []), IGNORED_CHANGES.get(block.address, {})
            for name in ignored if isinstance(ignored, list) else [ignored]:
                if name.strip("${}") not in may:
                    yield f"{block.address}: changes of {name} would be ignored"


def project(configuration: Configuration) -> Iterator[str]:
    """Everything is made in the project that is named, whatever the provider's own default is."""
    for block in configuration.resources():
        takes = configuration.schema.get(block.kind, {}).get("attributes", {})
        if "project" in takes and block.body.get("project") != "${var.project_id}":
            yield f"{block.address}: project must be var.project_id"


def descriptions(configuration: Configuration) -> Iterator[str]:
    """Variables and outputs say what they are; variables have a type."""
    for block in configuration.blocks:
        if block.kind in ("variable", "output") and not block.body.get("description"):
            yield f"{block.address} has no description"
        if block.kind == "variable" and "type" not in block.body:
            yield f"{block.address} has no type"


def references(configuration: Configuration) -> Iterator[str]:
    """Variables and locals that are used exist, and those that exist are used."""
    # A variable's own validation is no use of it.
    everything = " ".join(
        text
        for block in configuration.blocks
        for name, value in block.body.items()
        if name != "validation"
        for text in texts(value)
    )
    for kind, names in {
        "var": {block.name for block in configuration.blocks if block.kind == "variable"},
        "local": set(configuration.locals),
    }.items():
        used = set(re.findall(rf"\b{kind}\.(\w+)", everything))
        yield from (f"{kind}.{name} does not exist" for name in sorted(used - names))
        yield from (f"{kind}.{name} is not used" for name in sorted(names - used))


def services(configuration: Configuration) -> Iterator[str]:
    """Each service that something needs is switched on, and left on for others."""
    on = {name.removesuffix(".googleapis.com") for name in configuration.locals["services"]}
    needed = {
        service
        for block in configuration.resources()
        for start, service in SERVICES.items()
        if block.kind.startswith(start)
    } | OTHER_SERVICES
    yield from (f"the service {name} is needed and not switched on" for name in sorted(needed - on))
    yield from (f"the service {name} is switched on for nothing" for name in sorted(on - needed))
    if configuration.resource("google_project_service.services").get("disable_on_destroy") is not False:
        yield "google_project_service.services: others may use the services, disable_on_destroy must be false"
    for block in configuration.resources():
        if block.kind != "google_project_service" and not any(
            block.kind.startswith(start) for start in SERVICES
        ):
            yield f"{block.address}: reviewed.SERVICES does not know its service"


def versions(configuration: Configuration) -> Iterator[str]:
    """The provider is 7.x and Terraform at least 1.9, whose validations may name other variables."""
    terraform = configuration.resource("terraform.")
    if terraform.get("required_version") != ">= 1.9":
        yield "required_version must be >= 1.9"
    if '"~> 7.0"' not in str(terraform).replace("'", '"'):
        yield "the google provider must be ~> 7.0"
