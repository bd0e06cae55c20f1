"""The tasks' logs as Cloud Logging would show them: `ListLogEntries` of `google.logging.v2.LoggingServiceV2`.

Entries have the log name, labels and severities that Batch gives to what its tasks write. Of the query
language only what asks for one task's log is understood, oldest first; anything else is refused, never
ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry

from jennah.local.batch_api import Answer
from jennah.local.batch_specs import Refused, invalid

SERVICE = "google.logging.v2.LoggingServiceV2"

_MOST = 100
_FILTER = re.compile(
    r'log_id\("batch_task_logs"\)'
    r' AND labels\.job_uid="(?P<uid>[a-z0-9-]+)"'
    r' AND labels\.task_id=~"(?P<task>[^"\\]+)"'
    r'(?: AND timestamp>="(?P<since>[^"\\]+)")?'
    r'(?: AND \(timestamp>"(?P<at>[^"\\]+)"'
    r' OR \(timestamp="(?P=at)" AND insertId>"(?P<id>(?:[^"\\]|\\.)*)"\)\))?'
)
_ID = re.compile(r"[0-9]{20}")
_MORE = "more"  # who wants it asks for what comes after the last entry
_SEVERITIES = {"stdout": "INFO", "stderr": "ERROR"}
_TIME = re.compile(r"([0-9-]+T[0-9:]+)(?:\.([0-9]{1,9}))?Z")


class TaskLogs:
    """Logs of tasks, alive or not.

    Args:
        directory: where the service keeps `JOB_UID/task-0-INDEX.jsonl`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def list_entries(self, request: ListLogEntriesRequest) -> Answer:
        """Show the first entries that pass the filter."""
        wanted = _FILTER.fullmatch(request.filter)
        if wanted is None:
            invalid(f"filter: {request.filter!r} is not supported.")
        if request.order_by not in {"", "timestamp asc"} or request.page_token:
            invalid("order_by and page_token are not supported.")
        if len(request.resource_names) != 1 or not request.resource_names[0].startswith("projects/"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "resource_names must name one project.")
        last = re.sub(r"\\(.)", r"\1", wanted["id"] or "")
        since, after = _key(wanted["since"], ""), _key(wanted["at"], last)
        place = int(last) if _ID.fullmatch(last) else 0
        entries = []
        # Cloud Logging may give less than was asked for, and says whether there may be more.
        most = min(request.page_size or _MOST, _MOST)
        for task_id, log in self._logs_of(wanted["uid"], wanted["task"]):
            for entry in _entries(log, from_offset=place):
                key = _key(entry["at"], entry["id"])
                if key >= since and (after == _NEVER or key > after):
                    entries.append((key, task_id, entry))
                if len(entries) == most:
                    break
        response = ListLogEntriesResponse(
            entries=[
                _shown(request.resource_names[0], wanted["uid"], task_id, entry)
                for _, task_id, entry in sorted(entries, key=lambda found: found[0])
            ],
            next_page_token=_MORE if len(entries) == most else "",
        )
        return Answer(ListLogEntriesResponse.pb(response))

    def _logs_of(self, uid: str, tasks: str) -> Iterator[tuple[str, Path]]:
        for log in sorted((self._directory / uid).glob("task-0-*.jsonl")):
            task_id = f"task/{uid}-group0-{log.stem.rpartition('-')[2]}/0/0"
            if re.search(tasks, task_id):
                yield task_id, log


_NEVER = ("", "", "")


def _key(at: str | None, insert_id: str | None) -> tuple[str, str, str]:
    """The place of an entry in the order of entries: by time to the nanosecond, then by insert id."""
    if at is None:
        return _NEVER
    time = _TIME.fullmatch(at)
    if time is None:
        invalid(f"filter: {at!r} is no time.")
    return time[1], (time[2] or "").ljust(9, "0"), insert_id or ""


def _entries(log: Path, *, from_offset: int) -> Iterator[dict[str, str]]:
    """The complete lines of a log from that place on; an entry's id is its place, in 20 digits.

    Where no line begins at that place, all of them.
    """
    with log.open("rb") as lines:
        place = from_offset if 0 < from_offset <= log.stat().st_size else 0
        if place:
            lines.seek(place - 1)
            if lines.read(1) != b"\n":
                place = 0
        lines.seek(place)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield {**json.loads(line), "id": f"{place:020}"}
            place += len(line)


def _shown(project: str, uid: str, task_id: str, entry: dict[str, str]) -> LogEntry:
    shown = LogEntry(
        log_name=f"{project}/logs/batch_task_logs",
        labels={"job_uid": uid, "task_id": task_id},
        severity=_SEVERITIES[entry["stream"]],
        insert_id=entry["id"],
        text_payload=entry["text"],
    )
    LogEntry.pb(shown).timestamp.FromJsonString(entry["at"])
    return shown


def job_id_in(request: ListLogEntriesRequest) -> str:
    """The id of the job that a request asks for; empty if it asks for none."""
    wanted = _FILTER.fullmatch(request.filter)
    return wanted["uid"].removesuffix(wanted["uid"][-37:]) if wanted else ""
