"""Writes `provider_schema.json`: names and types of the arguments of the resources that Terraform uses here.

    python -m tests.infrastructure.read_schema WHEEL

WHEEL is the file of the PyPI package cdktf-cdktf-provider-google, version 16.12.1, which holds the schema of
the Google provider 6.50 as Python sources (Mozilla Public License 2.0). They are read with `ast`, nothing of
them runs. Only facts are taken: which names there are, which are required, and what type they have.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests.infrastructure.hcl import read_folder
from tests.infrastructure.places import SCHEMA, TERRAFORM

_PACKAGE = "cdktf_cdktf_provider_google"
_META = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}
# What every construct of that package has besides the resource's own attributes.
_FOREIGN = {"cdktf_stack", "friendly_unique_id", "fqn", "terraform_resource_type", "raw_overrides", "node"}
_SCALARS = {"str": "string", "Number": "number", "bool": "bool"}


def resource_schema(source: str) -> dict[str, Any]:
    """The schema of the resource or data source that a module of the package is about."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    resource = next(iter(classes.values()))
    schema = _block(classes, resource, _METHOD_START)
    schema["attributes"] |= {
        name: [type_, "read-only"]
        for name, type_ in _properties(classes[resource.name])
        if name not in schema["attributes"] and name not in schema["blocks"]
    }
    return schema


_METHOD_START = 3  # self, scope and id_ come before a resource's own arguments


def _block(classes: dict[str, ast.ClassDef], owner: ast.ClassDef, _skip: int = 1) -> dict[str, Any]:
    init = next(n for n in owner.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    names = dict(re.findall(r":param (\w+):.*?#(\w+) ", ast.get_docstring(init) or ""))
    attributes: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        if argument.arg in _META:
            continue
        name = names.get(argument.arg, argument.arg)
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        required = default is None
        if struct := _struct(annotation, classes):
            block = _block(classes, classes[struct])
            outputs = classes.get(f"{struct}OutputReference")
            known = block["attributes"].keys() | block["blocks"].keys()
            block["attributes"] |= {
                name: [type_, "read-only"] for name, type_ in _properties(outputs) if name not in known
            }
            blocks[name] = {"required": required, "many": "Sequence" in annotation, **block}
        else:
            attributes[name] = [_type(annotation), "required" if required else "optional"]
    return {"attributes": attributes, "blocks": blocks}


def _struct(annotation: str, classes: dict[str, ast.ClassDef]) -> str | None:
    found = re.search(r"'(\w+)'", annotation)
    return found[1] if found and found[1] in classes else None


def _type(annotation: str) -> str:
    scalar = next(value for key, value in _SCALARS.items() if re.search(rf"\b{key}\b", annotation))
    if "Mapping[builtins.str, " in annotation:
        if "Number" in annotation:
            scalar = "number"
        elif "bool" in annotation:
            scalar = "bool"
        return f"map({scalar})"
    return f"list({scalar})" if "Sequence[" in annotation else scalar


def _properties(owner: ast.ClassDef | None) -> list[tuple[str, str]]:
    """What can be read of it and has a plain type."""
    found = []
    for node in owner.body if owner else []:
        if not isinstance(node, ast.FunctionDef) or node.returns is None or node.name in _FOREIGN:
            continue
        plain = ast.unparse(node.returns)
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if "builtins.property" in decorators and not node.name.endswith("_input"):
            if plain in ("builtins.str", "jsii.Number"):
                found.append((node.name, _type(plain)))
            elif plain == "_cdktf_9a9027ec.IResolvable":
                found.append((node.name, "bool"))
            elif plain == "typing.List[builtins.str]":
                found.append((node.name, "list(string)"))
            elif plain == "_cdktf_9a9027ec.StringMap":
                found.append((node.name, "map(string)"))
    return found


def _module(address: str) -> str:
    kind = address.removeprefix("data.")
    return f"data_{kind}" if address.startswith("data.") else kind.removeprefix("google_")


def main() -> None:
    """Write the file anew, for the resources that the configuration uses now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    configuration = read_folder(TERRAFORM)
    used = sorted({block.kind for block in configuration if block.kind.startswith(("google_", "data."))})
    resources = {}
    with zipfile.ZipFile(parser.parse_args().wheel) as wheel:
        for kind in used:
            try:
                source = wheel.read(f"{_PACKAGE}/{_module(kind)}/__init__.py").decode()
            except KeyError:
                sys.exit(f"The provider has no {kind}.")
            resources[kind] = resource_schema(source)
    about = [
        "Source: PyPI package cdktf-cdktf-provider-google 16.12.1 (provider 6.50), MPL-2.0; facts only.",
        "Written by: python -m tests.infrastructure.read_schema WHEEL",
    ]
    text = json.dumps({"about": about, "resources": resources}, indent=1, sort_keys=True)
    # One line for each argument keeps differences readable and the file short.
    text = re.sub(r'\[\s+("[^"]+"),\s+("[^"]+")\s+\]', r"[\1, \2]", text)
    SCHEMA.write_text(text + "\n")


if __name__ == "__main__":
    main()
