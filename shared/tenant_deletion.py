"""Tenants that are being deleted: their jobs end, then they go, and the tenant last."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import cast

from google.cloud.spanner_v1 import KeyRange, KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.transaction import Transaction

from shared import tenants
from shared.cancellation import Cancellation
from shared.config import Timing
from shared.errors import FailedPrecondition, NotFound
from shared.messages import JobMessage
from shared.rows import READ_TIMEOUT, Reads
from shared.semantics import LogEvent
from shared.telemetry import emit
from shared.transitions import Deletion, Transitions

# What one tick does at most. A turn is one page of one tenant.
_MOST_TENANTS = 1000
_MOST_TURNS = 40
_CANCELLED = 50
_DELETED = 500

# Seconds in which the transaction that deletes a tenant is begun again after an ABORTED.
_TIMEOUT = 10.0


class TenantDeletion:
    """Goes on with deletions that `Tenants.delete` began; each step may be the last, or come twice.

    Args:
        database: the database, with the current schema.
        reads: committed rows.
        transitions: the one writer of jobs.
        publish: sends messages to topic `jobs`. It may fail: reconciliation looks at the jobs as well.
        timing: how long to wait for what.
        now: the clock.
        jitter: a number in [0, 1), which says whose turn comes first.
    """

    def __init__(
        self,
        database: Database,
        *,
        reads: Reads,
        transitions: Transitions,
        publish: Callable[..., object],
        timing: Timing,
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._reads = reads
        self._transitions = transitions
        self._publish = publish
        self._timing = timing
        self._now = now
        self._jitter = jitter

    def proceed(self, *, until: datetime) -> None:
        """Take a turn for each tenant that is being deleted, and then another, until time is up.

        1 RPC where there is none.
        """
        begun = sorted(self._begun(), key=lambda _: self._jitter())
        turns = deque(self._delete(tenant_id, since, until) for tenant_id, since in begun)
        for _ in range(_MOST_TURNS):
            if not turns or self._now() > until:
                return
            turn = turns.popleft()
            try:
                next(turn)
            except StopIteration:
                continue
            except Exception:  # noqa: BLE001 - it is logged
                # One tenant that can't be deleted must not stop the others.
                why = "a tenant is not deleted; the next tick tries again"
                emit(LogEvent.TENANT_NOT_DELETED, why, error=True)
                continue
            turns.append(turn)

    def _begun(self) -> list[tuple[str, datetime]]:
        with self._database.snapshot() as snapshot:
            rows = snapshot.read(
                "Tenants",
                ("TenantId", "DeletedAt"),
                KeySet(all_=True),
                index="TenantsByDeletion",
                limit=_MOST_TENANTS,
                timeout=READ_TIMEOUT,
            )
            return [(tenant_id, since) for tenant_id, since in rows]

    def _delete(self, tenant_id: str, since: datetime, until: datetime) -> Iterator[None]:
        """The turns of one tenant."""
        while self._cancel(tenant_id, until):
            yield
        # Until then another process may take a job for it, and go on to publish it.
        if self._now() - since < self._timing.tenant_cache + self._timing.function_timeout:
            return
        after, kept = None, 0
        while keys := self._reads.job_keys(tenant_id, after=after, limit=_DELETED):
            deletions = self._transitions.delete(keys)
            kept += sum(deletion is not Deletion.DONE for deletion in deletions.values())
            after = keys[-1].job_id
            yield
        if not kept and self._remove(tenant_id):
            emit(LogEvent.TENANT_DELETED, "a tenant is deleted", tenant=tenant_id)

    def _cancel(self, tenant_id: str, until: datetime) -> bool:
        """Cancel a page of live jobs while there is time; whether any may be left."""
        messages: list[JobMessage] = []
        cancellation = Cancellation(self._transitions, messages.append)
        keys = self._reads.live_keys(tenant_id, limit=_CANCELLED)
        left = len(keys) == _CANCELLED
        for key in keys:
            if self._now() > until:
                left = True
                break
            try:
                cancellation.cancel(key, reason="tenant deleted")
            except (FailedPrecondition, NotFound):
                pass  # it has ended meanwhile
            except Exception:  # noqa: BLE001 - it is logged
                why = "a job of a deleted tenant is not cancelled"
                emit(LogEvent.TENANT_NOT_DELETED, why, key=key, error=True)
        if messages:
            self._publish(*messages)
        return left

    def _remove(self, tenant_id: str) -> bool:
        """Delete the tenant's row if no job is left. A job that comes now finds no tenant, or stops this."""

        def write(transaction: Transaction) -> bool:
            jobs = KeySet(ranges=[KeyRange(start_closed=[tenant_id], end_closed=[tenant_id])])
            left = list(transaction.read("Jobs", ["JobId"], jobs, limit=1, timeout=READ_TIMEOUT))
            if not left:
                tenants.remove(transaction, tenant_id)
            return not left

        run = self._database.run_in_transaction
        return cast("bool", run(write, timeout_secs=_TIMEOUT, default_retry_delay=0.02))
