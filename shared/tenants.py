"""Which tenant an identity is. One comes to be once, by its first accepted submission, if it is admitted.

What an operator has set for a tenant outlives it: when its row goes, its limits and its job account stay in
a row without an identity, whose id is derived from the identity, until that comes back.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from google.api_core import exceptions
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.batch import Batch
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.transaction import Transaction

from shared.callers import Admission, Identity, admits
from shared.commits import PATIENT, Patience, commit
from shared.config import Timing
from shared.errors import NotFound, PermissionDenied, Unavailable
from shared.model import Tenant
from shared.rows import READ_TIMEOUT

CACHE_SECONDS = Timing().tenant_cache.total_seconds()
"""For so long another process may not notice that a tenant was deleted or changed by an operator."""
CACHE_SIZE = 10_000

# A submission that is refused makes no tenant, and yet it counts: for a minute, as limits do.
_PROPOSED_SECONDS = 60.0

_SET_BY_OPERATORS = ("Limits", "JobServiceAccount")
_INSERTED = ("TenantId", "UserEmail", "OAuthProvider", "OAuthUserId", "CreatedAt", "UpdatedAt")
_READ = ("TenantId", "UserEmail", "CreatedAt", "JobServiceAccount", "Limits", "DeletedAt")


class Tenants:
    """Finds and makes tenants; remembers them for `CACHE_SECONDS`. Safe to share between threads."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience = PATIENT,
    ) -> None:
        self._database = database
        self._patience = patience
        self._admission = admission
        self._cache = _Cache(clock, CACHE_SECONDS)
        self._proposed = _Cache(clock, _PROPOSED_SECONDS)

    def resolve(self, identity: Identity) -> Tenant | None:
        """The tenant that may read, also one being deleted; None when an admitted caller has none yet.

        Never makes one.

        Raises:
            PermissionDenied: the identity has no tenant, and the setting would not let it have one.
        """
        tenant = self._find(identity)
        if tenant is None:
            self._require_admitted(identity)
        return tenant

    def submitter(self, identity: Identity) -> tuple[Tenant, bool]:
        """The tenant that may submit, and whether it is stored: else `make` stores it.

        Raises:
            PermissionDenied: the setting does not admit the identity, or its tenant is being deleted.
        """
        tenant = self._find(identity)
        if tenant is None:
            self._require_admitted(identity)
            return self._proposed.get(identity) or self._propose(identity), False
        if tenant.deleted_at is not None:
            raise PermissionDenied("This tenant is being deleted and takes no new jobs.")
        return tenant, True

    def make(self, identity: Identity, tenant: Tenant) -> bool:
        """Store a tenant that `submitter` brought; 1 commit.

        However many first submissions race, in however many processes, one tenant comes of it: the unique
        index over the identity decides.

        Returns:
            Whether it is this one; else `submitter` brings the other.

        Raises:
            Unavailable: the database did not answer; the tenant may have been made.
        """
        names = (tenant.tenant_id, tenant.email, identity.provider, identity.subject)

        def write(batch: Batch) -> None:
            values = (*names, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP, tenant.limits, tenant.job_service_account)
            batch.insert("Tenants", (*_INSERTED, *_SET_BY_OPERATORS), [values])
            batch.delete("Tenants", _kept(identity.provider, identity.subject))

        try:
            stored = replace(tenant, created_at=commit(self._database, write, patience=self._patience))
        except exceptions.AlreadyExists:
            # Another first submission won the identity, or an earlier try of this very commit did.
            winner = _read(self._database, identity)
            if winner is None:
                raise Unavailable("The tenant was deleted meanwhile: try again.") from None
            stored = winner
        self._cache.put(identity, stored)
        self._proposed.discard(identity)
        return stored.tenant_id == tenant.tenant_id

    def look(self, identity: Identity) -> Tenant:
        """The tenant as it is stored now.

        Raises:
            NotFound: there is none.
        """
        tenant = _read(self._database, identity)
        if tenant is None:
            raise _no_tenant()
        return tenant

    def delete(self, identity: Identity) -> Tenant:
        """Begin to delete the tenant: it takes no jobs any more, here at once, elsewhere in `CACHE_SECONDS`.

        Reconciliation does the rest. Once more changes nothing.

        Raises:
            NotFound: there is none.
            Unavailable: nobody knows whether it has begun.
        """
        tenant = self.look(identity)

        def write(batch: Batch) -> None:
            columns = ("TenantId", "DeletedAt", "UpdatedAt")
            batch.update("Tenants", columns, [(tenant.tenant_id, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)])

        if tenant.deleted_at is None:
            try:
                tenant = replace(tenant, deleted_at=commit(self._database, write, patience=self._patience))
            except exceptions.NotFound:
                raise _no_tenant() from None
        self._cache.put(identity, tenant)
        return tenant

    def forget(self, identity: Identity) -> None:
        """Read the tenant anew next time: it was changed, or turned out to be gone."""
        self._cache.discard(identity)

    def _require_admitted(self, identity: Identity) -> None:
        if not admits(self._admission, identity):
            raise PermissionDenied("You are known, but not admitted: ask the operator of this platform.")

    def _find(self, identity: Identity) -> Tenant | None:
        tenant = self._cache.get(identity)
        if tenant is None:
            tenant = _read(self._database, identity)
            if tenant is not None:
                self._cache.put(identity, tenant)
        return tenant

    def _propose(self, identity: Identity) -> Tenant:
        """A tenant to be, with what an operator had set when the identity was here before; 1 RPC."""
        with self._database.snapshot() as snapshot:
            keys = _kept(identity.provider, identity.subject)
            rows = list(snapshot.read("Tenants", _SET_BY_OPERATORS, keys, timeout=READ_TIMEOUT))
        limits, job_service_account = rows[0] if rows else (None, None)
        tenant = Tenant(
            tenant_id=str(uuid.uuid4()),
            provider=identity.provider,
            subject=identity.subject,
            email=identity.email if identity.email_verified else None,
            job_service_account=job_service_account,
            limits=limits,
        )
        self._proposed.put(identity, tenant)
        return tenant


def remove(transaction: Transaction, tenant_id: str) -> None:
    """Delete a tenant's row, but keep what an operator has set for its identity."""
    keys = KeySet(keys=[[tenant_id]])
    columns = ("OAuthProvider", "OAuthUserId", *_SET_BY_OPERATORS)
    rows = list(transaction.read("Tenants", columns, keys, timeout=READ_TIMEOUT))
    transaction.delete("Tenants", keys)
    for provider, subject, *settings in rows:
        if provider is not None and subject is not None and settings != [None, None]:
            (key,) = _kept(provider, subject).keys
            kept = ("TenantId", "UpdatedAt", *_SET_BY_OPERATORS)
            transaction.insert_or_update("Tenants", kept, [(*key, COMMIT_TIMESTAMP, *settings)])


def _kept(provider: str, subject: str) -> KeySet:
    """Where settings of an identity without a tenant are. Tenants' own ids are random, never of this kind."""
    return KeySet(keys=[[str(uuid.uuid5(uuid.NAMESPACE_URL, f"jennah:{provider}:{subject}"))]])


def _no_tenant() -> NotFound:
    return NotFound("You have no tenant: the first submission that is accepted makes it.")


def _read(database: Database, identity: Identity) -> Tenant | None:
    """The stored tenant: one RPC when there is none, two when there is."""
    key = KeySet(keys=[(identity.provider, identity.subject)])
    with database.snapshot() as snapshot:
        found = list(
            snapshot.read("Tenants", ["TenantId"], key, index="TenantsByIdentity", timeout=READ_TIMEOUT)
        )
    if not found:
        return None
    # A second single-use read, not a transaction: the identity of a tenant never changes.
    with database.snapshot() as snapshot:
        rows = list(snapshot.read("Tenants", _READ, KeySet(keys=found), timeout=READ_TIMEOUT))
    if not rows:
        return None
    tenant_id, email, created_at, job_service_account, limits, deleted_at = rows[0]
    return Tenant(
        tenant_id=tenant_id,
        provider=identity.provider,
        subject=identity.subject,
        email=email,
        created_at=created_at,
        job_service_account=job_service_account,
        limits=limits,
        deleted_at=deleted_at,
    )


class _Cache:
    """The tenants used last, each for a limited time."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._lock = Lock()
        self._entries: OrderedDict[tuple[str, str], tuple[float, Tenant]] = OrderedDict()

    def get(self, identity: Identity) -> Tenant | None:
        key = (identity.provider, identity.subject)
        with self._lock:
            expires_at, tenant = self._entries.get(key, (0.0, None))
            if tenant is None or self._clock() >= expires_at:
                return None
            self._entries.move_to_end(key)
            return tenant

    def put(self, identity: Identity, tenant: Tenant) -> None:
        key = (identity.provider, identity.subject)
        with self._lock:
            _, known = self._entries.get(key, (0.0, None))
            if known and known.deleted_at and known.tenant_id == tenant.tenant_id and not tenant.deleted_at:
                return  # a read that began before the deletion
            self._entries[key] = (self._clock() + self._seconds, tenant)
            self._entries.move_to_end(key)
            if len(self._entries) > CACHE_SIZE:
                self._entries.popitem(last=False)

    def discard(self, identity: Identity) -> None:
        with self._lock:
            self._entries.pop((identity.provider, identity.subject), None)
