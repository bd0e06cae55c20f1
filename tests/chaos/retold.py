"""The history of jobs as the functions' standard output tells it, by the rules of docs/telemetry.md."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.model import JobKey, JobStatus, Transition

_FINAL = frozenset(status.value for status in JobStatus if status.final)
_REQUIRED = ("severity", "time", "event", "message")


@dataclass(frozen=True, slots=True)
class Told:
    """One transition: `commit` is between which versions its commit led, `teller` which execution said so."""

    version: int
    from_status: str | None
    to_status: str
    attempt: int
    reason: str
    actor: str
    commit: tuple[int, int] = field(default=(0, 0), compare=False)
    teller: str = field(default="", compare=False)

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
            teller=line["logging.googleapis.com/labels"].get("execution_id", ""),
        )


# What the first transition of every job is.
_FIRST = Told(1, None, "PENDING", 1, "accepted", "tenant", (0, 1))


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


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
                    entry = json.loads(line, parse_constant=_refuse)
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
    forestalled, seen = output.transitions("job_transition_forestalled"), _rows_seen(output)
    return {
        key: _History(
            done.get(key, ()), intended.get(key, ()), forestalled.get(key, ()), seen.get(key, set())
        ).retell()
        for key in done.keys() | intended.keys()
    }


Sight = tuple[int, str | None]


def _rows_seen(output: Output) -> Mapping[JobKey, set[Sight]]:
    """Versions and statuses of each job, as whoever ignored an event about it found it."""
    seen: dict[JobKey, set[Sight]] = defaultdict(set)
    for line in output.lines:
        if line["event"] == "event_ignored" and "status" in line:
            seen[_key(line)].add((line["version"], line["status"]))
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
        forestalled: which of that was not committed.
        seen: what the row was seen to be, at which version.
    """

    def __init__(
        self,
        lines: Sequence[Told],
        intended: Sequence[Told],
        forestalled: Sequence[Told],
        seen: Set[Sight],
    ) -> None:
        self._lines = {step.version: step for step in lines}
        twice = [step.version for step in lines if self._lines[step.version] != step]
        self._doubt = f"version {twice[0]} is told in two ways" if twice else None
        written = _commits([step for _, step in sorted(self._lines.items())])
        announced = Counter(_commits(intended))
        # Two may have announced the very same, of whom one was first.
        self._commits = list(
            dict.fromkeys([(_FIRST,), *written, *(announced - Counter(_commits(forestalled)))])
        )
        # Whoever announces a commit has seen the row before it.
        before = {(commit[0].version - 1, commit[0].from_status) for commit in [*announced, *self._commits]}
        self._seen = before | seen
        self._last = max([*self._lines, *(version for version, _ in self._seen)])

    def retell(self) -> Retold:
        """Find the one history that nothing said contradicts."""
        ways = [] if self._doubt else list(dict.fromkeys(self._ways(())))
        # Nothing moves any more: what can have ended has.
        ways = [way for way in ways if way[-1].to_status in _FINAL] or ways
        if len(ways) != 1:
            return Retold((), doubt=self._doubt or f"{len(ways)} histories fit what is told")
        (way,) = ways
        return Retold(way, filled=sum(step.version not in self._lines for step in way))

    def _ways(self, steps: Commit) -> Iterator[Commit]:
        """All histories that begin with `steps`, some whole commits."""
        onward = [way for commit in self._next(steps) for way in self._ways(steps + commit)]
        # Where none goes on, this one ends, if no later state of the row is known. An announcement at the end
        # counts: were it not committed, somebody would have come back to the job, and left a line.
        yield from onward or ([steps] if len(steps) >= self._last else [])

    def _next(self, steps: Commit) -> Iterator[Commit]:
        status = steps[-1].to_status if steps else None
        for commit in self._commits:
            before, after = commit[0].commit
            # Every state in which the row was seen is the end of a commit.
            seen = {sight for sight in self._seen if before < sight[0] <= after}
            if (
                (before, commit[0].from_status) == (len(steps), status)
                and status not in _FINAL
                and seen <= {(after, commit[-1].to_status)}
                and all(self._agrees(step) for step in commit)
            ):
                yield commit

    def _agrees(self, step: Told) -> bool:
        line = self._lines.get(step.version)
        return line is None or (line == step and line.commit == step.commit)


def _commits(steps: Sequence[Told]) -> Iterator[Commit]:
    """What lines tell whole, each the steps of one commit. Threads may write between each other's lines."""
    for place, first in enumerate(steps):
        if first.version != first.commit[0] + 1:
            continue
        chain = [first]
        for step in steps[place + 1 :]:
            last = chain[-1]
            goes_on = step.version == last.version + 1 and step.from_status == last.to_status
            if goes_on and (step.commit, step.teller) == (first.commit, first.teller):
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
            paths = [
                [f"{step.to_status} ({step.reason})" for step in steps] for steps in (told.steps, stored)
            ]
            yield key, f"{told.doubt or 'it is told otherwise'}: {paths[0]}, and was {paths[1]}"
