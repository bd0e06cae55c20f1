"""Filters, orders and pages of the lists that the local Batch service answers with.

A filter is `FIELD=VALUE` or `FIELD="VALUE"`, joined by AND. Any other expression is refused, never ignored: a
sweep that believes in its filter must not be shown everything. Page tokens belong to their query, and stay
valid when items come and go.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from jennah.local.batch_jobs import Job, JobState, TaskState
from jennah.local.batch_specs import invalid

_Item = TypeVar("_Item")

_MAX_PAGE = 1_000
_TERM = re.compile(r'\s*(?P<field>[A-Za-z][\w.-]*)\s*=\s*(?:"(?P<quoted>[^"\\]*)"|(?P<bare>[\w-]+))\s*')
_AND = re.compile(r'(?<=[\s"])AND\s')


class JobFilter:
    """A filter of ListJobs, over `labels.KEY` and `status.state`.

    Raises:
        Refused: INVALID_ARGUMENT, for whatever else it holds.
    """

    def __init__(self, text: str) -> None:
        self._labels: list[tuple[str, str]] = []
        self._states: set[str] = set()
        for field, value in _terms(text):
            if field.startswith("labels.") and field != "labels.":
                self._labels.append((field.removeprefix("labels."), value))
            elif field == "status.state" and value in JobState.__members__:
                self._states.add(value)
            else:
                invalid(f"filter: {field}={value} is not supported.")

    def admits(self, job: Job) -> bool:
        """Whether a job passes."""
        labelled = all(job.labels.get(key) == value for key, value in self._labels)
        return labelled and self._states <= {job.state.name}


class JobOrder:
    """An `order_by` of ListJobs: `name` or `create_time`, with or without ` desc`.

    Raises:
        Refused: INVALID_ARGUMENT, for whatever else it says.
    """

    def __init__(self, text: str) -> None:
        field, _, direction = text.partition(" ")
        if field not in {"", "name", "create_time"} or direction not in {"", "desc"}:
            invalid(f"order_by: {text!r} is not supported.")
        self._by_name = field == "name"
        self.descending = direction == "desc"

    def key(self, job: Job) -> str:
        """What to sort by, unique among jobs."""
        return job.name if self._by_name else f"{job.created.isoformat(timespec='microseconds')} {job.name}"


def parse_task_filter(text: str) -> TaskState | None:
    """The state that a filter of ListTasks (`State=RUNNING`) asks for; None asks for all.

    Raises:
        Refused: INVALID_ARGUMENT.
    """
    wanted = None
    for field, value in _terms(text):
        if field.lower() != "state" or value not in TaskState.__members__ or wanted is not None:
            invalid(f"filter: {text!r} is not supported.")
        wanted = TaskState[value]
    return wanted


def page_of(
    items: Iterable[_Item],
    key: Callable[[_Item], str],
    query: Sequence[str],
    size: int,
    token: str,
    *,
    descending: bool = False,
) -> tuple[list[_Item], str]:
    """The page that a token asks for (the first if it is empty), and the token of the next one.

    Raises:
        Refused: INVALID_ARGUMENT: the token is none of ours, or of another query; the size is negative.
    """
    if size < 0:
        invalid("page_size must not be negative.")
    size = min(size or _MAX_PAGE, _MAX_PAGE)
    after = _read_token(token, query) if token else None
    rest = [
        item
        for item in sorted(items, key=key, reverse=descending)
        if after is None or (key(item) < after if descending else key(item) > after)
    ]
    page = rest[:size]
    return page, _write_token(query, key(page[-1])) if len(rest) > size else ""


def _terms(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while text.strip():
        term = _TERM.match(text, position)
        if term is None:
            invalid(f"filter: {text[position:]!r} is not FIELD=VALUE.")
        quoted, bare = term["quoted"], term["bare"]
        yield term["field"], bare if quoted is None else quoted
        position = term.end()
        if position == len(text):
            return
        conjunction = _AND.match(text, position)
        if conjunction is None:
            invalid(f"filter: AND is expected before {text[position:]!r}.")
        position = conjunction.end()


def _write_token(query: Sequence[str], after: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([*query, after]).encode()).decode()


def _read_token(token: str, query: Sequence[str]) -> str:
    try:
        content = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        content = None
    match content:
        case [*issued_for, str(after)] if issued_for == list(query):
            return after
    return invalid("page_token is not one of this query.")
