"""The operator's commands `jennah dead-letters list|show|replay|discard`.

They speak to Pub/Sub directly, with the operator's own credentials and the settings of the environment.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from jennah.operations.dead_letters import (
    DeadLetters,
    DeadLettersError,
    Held,
    Refused,
    opened,
)
from jennah.operations.letters import DeadLetter
from jennah.operations.reach import Unreachable
from jennah.output import MISUSED, REFUSED, UNREACHABLE, CommandFailed
from jennah.render import console_on, printable, show, timestamp
from shared.config import Settings
from shared.errors import SettingsError

_SEARCHED = 10_000
_PAGE = 50
"""How many are held while they are worked on: few enough to be done before a deadline of 10 s."""
_MOST_IN_A_LINE = 120

_HELD = "what another command holds shows again within its subscription's acknowledgement deadline"


def list_letters(role: str | None, *, limit: int, as_json: bool) -> None:
    """Show at most `limit` letters of each topic, oldest first.

    Raises:
        CommandFailed: Pub/Sub can't be asked.
    """
    with _queues(role) as queues, ThreadPoolExecutor(len(queues)) as threads:
        found = list(threads.map(lambda queue: queue.first(limit), queues))
    letters = [letter for some, _ in found for letter in some]
    if as_json:
        typer.echo(json.dumps([_summary(letter) for letter in letters], indent=2))
    elif letters:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for column in ("TOPIC", "MESSAGE", "PUBLISHED", "DELIVERIES"):
            table.add_column(column, no_wrap=True, overflow="ignore")
        table.add_column("MEANING", overflow="fold")
        for letter in letters:
            table.add_row(
                letter.topic,
                letter.message_id,
                timestamp(letter.published_at),
                _deliveries(letter),
                _meaning(letter),
            )
        show(console_on(sys.stdout), table)
    else:
        typer.echo(f"No dead letters; {_HELD}.", err=True)
    for queue, (some, more) in zip(queues, found, strict=True):
        if more:
            typer.echo(f"There are more than {len(some)} of {queue.topic}: raise --limit.", err=True)


def show_letter(message_id: str, role: str | None, *, as_json: bool) -> None:
    """Show everything of one letter.

    Raises:
        CommandFailed: it is not there, or Pub/Sub can't be asked.
    """
    with _queues(role) as queues:
        letter = next(filter(None, (_found(queue, message_id) for queue in queues)), None)
    if letter is None:
        raise CommandFailed(_not_found([message_id]), REFUSED)
    if as_json:
        typer.echo(json.dumps(_everything(letter), indent=2))
    else:
        show(console_on(sys.stdout), _details(letter))


def replay(message_ids: Sequence[str], role: str | None, *, limit: int) -> None:
    """Publish letters to their topics again, and let go of those whose publishing is confirmed.

    Args:
        message_ids: which; none means all.
        role: of which topic; None means of each.
        limit: how many of each topic at most, when all are meant.

    Raises:
        CommandFailed: one was not found or refused, or Pub/Sub can't be asked.
    """

    def one(held: Held, letter: DeadLetter) -> str:
        return f"replayed to {letter.topic} as {held.replay(letter)}"

    _work(message_ids, role, limit, one)


def discard(message_ids: Sequence[str], role: str | None, *, limit: int, confirmed: bool) -> None:
    """Let go of letters for good, once the operator has said yes.

    Args:
        message_ids: which; none means all.
        role: of which topic; None means of each.
        limit: how many of each topic at most, when all are meant.
        confirmed: yes was said already.

    Raises:
        CommandFailed: one was not found, nobody can be asked, or Pub/Sub can't be.
    """
    if not confirmed:
        _confirm(message_ids, role, limit)

    def one(held: Held, letter: DeadLetter) -> str:
        held.discard([letter])
        return "discarded"

    _work(message_ids, role, limit, one)


def _confirm(message_ids: Sequence[str], role: str | None, limit: int) -> None:
    if not sys.stdin.isatty():
        raise CommandFailed("nobody can be asked whether to discard: say --yes", MISUSED)
    every = f"all dead letters{f' of {role}' if role else ''} (of each topic {limit} at most)"
    what = ", ".join(message_ids) or every
    if not typer.confirm(f"Discard {what}? They can't be had back.", err=True):
        raise CommandFailed("nothing was discarded", REFUSED)


def _work(
    message_ids: Sequence[str], role: str | None, limit: int, one: Callable[[Held, DeadLetter], str]
) -> None:
    """Do `one` to each letter that is meant, and say what was done, letter by letter."""
    missing = set(message_ids)
    worked = refused = 0
    with _queues(role) as queues:
        for queue in queues:
            some = 0
            with queue.held() as held:
                for letter in _wanted(held, missing) if message_ids else held.pulled(limit, _PAGE):
                    some += 1
                    refused += not _worked(held, letter, one)
            worked += some
            if some == limit and not message_ids:
                typer.echo(
                    f"Stopped after {limit} of {queue.topic}: run it again, in case there are more.", err=True
                )
    if missing:
        raise CommandFailed(_not_found(sorted(missing)), REFUSED)
    if refused:
        raise CommandFailed(f"{refused} could not be replayed and are kept: see each with 'show'", REFUSED)
    if not worked:
        typer.echo(f"No dead letters; {_HELD}.", err=True)


def _wanted(held: Held, missing: set[str]) -> Iterator[DeadLetter]:
    """The letters whose ids are missing; an id that was found is missing no more."""
    if not missing:
        return
    for letter in held.pulled(_SEARCHED, _PAGE):
        if letter.message_id in missing:
            missing.remove(letter.message_id)
            yield letter
            if not missing:
                return


def _worked(held: Held, letter: DeadLetter, one: Callable[[Held, DeadLetter], str]) -> bool:
    try:
        outcome = one(held, letter)
    except Refused as error:
        typer.echo(f"{letter.message_id} not replayed: {printable(str(error))}")
        return False
    typer.echo(f"{letter.message_id} {outcome}")
    return True


def _found(queue: DeadLetters, message_id: str) -> DeadLetter | None:
    with queue.held() as held:
        return next((letter for letter in held.pulled(_SEARCHED) if letter.message_id == message_id), None)


def _not_found(message_ids: Sequence[str]) -> str:
    return (
        f"no dead letter {', '.join(map(printable, message_ids))}: 'jennah dead-letters list' shows all, "
        f"and {_HELD}"
    )


@contextmanager
def _queues(role: str | None) -> Iterator[list[DeadLetters]]:
    try:
        settings = Settings.from_env(os.environ)
        yield opened(settings, os.environ.get("PUBSUB_EMULATOR_HOST"), role)
    except SettingsError as error:
        raise CommandFailed(str(error), MISUSED) from error
    except Unreachable as error:
        raise CommandFailed(str(error), UNREACHABLE) from error
    except DeadLettersError as error:
        raise CommandFailed(str(error), REFUSED) from error


def _deliveries(letter: DeadLetter) -> str:
    return "-" if letter.deliveries is None else str(letter.deliveries)


def _meaning(letter: DeadLetter) -> str:
    text = printable(letter.meaning or f"can't be decoded: {letter.problem}")
    return text if len(text) <= _MOST_IN_A_LINE else f"{text[: _MOST_IN_A_LINE - 1]}…"


def _summary(letter: DeadLetter) -> dict[str, object]:
    return {
        "topic": letter.topic,
        "message_id": letter.message_id,
        "published_at": timestamp(letter.published_at, "milliseconds"),
        "deliveries": letter.deliveries,
        "meaning": letter.meaning,
        "problem": letter.problem,
    }


def _everything(letter: DeadLetter) -> dict[str, object]:
    """`data` is the text, or null where it is none; `data_base64` is always what was published."""
    try:
        text = letter.data.decode()
    except UnicodeDecodeError:
        text = None
    return _summary(letter) | {
        "ordering_key": letter.ordering_key,
        "attributes": letter.attributes,
        "forwarding": letter.forwarding,
        "data": text,
        "data_base64": base64.b64encode(letter.data).decode(),
    }


def _details(letter: DeadLetter) -> Group:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    lines = [
        ("topic", letter.topic),
        ("message", letter.message_id),
        ("published", timestamp(letter.published_at, "milliseconds")),
        ("deliveries", _deliveries(letter)),
        ("meaning", letter.meaning or f"can't be decoded: {letter.problem}"),
        ("ordering key", letter.ordering_key),
        *(("attribute", f"{name}={value}") for name, value in sorted(letter.attributes.items())),
        *(("by Pub/Sub", f"{name}={value}") for name, value in sorted(letter.forwarding.items())),
    ]
    for name, value in lines:
        if value:
            facts.add_row(name, printable(value))
    return Group(facts, Text(), Text(_readable(letter.data)))


def _readable(data: bytes) -> str:
    """JSON in lines, other text as it is, anything else as Python writes bytes; never a control character."""
    if not data:
        return "(no data)"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"{data!r}"
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2)
    return "\n".join(map(printable, text.split("\n")))
