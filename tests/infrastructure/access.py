"""Who is granted what: the bindings of docs/permissions.md, held to what is written and what is planned."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.infrastructure.configuration import Configuration
from tests.infrastructure.planning import Plan
from tests.infrastructure.tables import Row, Tables

_CUSTOM = "google_project_iam_custom_role"
_ACCOUNT = re.compile(
    r"(?:serviceAccount:|projects/my-project/serviceAccounts/)([\w-]+)@my-project\.iam\.gserviceaccount\.com"
)

Grant = tuple[str, str, str]
"""A role, its one member, and on what."""


@dataclass(frozen=True)
class Words:
    """access.yaml, which says more of it."""

    who: Mapping[str, Mapping[str, Any]]
    on: Mapping[str, Mapping[str, Any]]
    locals: Mapping[str, str]

    @classmethod
    @cache
    def read(cls) -> Words:
        """Read it."""
        return cls(**yaml.safe_load(Path(__file__).with_name("access.yaml").read_text()))

    def known(self, row: Row) -> bool:
        """Whether a row is said in these words."""
        return row.who in self.who and row.on in self.on

    def written(self, row: Row) -> dict[str, Any]:
        """The arguments of a binding."""
        role = f"${{{row.role}.name}}" if row.role.startswith(_CUSTOM) else row.role
        arguments = [
            ("role", role),
            *self.who[row.who]["written"].items(),
            *self.on[row.on]["written"].items(),
        ]
        # Of two that contradict each other neither can be kept.
        return {
            name: value if all(other == value for key, other in arguments if key == name) else "two things"
            for name, value in arguments
        }

    def planned(self, row: Row) -> list[Grant]:
        """What a binding comes to."""
        members, places = self.who[row.who]["planned"], self.on[row.on]["planned"]
        return [(row.role, member, _place(place)) for member, place in itertools.product(members, places)]


def written(configuration: Configuration) -> Iterator[str]:
    """Where the configuration differs from the table, in either direction."""
    words, rows = Words.read(), configuration.tables.bindings
    yield from _unknown(configuration.tables)
    for binding in configuration.bindings:
        block, row = binding.block, rows.get(binding.block.address)
        if row is None:
            yield f"{block.address} is not in docs/permissions.md"
        elif words.known(row):
            takes = configuration.schema.get(block.kind, {}).get("attributes", {})
            everywhere = {"project": "${var.project_id}", "location": "${var.region}"}
            meant = words.written(row) | {name: value for name, value in everywhere.items() if name in takes}
            yield from differing(block.address, meant, {**block.body, "depends_on": None})
    made = {binding.block.address for binding in configuration.bindings}
    yield from (f"docs/permissions.md lists {address}, which is not there" for address in rows.keys() - made)
    yield from differing(
        "locals", words.locals, {name: configuration.locals.get(name) for name in words.locals}
    )


def _unknown(tables: Tables) -> Iterator[str]:
    words = Words.read()
    said = {("who", row.who) for row in tables.bindings.values()}
    said |= {("on", row.on) for row in tables.bindings.values()}
    meant = {("who", word) for word in words.who} | {("on", word) for word in words.on}
    yield from (f"access.yaml does not say what {word!r} is ({column})" for column, word in said - meant)
    yield from (f"access.yaml explains {word!r} ({column}) for no row" for column, word in meant - said)


def differing(where: str, meant: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """What of it is not as it is meant; what is None is not there."""
    for name in sorted(meant.keys() | found.keys()):
        if meant.get(name) != found.get(name):
            yield f"{where}: {name} is {found.get(name)!r}, and not {meant.get(name)!r}"


def planned(tables: Tables, plan: Plan) -> Iterator[str]:
    """Where a plan differs from the table, in either direction."""
    words = Words.read()
    custom = {body["name"]: _base(address) for address, body in plan.items() if address.startswith(_CUSTOM)}
    grants: dict[str, list[Grant]] = {}
    for address, body in plan.items():
        if "_iam_" in address.partition(".")[0] and not address.startswith(_CUSTOM):
            grants.setdefault(_base(address), []).append(_grant(body, custom))
    for address in sorted(grants.keys() | tables.bindings.keys()):
        row = tables.bindings.get(address)
        meant = set(words.planned(row)) if row and words.known(row) else set()
        found = set(grants.get(address, []))
        yield from (f"{address} grants {' '.join(grant)}" for grant in sorted(found - meant))
        yield from (f"{address} does not grant {' '.join(grant)}" for grant in sorted(meant - found))
    for address, body in plan.items():
        if address.startswith(_CUSTOM):
            needed = tables.needed({row.address for row in tables.bindings.values() if row.role == address})
            for permission in sorted(needed ^ set(body["permissions"])):
                yield f"{address} {'lacks' if permission in needed else 'must not have'} {permission}"


def _base(address: str) -> str:
    return address.partition("[")[0]


def _grant(body: Mapping[str, Any], custom: Mapping[str, str]) -> Grant:
    of_all = ("role", "member", "project", "location", "etag", "id", "condition", "timeouts")
    place = {name: _short(value) for name, value in body.items() if name not in of_all and value is not None}
    for condition in body.get("condition") or ():
        place["condition"] = condition["expression"]
    return custom.get(body["role"], body["role"]), _short(str(body.get("member"))), _place(place)


def _place(place: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(place.items())) or "the project"


def _short(value: str) -> str:
    found = _ACCOUNT.fullmatch(value)
    return found[1] if found else value
