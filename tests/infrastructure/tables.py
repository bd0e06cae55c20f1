"""The tables of docs/permissions.md."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What is done, by which functions (none: by Google), with which permissions, through which bindings."""

    calls: tuple[str, ...]
    permissions: frozenset[str]
    functions: frozenset[str]
    bindings: frozenset[str]


@dataclass(frozen=True)
class Row:
    """A binding: what `who` and `on` mean is in access.yaml; the role may be the address of a custom one."""

    address: str
    who: str
    role: str
    on: str


@dataclass(frozen=True)
class Tables:
    """The page as values."""

    needs: tuple[Need, ...]
    bindings: dict[str, Row]
    roles: dict[str, frozenset[str]]

    @classmethod
    def read(cls, text: str) -> Tables:
        """Read the page."""
        sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
        needs = [
            Need(
                tuple(_code(calls)),
                frozenset(_code(permissions)),
                frozenset(by.split(", ")),
                frozenset(_code(through)),
            )
            for calls, _, permissions, by, through in _rows(sections["Calls of the functions"])
        ]
        needs += [
            Need((), frozenset(_code(permissions)), frozenset(), frozenset(_code(through)))
            for _, permissions, _, through in _rows(sections["What Google does for the platform"])
        ]
        bindings = {
            _code(name)[0]: Row(_code(name)[0], who, _code(role)[0], on)
            for name, who, role, on in _rows(sections["Bindings"])
        }
        roles = {
            _code(role)[0]: frozenset(_code(permissions))
            for role, permissions in _rows(sections["What is relied on in Google's roles"])
        }
        return cls(tuple(needs), bindings, roles)

    def needed(self, bindings: Collection[str]) -> set[str]:
        """The permissions that these bindings are there for."""
        needs = [need for need in self.needs if need.bindings & set(bindings)]
        return {permission for need in needs for permission in need.permissions}


def _rows(section: str) -> Iterator[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)
