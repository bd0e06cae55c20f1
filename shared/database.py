"""The connection to Spanner, with an end to every wait."""

from __future__ import annotations

from typing import Any

from google.api_core.exceptions import ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.cloud import spanner
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.pool import BurstyPool
from google.cloud.spanner_v1.services.spanner import SpannerClient

# Seconds until the outcome of a commit counts as unknown. The client's own default is an hour, and it would
# try again for an hour where the server is out of reach: more than any function lives.
COMMIT_TIMEOUT = 10.0

# Seconds for which a read that Spanner can't serve is asked again. The client itself would ask for ever, and
# without a pause: its loop around UNAVAILABLE has no end (`_restart_on_unavailable`, 3.71).
READ_PATIENCE = 5.0


class _Bounded:
    """The data API, but for commits and reads that end in time. Who commits tries again: see `commits`."""

    def __init__(self, api: SpannerClient) -> None:
        self._api = api

    def commit(self, *arguments: Any, **named: Any) -> Any:
        """Commit, once, within `COMMIT_TIMEOUT`."""
        return self._api.commit(*arguments, retry=None, timeout=COMMIT_TIMEOUT, **named)

    def streaming_read(self, *arguments: Any, **named: Any) -> Any:
        """Begin to read; RetryError once Spanner was unavailable for `READ_PATIENCE`."""
        return self._api.streaming_read(*arguments, **{**named, "retry": _patient()})

    def execute_streaming_sql(self, *arguments: Any, **named: Any) -> Any:
        """Begin a query; RetryError once Spanner was unavailable for `READ_PATIENCE`."""
        return self._api.execute_streaming_sql(*arguments, **{**named, "retry": _patient()})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


def _patient() -> Retry:
    unavailable = if_exception_type(ServiceUnavailable)
    return Retry(unavailable, initial=0.05, maximum=1.0, timeout=READ_PATIENCE)


class BoundedDatabase(Database):  # type: ignore[misc]  # the base class has no types
    """A database whose commits and reads end in time; the client has no setting for it."""

    @property
    def spanner_api(self) -> _Bounded:
        """The data API."""
        return _Bounded(super().spanner_api)


def connect(project: str, instance: str, database: str) -> Database:
    """The database, made ready; nothing is sent yet."""
    client = spanner.Client(project=project, disable_builtin_metrics=True)
    pool = BurstyPool()
    made = BoundedDatabase(database, client.instance(instance), pool=pool)
    pool.bind(made)
    return made
