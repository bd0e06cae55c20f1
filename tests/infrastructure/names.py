"""What the names in a module's source stand for: `get` of `from os import environ as get` is `os.environ`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

# Builtins by which a name could be used that stands nowhere in the source.
_BLIND = {"__import__", "eval", "exec"}


@dataclass(frozen=True)
class Mention:
    """Where something that is imported is mentioned.

    Attributes:
        name: in full, as far as it goes, such as `google.cloud.batch_v1.Job`.
        imported: whether this is its import.
        use: the innermost call that it is a direct part of, or the mention itself.
    """

    name: str
    imported: bool
    use: str


@cache
def mentions(parsed: ast.Module) -> tuple[Mention, ...]:
    """All in a module, imports within functions too."""
    return tuple(_mentions(parsed))


@cache
def parents(parsed: ast.Module) -> Mapping[ast.AST, ast.AST]:
    """What each node is directly in."""
    return {inner: node for node in ast.walk(parsed) for inner in ast.iter_child_nodes(node)}


def full_name(parsed: ast.Module, node: ast.AST) -> str | None:
    """What a name, or an attribute of one, stands for; None where that is not imported."""
    first, _, rest = ast.unparse(node).partition(".")
    name = _bound(parsed).get(first) or (f"builtins.{first}" if first in _BLIND else None)
    return f"{name}.{rest}" if name and rest else name


def _mentions(parsed: ast.Module) -> Iterator[Mention]:
    above = parents(parsed)
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield Mention(_imported(node, alias), imported=True, use=ast.unparse(node))
        elif isinstance(node, ast.Name | ast.Attribute) and not isinstance(above[node], ast.Attribute):
            whole: ast.AST = node
            while isinstance(whole, ast.Attribute):
                whole = whole.value
            if isinstance(whole, ast.Name) and (name := full_name(parsed, node)):
                use = above[node] if isinstance(above[node], ast.Call) else node
                yield Mention(name, imported=False, use=ast.unparse(use))


@cache
def _bound(parsed: ast.Module) -> Mapping[str, str]:
    bound = {}
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = _imported(node, alias)
                if isinstance(node, ast.Import) and not alias.asname:
                    name = name.partition(".")[0]
                bound[alias.asname or alias.name.partition(".")[0]] = name
    return bound


def _imported(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    return f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
