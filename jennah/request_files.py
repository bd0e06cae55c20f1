"""Requests in files: JSON, or YAML."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

_HINT = "FILE"


class _Loader(yaml.SafeLoader):
    """YAML without times: JSON has none, and who writes 2026-07-01 means the text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def one(file: Path) -> dict[str, Any]:
    """The request that a file holds.

    Args:
        file: its path; `-` is stdin.

    Raises:
        BadParameter: it can't be read, or holds something else.
    """
    (content,) = _documents(file, most=1)
    if not isinstance(content, dict):
        raise _wrong(file, "holds no request: fields such as 'image_uri: busybox' are expected")
    return content


def many(file: Path) -> list[dict[str, Any]]:
    """The requests that a file holds: as a list, as the API's `{"requests": […]}`, or as YAML documents.

    Raises:
        BadParameter: it can't be read, or holds something else.
    """
    documents = _documents(file)
    content = documents if len(documents) > 1 else documents[0]
    if isinstance(content, dict):
        content = content["requests"] if content.keys() == {"requests"} else [content]
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise _wrong(file, "holds no list of requests: entries such as '- image_uri: busybox' are expected")
    return content


def _documents(file: Path, most: int | None = None) -> list[Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise _wrong(file, f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _wrong(file, "is no UTF-8 text") from error
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = _yaml(file, text)
    if not documents or (most and len(documents) > most):
        raise _wrong(file, f"holds {len(documents)} documents: one is expected")
    try:
        json.dumps(documents, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _wrong(file, f"holds what JSON has not ({error}): put it in quotes") from error
    return documents


def _yaml(file: Path, text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise _wrong(file, f"is neither JSON nor YAML{line}: {problem}") from error


def _wrong(file: Path, problem: str) -> typer.BadParameter:
    name = "stdin" if str(file) == "-" else str(file)
    return typer.BadParameter(f"{name} {problem}", param_hint=_HINT)
