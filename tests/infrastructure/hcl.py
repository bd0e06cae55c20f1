"""The Terraform configuration as plain values: its top-level blocks, with expressions as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
from hcl2.utils import SerializationOptions

_OPTIONS = SerializationOptions(with_comments=False, strip_string_quotes=True)
_MARK = "__is_block__"

# Arguments that Terraform itself gives each resource.
META = frozenset({"count", "depends_on", "for_each", "lifecycle", "provider"})


@dataclass(frozen=True)
class Block:
    """A top-level block.

    Attributes:
        kind: `google_pubsub_topic`, `data.google_project`, `variable`, `output`, `locals`, `terraform`.
        name: its label; empty where there is none.
        body: its arguments, and as lists of mappings its blocks; `dynamic` blocks stand for what they make.
        dynamic: the names of those, wherever they are: each may make nothing, which `body` does not show.
    """

    kind: str
    name: str
    body: Mapping[str, Any]
    dynamic: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        """How Terraform names it."""
        return f"{self.kind}.{self.name}"


def read_folder(folder: Path) -> list[Block]:
    """All files of a folder, as Terraform would read them."""
    return read({path.name: path.read_text() for path in sorted(folder.glob("*.tf"))})


def read(files: Mapping[str, str]) -> list[Block]:
    """Texts of files by name."""
    return [block for text in files.values() for block in _blocks(text)]


@cache
def _blocks(text: str) -> tuple[Block, ...]:
    parsed = hcl2.loads(text, serialization_options=_OPTIONS)
    return tuple(block for kind, found in parsed.items() for each in found for block in _labelled(kind, each))


def _labelled(kind: str, labelled: Mapping[str, Any]) -> Iterator[Block]:
    if kind in ("resource", "data"):
        for type_, named in labelled.items():
            for name, body in named.items():
                address = f"data.{type_}" if kind == "data" else type_
                yield Block(address, name, _plain(body), frozenset(_dynamic(body)))
    elif labelled.get(_MARK):
        yield Block(kind, "", _plain(labelled))
    else:
        for name, body in labelled.items():
            yield Block(kind, name, _plain(body))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {_unquoted(key): _plain(each) for key, each in value.items() if key not in (_MARK, "dynamic")}
    for dynamic in value.get("dynamic", ()):
        for name, body in dynamic.items():
            plain[name] = plain.get(name, []) + [_plain(content) for content in body["content"]]
    return plain


def _dynamic(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _dynamic(each)
    elif isinstance(value, dict):
        for made in value.get("dynamic", ()):
            yield from (_unquoted(name) for name in made if name != _MARK)
        for inner in value.values():
            yield from _dynamic(inner)


def _unquoted(key: str) -> str:
    return key.strip('"')


def resources(blocks: list[Block], kind: str = "google_") -> list[Block]:
    """The managed resources whose type begins like that."""
    return [block for block in blocks if block.kind.startswith(kind)]


def local_values(blocks: list[Block]) -> dict[str, Any]:
    """All `locals` together."""
    return {name: value for block in blocks if block.kind == "locals" for name, value in block.body.items()}


def references(value: Any) -> set[str]:
    """The resources that an expression names, such as `google_pubsub_topic.dead`."""
    return set(re.findall(r"\bgoogle_\w+\.\w+", str(value)))
