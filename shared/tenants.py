"""Which tenant an identity is. One comes to be once, by its first submission, if the setting admits it."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from google.api_core import exceptions
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.batch import Batch
from google.cloud.spanner_v1.database import Database

from shared.commits import commit
from shared.config import Admission
from shared.errors import PermissionDenied, Unavailable
from shared.identity import Identity, admits

CACHE_SECONDS = 30.0
"""For so long another process may not notice that a tenant was deleted or changed by an operator."""
CACHE_SIZE = 10_000

_INSERTED = ("TenantId", "UserEmail", "OAuthProvider", "OAuthUserId", "CreatedAt", "UpdatedAt")
_READ = ("TenantId", "UserEmail", "JobServiceAccount", "Limits", "DeletedAt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What the platform keeps of a tenant.

    `email` is the verified address at the first submission, for people to read; it is not kept up to date.
    `limits` and `job_service_account` are the operator's; `deleted_at` is set once its deletion has begun.
    """

    tenant_id: str
    email: str | None = None
    job_service_account: str | None = None
    limits: Mapping[str, object] | None = None
    deleted_at: datetime | None = None


class Tenants:
    """Finds and makes tenants; remembers them for `CACHE_SECONDS`. Safe to share between threads."""

    def __init__(
        self, database: Database, admission: Admission, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._admission = admission
        self._cache = _Cache(clock)

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

    def resolve_or_create(self, identity: Identity) -> Tenant:
        """The tenant that may submit, made now if this is its first submission.

        However many first submissions race, in however many processes, one tenant comes of it: the unique
        index over the identity decides.

        Raises:
            PermissionDenied: the setting does not admit the identity, or its tenant is being deleted.
            Unavailable: the database did not answer; the tenant may have been made.
        """
        tenant = self._find(identity)
        if tenant is None:
            self._require_admitted(identity)
            tenant = self._create(identity)
        if tenant.deleted_at is not None:
            raise PermissionDenied("This tenant is being deleted and takes no new jobs.")
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

    def _create(self, identity: Identity) -> Tenant:
        email = identity.email if identity.email_verified else None
        tenant = Tenant(tenant_id=str(uuid.uuid4()), email=email)

        def write(batch: Batch) -> None:
            names = (tenant.tenant_id, email, identity.provider, identity.subject)
            batch.insert("Tenants", _INSERTED, [(*names, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)])

        try:
            commit(self._database, write)
        except exceptions.AlreadyExists:
            # Another first submission won the identity, or an earlier try of this very commit did.
            winner = _read(self._database, identity)
            if winner is None:
                raise Unavailable("The tenant was deleted meanwhile: try again.") from None
            tenant = winner
        self._cache.put(identity, tenant)
        return tenant


def _read(database: Database, identity: Identity) -> Tenant | None:
    """The stored tenant: one RPC when there is none, two when there is."""
    key = KeySet(keys=[(identity.provider, identity.subject)])
    with database.snapshot() as snapshot:
        found = list(snapshot.read("Tenants", ["TenantId"], key, index="TenantsByIdentity"))
    if not found:
        return None
    # A second single-use read, not a transaction: the identity of a tenant never changes.
    with database.snapshot() as snapshot:
        rows = list(snapshot.read("Tenants", _READ, KeySet(keys=found)))
    if not rows:
        return None
    tenant_id, email, job_service_account, limits, deleted_at = rows[0]
    return Tenant(
        tenant_id=tenant_id,
        email=email,
        job_service_account=job_service_account,
        limits=limits,
        deleted_at=deleted_at,
    )


class _Cache:
    """The tenants used last, each for a limited time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
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
            self._entries[key] = (self._clock() + CACHE_SECONDS, tenant)
            self._entries.move_to_end(key)
            if len(self._entries) > CACHE_SIZE:
                self._entries.popitem(last=False)

    def discard(self, identity: Identity) -> None:
        with self._lock:
            self._entries.pop((identity.provider, identity.subject), None)
