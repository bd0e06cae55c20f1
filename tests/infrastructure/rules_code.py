"""Rules about the functions' code: without them, other rules would not see what it reads and calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from tests.infrastructure.calls import ADAPTERS, RECEIVERS
from tests.infrastructure.configuration import Configuration
from tests.infrastructure.names import full_name, mentions, parents
from tests.infrastructure.reviewed import CLIENTS, ENVIRONMENT, GOOGLE, WAYS_OUT

_ENVIRONMENT = re.compile(r"os\.(environb?|getenvb?|putenv|unsetenv)\b")
_WAYS_OUT = re.compile(
    r"(grpc|socket|ssl|asyncio|subprocess|multiprocessing|ctypes|runpy|importlib(\.metadata)?"
    r"|urllib\.request|urllib3|http\.client|requests|httpx|aiohttp|sys\.modules|builtins\.\w+)\b"
)
_CLIENT = re.compile(r"google\.[\w.]*(Client|Transport)\b|shared\.\w+\.connect\b")
# What opens something to call Spanner by, and the classes of that.
_OPENS = {"snapshot", "batch", "batch_snapshot", "mutation_groups", "transaction", "session"}
_SPANNER = re.compile(r"google\.cloud\.spanner_v1\.[\w.]*(Database|Transaction|Batch|Snapshot|Session)")


def environment_read(configuration: Configuration) -> Iterator[str]:
    """The environment is read by `Settings.from_env` alone, which `environment` watches."""
    found = {
        (module, mention.use)
        for module, parsed in configuration.code.modules.items()
        for mention in mentions(parsed)
        if _ENVIRONMENT.match(mention.name)
    }
    yield from _differing(found, ENVIRONMENT, "reads the environment")


def imports(configuration: Configuration) -> Iterator[str]:
    """Nothing of Google's is imported, and nothing else that leads outside, but what is reviewed."""
    google, clients, ways = set(), set(), set()
    for module, parsed in configuration.code.modules.items():
        for mention in mentions(parsed):
            if mention.imported and mention.name.startswith("google"):
                package, _, name = mention.name.rpartition(".")
                google.add((package, name))
            if found := _CLIENT.match(mention.name):
                clients.add((module, found[0]))
            if found := _WAYS_OUT.match(mention.name):
                ways.add((module, found[1]))
    reviewed = {(package, name): "" for package, names in GOOGLE.items() for name in names}
    yield from _differing(google, reviewed, "is imported")
    yield from _differing(clients, CLIENTS, "is, or makes, a client of Google's")
    yield from _differing(ways, WAYS_OUT, "leads outside")


def _differing(
    found: set[tuple[str, str]], reviewed: Mapping[tuple[str, str], str], what: str
) -> Iterator[str]:
    yield from (
        f"{where}: {name} {what}, and is not reviewed" for where, name in sorted(found - reviewed.keys())
    )
    yield from (
        f"{where}: {name} is reviewed, and is not there" for where, name in sorted(reviewed.keys() - found)
    )


def clients_held(configuration: Configuration) -> Iterator[str]:
    """An adapter keeps its client for itself and calls it by that name: so its calls are known."""
    for module, parsed in configuration.code.modules.items():
        above = parents(parsed)
        for node in ast.walk(parsed):
            if not (isinstance(node, ast.Attribute) and node.attr == "_client"):
                continue
            attribute = above[node]
            call = above[attribute] if isinstance(attribute, ast.Attribute) else None
            called = isinstance(call, ast.Call) and call.func is attribute
            own = module.removeprefix("shared.") in ADAPTERS and ast.unparse(node.value) == "self"
            if not own or not (called or isinstance(node.ctx, ast.Store)):
                yield f"{module}: {ast.unparse(above[node])} takes an adapter's client for something else"


def spanner_names(configuration: Configuration) -> Iterator[str]:
    """What Spanner is called by has a name that calls are known by."""
    for module, parsed in configuration.code.modules.items():
        nodes = list(ast.walk(parsed))
        withs = [item for node in nodes if isinstance(node, ast.With) for item in node.items]
        named = {item.context_expr for item in withs if _is_receiver(item.optional_vars)}
        for node in nodes:
            if _opens(node) and node not in named:
                yield f"{module}: {ast.unparse(node)} needs a `with`, and as a name one of {_NAMES}"
            elif isinstance(node, ast.arg) and node.arg not in RECEIVERS and _is_spanner(parsed, node):
                yield f"{module}: {node.arg} is Spanner's, its name must be one of {_NAMES}"


_NAMES = ", ".join(sorted(RECEIVERS))


def _is_receiver(target: ast.expr | None) -> bool:
    return isinstance(target, ast.Name) and target.id in RECEIVERS


def _opens(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _OPENS


def _is_spanner(parsed: ast.Module, argument: ast.arg) -> bool:
    return any(_SPANNER.match(full_name(parsed, part) or "") for part in _union(argument.annotation))


def _union(annotation: ast.expr | None) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        yield from _union(annotation.left)
        yield from _union(annotation.right)
    elif annotation:
        yield annotation
