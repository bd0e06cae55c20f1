"""Which calls to Google's APIs the code makes, and from which function. The source is read, nothing runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

FUNCTIONS = ("submission", "scheduling", "notification", "reconciliation")

# How the code names what it calls Google by: everything that is called on these is a call to be known.
RECEIVERS = {
    "snapshot": "spanner",
    "transaction": "spanner",
    "batch": "spanner",
    "target": "spanner",
    "database": "spanner",
    "_database": "spanner",
    "connect": "spanner",
}
# The modules that call other services of Google's, and what they name their clients.
ADAPTERS = {"batch_client": "batch", "log_client": "logging", "publisher": "pubsub"}
_CLIENTS = {"_client", "client", "connect"}


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


class Code:
    """The functions' source.

    Args:
        files: text by path, such as `shared/jobs.py` and `functions/submission.py`.
    """

    @staticmethod
    def of(files: Mapping[str, str]) -> Code:
        """What is there once for all who have the same source."""
        return _code(tuple((path, text) for path, text in files.items() if path.endswith(".py")))

    def __init__(self, files: Mapping[str, str]) -> None:
        code = {path: _parsed(text) for path, text in files.items()}
        self.modules: Mapping[str, ast.Module] = {_module(path): parsed for path, parsed in code.items()}

    @property
    def calls(self) -> set[str]:
        """Every call to Google, whoever makes it."""
        return {call for function in self._functions for call in function.calls}

    @cached_property
    def _functions(self) -> tuple[Function, ...]:
        return tuple(
            function
            for module, parsed in self.modules.items()
            if module.startswith("shared")
            for function in _functions(module, parsed)
        )

    @cached_property
    def _calls(self) -> dict[str, frozenset[str]]:
        return {}

    def calls_of(self, function: str) -> frozenset[str]:
        """The calls that one of the four functions can come to.

        What it can come to is judged by names: a few too many, never one too few. A private name means the
        module's own.
        """
        if function not in self._calls:
            self._calls[function] = self._come_to(function)
        return self._calls[function]

    def _come_to(self, function: str) -> frozenset[str]:
        mentioned: set[tuple[str | None, str]] = {
            (None, node.attr)
            for node in ast.walk(self.modules[f"functions.{function}"])
            if isinstance(node, ast.Attribute)
        }
        modules = set(self._imported(self._wired({name for _, name in mentioned})))
        waiting = [each for each in self._functions if each.module in modules]
        calls: set[str] = set()
        while True:
            reached = [each for each in waiting if each.always or each.known_as & mentioned]
            if not reached:
                return frozenset(calls)
            waiting = [each for each in waiting if each not in reached]
            for each in reached:
                calls |= each.calls
                mentioned |= each.mentions

    def _wired(self, names: set[str]) -> list[ast.AST]:
        """What of `shared.wiring` is used by who mentions these names."""
        wiring = self.modules["shared.wiring"].body
        made = {node.name: node for node in wiring if isinstance(node, ast.FunctionDef)}
        used: list[ast.AST] = [node for node in wiring if isinstance(node, ast.Import | ast.ImportFrom)]
        wanted = [name for name in names if name in made]
        seen: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name not in seen:
                seen.add(name)
                used.append(made[name])
                wanted += [n.id for n in ast.walk(made[name]) if isinstance(n, ast.Name) and n.id in made]
        return used

    def _imported(self, start: list[ast.AST]) -> Iterator[str]:
        """Modules of `shared` that these import, and what they import in turn."""
        waiting, seen = [module for node in start for module in _imports(node)], {"shared.wiring"}
        yield "shared.wiring"
        while waiting:
            module = waiting.pop()
            if module in self.modules and module not in seen:
                seen.add(module)
                yield module
                waiting += _imports(self.modules[module])


@cache
def _code(files: tuple[tuple[str, str], ...]) -> Code:
    return Code(dict(files))


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@cache
def _functions(module: str, parsed: ast.Module) -> tuple[Function, ...]:
    """All functions of a module, and its own statements as one more."""
    inner = [node for node in ast.walk(parsed) if isinstance(node, ast.FunctionDef)]
    inside = {part for node in inner for part in ast.walk(node)}
    others = _of_others(parsed)
    own = _function(module, "__module__", (node for node in ast.walk(parsed) if node not in inside), others)
    return (own, *(_function(module, node.name, ast.walk(node), others) for node in inner))


def _of_others(parsed: ast.Module) -> set[str]:
    """What a module imports that is not ours: its attributes are no mentions of our functions."""
    return {
        alias.asname or alias.name
        for node in parsed.body
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("shared")
        for alias in node.names
    }


def _function(module: str, name: str, nodes: Iterable[ast.AST], others: set[str]) -> Function:
    calls, names = set(), set()
    for node in nodes:
        if isinstance(node, ast.Call) and (call := _google_call(module, node)):
            calls.add(call)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in others:
            continue
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
    called = call.func.value
    # What somebody has just made or got is called by the name of who gave it.
    receiver = ast.unparse(called.func if isinstance(called, ast.Call) else called).rpartition(".")[2]
    adapter = ADAPTERS.get(module.removeprefix("shared."))
    if adapter and (receiver in _CLIENTS or receiver.endswith("Client")):
        return f"{adapter}.{call.func.attr}"
    return f"{RECEIVERS[receiver]}.{call.func.attr}" if receiver in RECEIVERS else None


@cache
def _imports(node: ast.AST) -> tuple[str, ...]:
    return tuple(
        name
        for inner in ast.walk(node)
        if isinstance(inner, ast.ImportFrom) and inner.module and inner.module.startswith("shared")
        for name in (inner.module, *(f"{inner.module}.{alias.name}" for alias in inner.names))
    )
