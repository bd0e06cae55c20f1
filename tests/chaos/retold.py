"""The history of jobs as the functions' standard output tells it, by the rules of docs/telemetry.md."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.model import JobKey, JobStatus, Transition

_FINAL = frozenset(status.value for status in JobStatus if status.final)
_REQUIRED = ("severity", "time", "event", "message")


@dataclass(frozen=True, slots=True)
class Told:
    """One transition. `commit` is from which version to which its commit led."""

    version: int
    from_status: str | None
    to_status: str
    attempt: int
    reason: str
    actor: str
    commit: tuple[int, int] = field(default=(0, 0), compare=False)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Told:
        """The transition that a line tells."""
        told = line["transition"]
        return cls(
            version=told["version"],
            from_status=told["from"],
            to_status=told["to"],
            attempt=told["attempt"],
            reason=told["reason"],
            actor=told["actor"],
            commit=tuple(told["commit"]),
        )


# What the first transition of every job is.
_FIRST = Told(1, None, "PENDING", 1, "accepted", "tenant", (0, 1))


@dataclass(slots=True)
class Output:
    """What functions said.

    Attributes:
        lines: every line, parsed.
        torn: lines that are none: what a process was killed over.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Output:
        """Read it. A line that is JSON must have the fields that every line has."""
        output = cls()
        for path in sorted(paths):
            for line in path.read_text().split("\n"):
                if not line:
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:
                    output.torn.append(line)
                    continue
                missing = [name for name in _REQUIRED if not isinstance(entry.get(name), str)]
                if missing:
                    raise AssertionError(f"a line without {', '.join(missing)}: {line}")
                output.lines.append(entry)
        return output

    def transitions(self, event: str) -> dict[JobKey, list[Told]]:
        """The transitions that lines of this event tell, by job, in the order of the lines."""
        found: dict[JobKey, list[Told]] = defaultdict(list)
        for line in self.lines:
            if line["event"] == event:
                found[_key(line)].append(Told.of(line))
        return found


@dataclass(frozen=True, slots=True)
class Retold:
    """One job's history. `filled` steps have no line of their own; `doubt` says what could be otherwise."""

    steps: Sequence[Told]
    filled: int = 0
    doubt: str | None = None


def retell(output: Output) -> Mapping[JobKey, Retold]:
    """Every job's history, once nothing moves any more."""
    done, intended = output.transitions("job_transition"), output.transitions("job_transition_intended")
    seen = _rows_seen(output)
    return {
        key: _History(done.get(key, []), intended.get(key, []), seen.get(key, {})).retell()
        for key in done.keys() | intended.keys()
    }


def _rows_seen(output: Output) -> Mapping[JobKey, dict[int, str]]:
    """The status of each job at a version, as whoever ignored an event about it found it."""
    seen: dict[JobKey, dict[int, str]] = defaultdict(dict)
    for line in output.lines:
        if line["event"] == "event_ignored" and "status" in line:
            seen[_key(line)][line["version"]] = line["status"]
    return seen


def _key(line: Mapping[str, Any]) -> JobKey:
    labels = line["logging.googleapis.com/labels"]
    return JobKey(labels["tenant"], labels["job"])


Commit = tuple[Told, ...]


class _History:
    """One job's lines.

    Args:
        lines: what was committed.
        intended: what was announced.
        seen: what the row was seen to be, by version.
    """

    def __init__(self, lines: Sequence[Told], intended: Sequence[Told], seen: Mapping[int, str]) -> None:
        self._lines = {step.version: step for step in lines}
        twice = [step.version for step in lines if self._lines[step.version] != step]
        self._doubt = f"version {twice[0]} is told in two ways" if twice else None
        self._commits = list(dict.fromkeys(_commits(intended)))
        # Whoever announces a commit has seen the row before it.
        announced = {commit[0].version - 1: commit[0].from_status for commit in self._commits}
        self._seen: Mapping[int, str | None] = {**announced, **seen}

    def retell(self) -> Retold:
        """Follow it from its beginning; where a line is missing, by the announcement that fits."""
        steps: list[Told] = []
        filled = 0
        while self._doubt is None:
            version = len(steps) + 1
            if version in self._lines:
                steps.append(self._lines[version])
                continue
            if steps and steps[-1].to_status in _FINAL and steps[-1].commit[1] == version - 1:
                break
            fitting = {commit[version - 1 - commit[0].commit[0]] for commit in self._fitting(steps)}
            if len(fitting) != 1:
                if fitting or any(known > version for known in self._lines):
                    self._doubt = f"version {version} may be any of {len(fitting)}"
                break
            steps.append(fitting.pop())
            filled += 1
        return Retold(steps, filled, self._doubt)

    def _fitting(self, steps: Sequence[Told]) -> list[Commit]:
        """What may have been committed next."""
        if not steps:
            return [(_FIRST,)]
        return [commit for commit in self._commits if self._fits(commit, steps[-1])]

    def _fits(self, commit: Commit, before: Told) -> bool:
        first, last = commit[0].commit
        if not first <= before.version < last:
            return False
        # It goes on where the history stands, and what is known of the versions that it goes through is so.
        known = [(step, self._lines.get(step.version, step)) for step in commit]
        follows = self._lines.get(last + 1)
        return (
            commit[before.version - first].from_status == before.to_status
            and (first == before.version or before.commit == (first, last))
            and all(line == step and line.commit == step.commit for step, line in known)
            and self._seen.get(last, commit[-1].to_status) == commit[-1].to_status
            and (follows is None or follows.from_status == commit[-1].to_status)
        )


def _commits(steps: Sequence[Told]) -> Iterator[Commit]:
    """Announcements, each the steps of one commit. Threads may write between each other's lines."""
    for place, first in enumerate(steps):
        if first.version != first.commit[0] + 1:
            continue
        chain = [first]
        for step in steps[place + 1 :]:
            last = chain[-1]
            goes_on = step.version == last.version + 1 and step.from_status == last.to_status
            if goes_on and step.commit == first.commit:
                chain.append(step)
        if chain[-1].version == first.commit[1]:
            yield tuple(chain)


def differences(
    retold: Mapping[JobKey, Retold], rows: Mapping[JobKey, Sequence[Transition]]
) -> Iterator[tuple[JobKey, str]]:
    """How what was told differs from what the database holds, for each job that it does for."""
    for key in sorted(retold.keys() | rows.keys()):
        told = retold.get(key)
        if told is None:
            yield key, "no line tells of it"
            continue
        stored = [
            Told(
                version=int(row.transition_id),
                from_status=row.from_status,
                to_status=row.to_status,
                attempt=row.attempt or 0,
                reason=row.reason or "",
                actor=row.actor or "",
            )
            for row in sorted(rows.get(key, ()), key=lambda row: row.transition_id)
        ]
        if told.doubt or list(told.steps) != stored:
            paths = [[step.to_status for step in steps] for steps in (told.steps, stored)]
            yield key, f"{told.doubt or 'it is told otherwise'}: {paths[0]}, and was {paths[1]}"
