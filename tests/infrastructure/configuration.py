"""The configuration that rules judge, and what they ask of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.infrastructure import hcl
from tests.infrastructure.calls import FUNCTIONS, Code
from tests.infrastructure.hcl import Block
from tests.infrastructure.places import PERMISSIONS, ROOT, RUNBOOK, SCHEMA, TERRAFORM
from tests.infrastructure.tables import Tables


@dataclass(frozen=True)
class Binding:
    """A role for somebody on something.

    Attributes:
        role: a predefined role, or the address of a custom one.
        member: the expression.
        functions: those whose account is the member.
    """

    block: Block
    role: str
    member: str
    functions: frozenset[str]


class Configuration:
    """All of terraform/, the pages that are held to it, and the functions' code.

    Args:
        files: text by path, as `Configuration.files()` gives them.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.blocks = hcl.read({path: text for path, text in files.items() if path.endswith(".tf")})
        self.tables = Tables.read(files["permissions.md"])
        self.runbook = files["runbook.md"]
        self.code = Code.of(files)
        self.locals = hcl.local_values(self.blocks)

    @staticmethod
    def files() -> dict[str, str]:
        """What is in the repository."""
        files = {path.name: path.read_text() for path in sorted(TERRAFORM.glob("*.tf"))}
        code = [path for folder in ("functions", "shared") for path in sorted((ROOT / folder).rglob("*.py"))]
        files |= {path.relative_to(ROOT).as_posix(): path.read_text() for path in code}
        return files | {page.name: page.read_text() for page in (PERMISSIONS, RUNBOOK)}

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Arguments of the provider's resources."""
        schema: dict[str, Any] = json.loads(SCHEMA.read_text())["resources"]
        return schema

    def resources(self, kind: str = "google_") -> list[Block]:
        """The managed resources whose type begins like that."""
        return hcl.resources(self.blocks, kind)

    def resource(self, address: str) -> Mapping[str, Any]:
        """The body of a resource; empty where there is none."""
        return next((block.body for block in self.blocks if block.address == address), {})

    def variable(self, name: str) -> Mapping[str, Any]:
        """The body of a variable."""
        return self.resource(f"variable.{name}")

    @cached_property
    def bindings(self) -> list[Binding]:
        """Everything that grants something."""
        return [
            Binding(block, self._role(block), str(block.body.get("member")), self._functions(block))
            for block in self.resources()
            if re.search(r"_iam_(member|binding|policy)$", block.kind)
        ]

    def _role(self, block: Block) -> str:
        role = str(block.body.get("role"))
        custom = re.search(r"google_project_iam_custom_role\.\w+", role)
        return custom[0] if custom else role

    def _functions(self, block: Block) -> frozenset[str]:
        member = str(block.body.get("member"))
        if "google_service_account.functions[" not in member:
            return frozenset()
        if named := re.search(r'functions\["(\w+)"\]', member):
            return frozenset({named[1]})
        each = str(block.body.get("for_each"))
        return frozenset(FUNCTIONS if each == "${local.functions}" else re.findall(r'"(\w+)"', each))

    def permissions(self, role: str) -> frozenset[str]:
        """What a role allows, as far as it is relied on; itself, too."""
        custom: list[str] = self.resource(role).get("permissions", [])
        return self.tables.roles.get(role, frozenset()) | {role, *custom}

    def number(self, value: Any) -> float:
        """What an expression of numbers and locals is."""
        text = re.sub(r"local\.(\w+)", lambda found: str(self.number(self.locals[found[1]])), str(value))
        return float(_arithmetic(ast.parse(text.strip("${}"), mode="eval").body))


def _arithmetic(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _arithmetic(left) + _arithmetic(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _arithmetic(left) * _arithmetic(right)
    raise ValueError(f"not a sum: {ast.unparse(node)}")


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, names of arguments included."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)


def only(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The one block of that name; empty where there is none."""
    blocks = body.get(name)
    return blocks[0] if isinstance(blocks, list) and blocks and isinstance(blocks[0], Mapping) else {}
