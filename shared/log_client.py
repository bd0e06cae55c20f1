"""The thin adapter to Cloud Logging, where Batch keeps what tasks write."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import grpc
from google.api_core import exceptions
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport
from google.cloud.logging_v2.types import ListLogEntriesRequest, LogEntry
from google.logging.type.log_severity_pb2 import LogSeverity  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToJson

from shared.errors import Unavailable
from shared.task_logs import LogLine, LogPart, LogPlace

_TIMEOUT = 10.0  # seconds, of one call
_MOST_ENTRIES = 250
# An entry may have 256 KiB, and each thread that reads logs must hold an answer: one of more bytes than this
# is not taken in at all, and so many entries, which fit however long they are, are asked for instead.
_MOST_BYTES = 6 * 1024 * 1024
_FEW_ENTRIES = 16
# How gRPC says that it refused an answer: with this code the service itself says that its quota is used up.
_REFUSED_HERE = "Received message larger than max"
# A search that takes Cloud Logging long comes in pages, which may be empty though more is to come.
_MOST_EMPTY_PAGES = 5
# What one project may ask for in a minute is little (60 reads unless it was raised).
_QUOTA_SECONDS = 15


_OPTIONS = [("grpc.max_receive_message_length", _MOST_BYTES)]


def _google(*address: str, **how: Any) -> grpc.Channel:
    return LoggingServiceV2GrpcTransport.create_channel(*address, **how | {"options": _OPTIONS})


class _TooLong(Exception):
    """An answer has more bytes than this process takes."""


class LogClient:
    """Cloud Logging, or its local stand-in.

    Args:
        emulator_host: `host:port` of a local Batch service, None for Google's.
        clock: seconds that never go back.
    """

    def __init__(self, *, emulator_host: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        if emulator_host:
            channel = grpc.insecure_channel(emulator_host, options=_OPTIONS)
            transport = LoggingServiceV2GrpcTransport(channel=channel)
        else:
            transport = LoggingServiceV2GrpcTransport(channel=_google)
        self._client = LoggingServiceV2Client(transport=transport)

    def lines(
        self,
        *,
        project: str,
        uid: str,
        task: int,
        since: datetime | None,
        after: LogPlace | None,
        limit: int,
        most_text: int,
        seconds: float,
    ) -> LogPart:
        """See `TaskLogs.lines`."""
        deadline = self._clock() + seconds
        found: list[LogLine] = []
        text, more, most, asked = 0, True, _MOST_ENTRIES, 0
        while more and len(found) < limit and text < most_text:
            size = min(limit - len(found), most)
            if text:  # by the lines so far, more would not be needed
                size = min(size, (most_text - text) * len(found) // text + 1)
            query = log_filter(uid=uid, task=task, since=since, after=after)
            asked += 1
            try:
                entries, more = self._entries(project, query, size, deadline)
            except _TooLong:
                most = _FEW_ENTRIES
                continue
            except Unavailable:
                if not found:
                    raise
                break
            found += [log_line(entry) for entry in entries]
            text = sum(line.size for line in found)
            after = found[-1].place if found else after
        return LogPart(found, more, asked)

    def _entries(self, project: str, query: str, size: int, deadline: float) -> tuple[list[LogEntry], bool]:
        """Some entries, and whether there may be more: a page that is not full is not the last for that."""
        request = ListLogEntriesRequest(
            resource_names=[f"projects/{project}"], filter=query, order_by="timestamp asc", page_size=size
        )
        try:
            for _ in range(_MOST_EMPTY_PAGES):
                left = deadline - self._clock()
                if left <= 0:
                    break
                pager = self._client.list_log_entries(request, retry=None, timeout=min(left, _TIMEOUT))
                page = next(iter(pager.pages))
                if page.entries or not page.next_page_token:
                    return list(page.entries), bool(page.next_page_token)
                request.page_token = page.next_page_token
        except exceptions.ResourceExhausted as error:
            if _REFUSED_HERE in str(error) and size > _FEW_ENTRIES:
                raise _TooLong from error
            busy = Unavailable("Logs are asked for too often: please try again later.")
            busy.retry_after = _QUOTA_SECONDS
            raise busy from error
        except (
            exceptions.ServiceUnavailable,
            exceptions.DeadlineExceeded,
            exceptions.InternalServerError,
            exceptions.Aborted,
        ) as error:
            raise Unavailable("The logs can't be read now: please try again.") from error
        raise Unavailable("The search for log lines takes long: please try again.")


def log_filter(*, uid: str, task: int, since: datetime | None, after: LogPlace | None) -> str:
    """The lines of one task in the language of Cloud Logging.

    Batch has written a task's id as `UID-group0-INDEX` and as `task/UID-group0-INDEX/0/0`: both are found.
    """
    terms = [
        'log_id("batch_task_logs")',
        f"labels.job_uid={_quoted(uid)}",
        f"labels.task_id=~{_quoted(f'(^|/){uid}-group0-{task}(/|$)')}",
    ]
    if since is not None:
        at = since.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        terms.append(f"timestamp>={_quoted(at)}")
    if after is not None:
        at, line_id = _quoted(after.at), _quoted(after.line_id)
        terms.append(f"(timestamp>{at} OR (timestamp={at} AND insertId>{line_id}))")
    return " AND ".join(terms)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def log_line(entry: LogEntry) -> LogLine:
    """What a task wrote, from the entry that Batch made of it."""
    raw = LogEntry.pb(entry)
    # Batch marks what comes from standard error as an error; a line of JSON may name its own severity.
    stream: Literal["stdout", "stderr"] = "stderr" if raw.severity >= LogSeverity.ERROR else "stdout"
    text = MessageToJson(raw.json_payload, indent=None) if "json_payload" in entry else raw.text_payload
    return LogLine(LogPlace(raw.timestamp.ToJsonString(), raw.insert_id), stream, text)
