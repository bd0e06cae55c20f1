"""The connection to Spanner, with an end to every wait."""

from __future__ import annotations

from typing import Any

from google.cloud import spanner
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.pool import BurstyPool
from google.cloud.spanner_v1.services.spanner import SpannerClient

# Seconds until the outcome of a commit counts as unknown. The client's own default is an hour, and it would
# try again for an hour where the server is out of reach: more than any function lives.
COMMIT_TIMEOUT = 10.0


class _Bounded:
    """The data API, but for a commit that ends in time. Whoever commits tries again: see `commits`."""

    def __init__(self, api: SpannerClient) -> None:
        self._api = api

    def commit(self, *arguments: Any, **named: Any) -> Any:
        """Commit, once, within `COMMIT_TIMEOUT`."""
        return self._api.commit(*arguments, retry=None, timeout=COMMIT_TIMEOUT, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


class BoundedDatabase(Database):  # type: ignore[misc]  # the base class has no types
    """A database whose commits end in time; the client's `batch` has no setting for it."""

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
