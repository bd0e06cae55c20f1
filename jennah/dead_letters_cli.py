"""`jennah dead-letters`: what functions refused until Pub/Sub gave up."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from jennah.arguments import App

app = App(
    help="See, replay and discard the messages that functions refused until Pub/Sub gave up.",
    no_args_is_help=True,
)


class Topic(StrEnum):
    """What a topic is for, whatever the settings call it."""

    jobs = "jobs"
    batch_events = "batch-events"


OfTopic = Annotated[Topic | None, typer.Option("--topic", help="Only those of this topic.")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="The messages' ids, as the list shows them.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All of them, instead of ids.")]
Most = Annotated[
    int, typer.Option("--limit", min=1, max=1_000_000, help="With --all: how many of each topic at most.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command(name="list")
def list_(
    topic: OfTopic = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of each topic at most.")] = 1_000,
    *,
    as_json: AsJson = False,
) -> None:
    """List the dead letters and what they say; none of them is changed."""
    from jennah.operations import dead_letter_commands

    dead_letter_commands.list_letters(topic, limit=limit, as_json=as_json)


@app.command()
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The message's id.", show_default=False)],
    topic: OfTopic = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show everything of one dead letter."""
    from jennah.operations import dead_letter_commands

    dead_letter_commands.show_letter(message_id, topic, as_json=as_json)


@app.command()
def replay(
    message_ids: Ids = None, *, every: All = False, topic: OfTopic = None, limit: Most = 1_000
) -> None:
    """Publish dead letters to their topic again, exactly as they were."""
    ids = _chosen(message_ids, every=every)
    from jennah.operations import dead_letter_commands

    dead_letter_commands.replay(ids, topic, limit=limit)


@app.command()
def discard(
    message_ids: Ids = None,
    *,
    every: All = False,
    topic: OfTopic = None,
    limit: Most = 1_000,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Throw dead letters away for good."""
    ids = _chosen(message_ids, every=every)
    from jennah.operations import dead_letter_commands

    dead_letter_commands.discard(ids, topic, limit=limit, confirmed=yes)


def _chosen(message_ids: list[str] | None, *, every: bool) -> list[str]:
    """The ids, without repetition; none means all."""
    if bool(message_ids) == every:
        raise typer.BadParameter("give ids or --all, one of the two", param_hint="ID")
    return list(dict.fromkeys(message_ids or ()))
