"""What is the same for the arguments of every command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

_AFTER_DASHES = "jennah.words_after_dashes"

Function = TypeVar("Function", bound=Callable[..., Any])


class App(typer.Typer):
    """A Typer whose commands check that what they are given is text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": _Group} | options)

    def command(self, *args: Any, **options: Any) -> Callable[[Function], Function]:
        """Register a command, as Typer does."""
        return super().command(*args, **{"cls": _Command} | options)


def words_after_dashes(context: typer.Context) -> int | None:
    """How many words stand after `--`; None where there is no such mark. Typer drops it."""
    count: int | None = context.meta.get(_AFTER_DASHES)
    return count


def _plain(parameters: list[Any]) -> list[Any]:
    """The same; the help shows no type of those that take no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        parameters = self.get_params(ctx)
        valued = {
            name
            for parameter in parameters
            if not getattr(parameter, "is_flag", True)
            for name in parameter.opts
        }
        ctx.meta[_AFTER_DASHES] = _after_dashes(args, valued)
        rest = super().parse_args(ctx, args)
        for parameter in parameters:
            value = ctx.params.get(parameter.name or "")
            # Paths may be any bytes.
            if not ctx.resilient_parsing and not all(
                map(_is_text, value if isinstance(value, list) else [value])
            ):
                raise typer.BadParameter("it is not UTF-8 text", ctx=ctx, param=parameter)
        return rest


def _after_dashes(words: Sequence[str], valued: set[str]) -> int | None:
    """How many words follow the `--` that is not itself an option's value."""
    index = 0
    while index < len(words):
        if words[index] == "--":
            return len(words) - index - 1
        index += 2 if words[index] in valued else 1
    return None


def _is_text(value: object) -> bool:
    """Not, where a word's bytes are not UTF-8: Python keeps them as surrogates."""
    if not isinstance(value, str):
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
