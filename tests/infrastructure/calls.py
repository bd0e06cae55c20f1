"""Which calls to Google's APIs the code makes, and from which function. The source is read, nothing runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.infrastructure.places import ROOT

FUNCTIONS = ("submission", "scheduling", "notification", "reconciliation")

# How the code names what it calls Google by: everything that is called on these is a call to be known.
_RECEIVERS = {
    "snapshot": "spanner",
    "transaction": "spanner",
    "batch": "spanner",
    "target": "spanner",
    "database": "spanner",
    "_database": "spanner",
}
# Classes of ours, or of others than Google.
_OWN = {"BatchClient", "LogClient", "Client"}
_ADAPTERS = {"batch_client": "batch", "log_client": "logging", "publisher": "pubsub"}


@dataclass(frozen=True)
class Function:
    """A function or method of `shared`, or what a module does by itself.

    Attributes:
        calls: to Google, such as `batch.create_job` or `spanner.read`.
        names: whatever else it mentions.
    """

    module: str
    name: str
    calls: frozenset[str]
    names: frozenset[str]

    @property
    def always(self) -> bool:
        """Whether it runs without being named: constructors, operators, and a module's own statements."""
        return self.name.startswith("__")

    @property
    def known_as(self) -> set[tuple[str | None, str]]:
        """What it may be mentioned as: a private name by its own module only."""
        return {_mention(self.module, self.name)}

    @property
    def mentions(self) -> set[tuple[str | None, str]]:
        """What it mentions."""
        return {_mention(self.module, name) for name in self.names}


def _mention(module: str, name: str) -> tuple[str | None, str]:
    return (module if name.startswith("_") else None, name)


@cache
def tree(path: Path) -> ast.Module:
    """A parsed file."""
    return ast.parse(path.read_text())


@cache
def _modules() -> Mapping[str, ast.Module]:
    shared = ROOT / "shared"
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): tree(path)
        for path in sorted(shared.rglob("*.py"))
    }


def clients() -> set[str]:
    """The classes of Google's clients that the functions' code makes."""
    made = {
        ast.unparse(node.func)
        for module in _modules().values()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
    }
    return {name for name in made if name.endswith("Client") and name not in _OWN}


@cache
def functions() -> tuple[Function, ...]:
    """All functions of `shared`, and each module's own statements as one more."""
    found = []
    for module, parsed in _modules().items():
        inner = [node for node in ast.walk(parsed) if isinstance(node, ast.FunctionDef)]
        found += [_function(module, node.name, ast.walk(node)) for node in inner]
        inside = {part for node in inner for part in ast.walk(node)}
        found.append(_function(module, "__module__", (n for n in ast.walk(parsed) if n not in inside)))
    return tuple(found)


def _function(module: str, name: str, nodes: Iterable[ast.AST]) -> Function:
    calls, names = set(), set()
    for node in nodes:
        if isinstance(node, ast.Call) and (call := _google_call(module, node)):
            calls.add(call)
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            names.add(node.value)  # some are called by a name that is a value, as operations are
    return Function(module, name, frozenset(calls), frozenset(names))


def _google_call(module: str, call: ast.Call) -> str | None:
    if not isinstance(call.func, ast.Attribute):
        return None
    receiver = ast.unparse(call.func.value).rpartition(".")[2]
    adapter = _ADAPTERS.get(module.removeprefix("shared."))
    if adapter and receiver == "_client":
        return f"{adapter}.{call.func.attr}"
    return f"{_RECEIVERS[receiver]}.{call.func.attr}" if receiver in _RECEIVERS else None


def all_calls() -> set[str]:
    """Every call, whoever makes it."""
    return {call for function in functions() for call in function.calls}


@cache
def calls_of(function: str) -> frozenset[str]:
    """The calls that one of the four functions can come to.

    What it can come to is judged by names: a few too many, never one too few. A private name means the
    module's own.
    """
    source = tree(ROOT / "functions" / f"{function}.py")
    mentioned: set[tuple[str | None, str]] = {
        (None, node.attr) for node in ast.walk(source) if isinstance(node, ast.Attribute)
    }
    modules = set(_imported(_wired({name for _, name in mentioned})))
    waiting = [each for each in functions() if each.module in modules]
    calls: set[str] = set()
    while True:
        reached = [each for each in waiting if each.always or each.known_as & mentioned]
        if not reached:
            return frozenset(calls)
        waiting = [each for each in waiting if each not in reached]
        for each in reached:
            calls |= each.calls
            mentioned |= each.mentions


def _wired(names: set[str]) -> list[ast.AST]:
    """What of `shared.wiring` is used by who mentions these names."""
    parsed = _modules()["shared.wiring"]
    made = {node.name: node for node in parsed.body if isinstance(node, ast.FunctionDef)}
    used: list[ast.AST] = [node for node in parsed.body if isinstance(node, ast.Import | ast.ImportFrom)]
    wanted = [name for name in names if name in made]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            used.append(made[name])
            wanted += [n.id for n in ast.walk(made[name]) if isinstance(n, ast.Name) and n.id in made]
    return used


def _imported(start: list[ast.AST]) -> Iterator[str]:
    """Modules of `shared` that these import, and what they import in turn."""
    known = _modules()
    waiting, seen = [module for node in start for module in _imports(node)], {"shared.wiring"}
    yield "shared.wiring"
    while waiting:
        module = waiting.pop()
        if module in known and module not in seen:
            seen.add(module)
            yield module
            waiting += list(_imports(known[module]))


def _imports(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom) and inner.module and inner.module.startswith("shared"):
            yield inner.module
            yield from (f"{inner.module}.{alias.name}" for alias in inner.names)
