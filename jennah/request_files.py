"""Requests in files: JSON, or YAML.

In YAML the values below `env`, `secret_env`, `labels` and `commands`, which can only be texts, are the text
that was written: `2026`, `1.10` and `true` need no quotes there. JSON is sent as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from jennah import core_yaml

_HINT = "FILE"
_TEXTS = ("env", "secret_env", "labels", "commands")


class _Repeated(Exception):
    """A JSON object has this key twice."""


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
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise _wrong(file, f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _wrong(file, "is no UTF-8 text") from error
    try:
        documents = [json.loads(text, object_pairs_hook=_object)]
    except _Repeated as error:
        raise _wrong(file, f"has the key {error.args[0]!r} twice in one object: leave one out") from error
    except (ValueError, RecursionError):
        documents = _yaml(file, text)
    if not documents or (most and len(documents) > most):
        raise _wrong(file, f"holds {len(documents)} documents: one is expected")
    try:
        json.dumps(documents, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _wrong(file, "holds half a character (a lone surrogate), which no text has") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise _wrong(file, f"holds what JSON has not ({error}): put it in quotes") from error
    return documents


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise _Repeated(name)
        made[name] = value
    return made


def _yaml(file: Path, text: str) -> list[Any]:
    try:
        return core_yaml.documents(text, texts=_TEXTS)
    except core_yaml.RepeatedKey as error:
        raise _wrong(file, f"has {error.problem} twice{_line(error)}: leave one out") from error
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise _wrong(file, f"is neither JSON nor YAML{_line(error)}: {problem}") from error


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" in line {mark.line + 1}" if mark else ""


def _wrong(file: Path, problem: str) -> typer.BadParameter:
    name = "stdin" if str(file) == "-" else str(file)
    return typer.BadParameter(f"{name} {problem}", param_hint=_HINT)
