"""What the tenants of a world ask for besides jobs: batches, retries, deletions, and their own end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

from shared.api.spec import SubmitRequest
from shared.errors import FailedPrecondition, NotFound, Unavailable
from shared.jobs import TenantGone
from shared.model import Job, JobKey
from tests.simulation.platform import Platform
from tests.simulation.world import World

Insist = Callable[..., None]

_TRIES = 40
_PUT_OFF = 30.0  # seconds until a tenant asks again for what was refused
_SCRIPTS = (("ok",), ("exit1",), ("exit1", "ok"), ("timeout", "ok"), ("invalid",))


class Requests:
    """Lets the tenants of a world ask for these things at random moments.

    Args:
        world: where.
        platform: of whom.
        tenants: the ids of those who ask; the subject of each one's identity is its id.
        insist: does a thing until it is answered, as a client does.
        leave: lets a tenant ask for its own deletion, after so many seconds.
        rng: what they want.
    """

    def __init__(
        self,
        world: World,
        platform: Platform,
        tenants: Sequence[str],
        insist: Insist,
        *,
        leave: Callable[[str, float], None],
        rng: random.Random,
    ) -> None:
        self._world = world
        self._platform = platform
        self._insist = insist
        self._rng = rng
        for tenant_id in tenants:
            if rng.random() < 0.2:
                self._batch(tenant_id, rng.random() * 60)
            if rng.random() < 0.3:
                self._later(rng.random() * 900, tenant_id, self._retry)
            if rng.random() < 0.4:
                self._later(rng.random() * 900, tenant_id, self._delete)
            if rng.random() < 0.15:
                leave(tenant_id, rng.random() * 600)

    def accepted(self, job: Job, idempotency_key: str | None) -> None:
        """A client was told that its job is accepted. It may have been deleted before the answer came."""
        if job.key not in self._platform.judge.gone:
            self._platform.judge.submitted(job, idempotency_key)

    def _later(self, delay: float, tenant_id: str, ask: Callable[[JobKey], None]) -> None:
        """Ask for something to be done with a job of those that the tenant will have then."""

        def choose() -> None:
            keys = [key for key in self._platform.judge.rows if key.tenant_id == tenant_id]
            if keys:
                ask(keys[int(self._rng.random() * len(keys))])

        self._world.at(delay, choose)

    def _batch(self, tenant_id: str, delay: float) -> None:
        rng, judge = self._rng, self._platform.judge
        asked = [
            {"image_uri": "i", "commands": rng.choice(_SCRIPTS), "max_retries": int(rng.random() * 2)}
            for _ in range(2 + int(rng.random() * 2))
        ]
        requests = [SubmitRequest.parse(json.dumps(one).encode()) for one in asked]
        key = "batch" if rng.random() < 0.8 else None
        counted = False

        def submit() -> None:
            nonlocal counted
            self._platform.require_tenant(tenant_id)
            judge.asked(tenant_id, key)
            if not counted:
                for _ in requests[1:]:
                    judge.asked(tenant_id, None)
            counted = key is not None
            jobs, _ = self._platform.jobs.submit_batch(tenant_id, requests, key)
            for number, job in enumerate(jobs):
                self.accepted(job, key if number == 0 else None)

        self._ask("batch", tenant_id, submit, delay=delay, tries=_TRIES if key else 1)

    def _retry(self, origin: JobKey) -> None:
        judge, key = self._platform.judge, f"retry {origin.job_id}"

        def retry() -> None:
            self._platform.require_tenant(origin.tenant_id)
            judge.asked(origin.tenant_id, key)
            try:
                job, _ = self._platform.jobs.retry(*origin, key)
            except FailedPrecondition:
                raise Unavailable("not yet") from None
            self.accepted(job, key)

        self._ask("retry", origin.tenant_id, retry, delay=0.0, tries=_TRIES)

    def _delete(self, key: JobKey, tries: int = 30) -> None:
        endings = self._platform.endings

        def delete() -> None:
            endings.unwanted.add(key)
            try:
                self._platform.jobs.delete(*key)
            except FailedPrecondition:
                endings.unwanted.discard(key)
                if tries:
                    self._world.at(_PUT_OFF, lambda: self._delete(key, tries - 1))

        self._ask("delete", key.tenant_id, delete, delay=0.0, tries=_TRIES)

    def _ask(self, name: str, tenant_id: str, work: Callable[[], None], *, delay: float, tries: int) -> None:
        def ask() -> None:
            try:
                work()
            except (NotFound, TenantGone):
                self._platform.judge.tenant_gone(tenant_id)

        self._insist(name, ask, delay=delay, tries=tries)
