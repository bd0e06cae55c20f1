"""YAML by the core schema of its version 1.2 (chapter 10.3), which is what people and JSON mean.

`on`, `no`, `12:30`, `1_000` and 2026-07-01 are texts: PyYAML reads them as YAML 1.1 did, as truth values,
numbers and times. Keys are the text that was written, and none may come twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import yaml

_NULL, _BOOL, _INT, _FLOAT, _STR, _MERGE = (
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "merge")
)
_SCHEMA = (
    (_NULL, r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class RepeatedKey(yaml.MarkedYAMLError):
    """A mapping has a key twice; which of the two counts would be anybody's guess."""


class _Loader(yaml.SafeLoader):
    """Makes what JSON has, and nothing else."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as the base class declares it
    yaml_constructors = {  # noqa: RUF012
        "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
        "tag:yaml.org,2002:seq": yaml.SafeLoader.construct_yaml_seq,
        "tag:yaml.org,2002:map": yaml.SafeLoader.construct_yaml_map,
        None: yaml.SafeLoader.construct_undefined,
    }
    texts: Collection[str] = ()

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for index, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is no text", problem_mark=key.start_mark)
            if key.value in keys:
                raise RepeatedKey(problem=f"the key {key.value!r}", problem_mark=key.start_mark)
            keys.add(key.value)
            if key.tag != _MERGE:
                node.value[index] = (_as_text(key), value)
            if key.value in self.texts:
                _keep_texts(value)
        return node


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what either version of YAML would not read as a text."""


def _as_text(node: yaml.ScalarNode) -> yaml.ScalarNode:
    # A copy: an alias may stand elsewhere for the same node, and mean a number there.
    return yaml.ScalarNode(_STR, node.value, node.start_mark, node.end_mark, node.style)


def _keep_texts(node: yaml.Node) -> None:
    """Let the numbers and truth values in a mapping or list be the texts that were written."""

    def kept(value: yaml.Node) -> yaml.Node:
        if isinstance(value, yaml.ScalarNode) and value.tag in {_BOOL, _INT, _FLOAT}:
            return _as_text(value)
        return value

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == _MERGE:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    _keep_texts(merged)
        node.value[:] = [(key, kept(value)) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        node.value[:] = map(kept, node.value)


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2])
    return int(text[2:], base) if base else int(text)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _reading(read: Callable[[str], object]) -> Callable[[_Loader, yaml.ScalarNode], object]:
    def construct(_: _Loader, node: yaml.ScalarNode) -> object:
        try:
            return read(node.value)
        except (ValueError, KeyError) as error:  # by a tag of its own, or more digits than Python reads
            kind = node.tag.rpartition(":")[2]
            shown = node.value if len(node.value) <= 40 else f"{node.value[:40]}..."
            raise yaml.MarkedYAMLError(
                problem=f"{shown!r} is no {kind}", problem_mark=node.start_mark
            ) from error

    return construct


_READERS: dict[str, Callable[[str], object]] = {
    _NULL: lambda _: None,
    _BOOL: _truth,
    _INT: _integer,
    _FLOAT: lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}
for _tag, _pattern, _first in _SCHEMA:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), _first)
    _Loader.add_constructor(_tag, _reading(_READERS[_tag]))
_Loader.add_implicit_resolver(_MERGE, re.compile("<<$"), ["<"])


def documents(text: str, *, texts: Collection[str] = ()) -> list[Any]:
    """What YAML documents hold.

    Args:
        text: the documents.
        texts: keys below which numbers and truth values are the texts that were written.

    Raises:
        RepeatedKey: a mapping has a key twice.
        yaml.YAMLError: it is no YAML, or holds what JSON has not.
        RecursionError: it is nested too deeply, or in itself.
    """
    loader = _Loader(text)
    loader.texts = texts
    found = []
    try:
        while loader.check_node():
            found.append(loader.construct_document(loader.get_node()))
    finally:
        loader.dispose()
    return found


def dump(value: object) -> str:
    """YAML that `documents` reads as it was, and so does YAML 1.1."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)
