"""One seed, one world: what its tenants do, what goes wrong, and whether everything held."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.api.spec import SubmitRequest
from shared.callers import Identity
from shared.errors import Conflict, FailedPrecondition, JennahError, NotFound
from shared.jobs import TenantGone
from shared.model import JobKey
from tests.simulation.errors import attach
from tests.simulation.faults import Chance, Fault, Site
from tests.simulation.meddling import Meddler
from tests.simulation.platform import Platform
from tests.simulation.pubsub import SKEW
from tests.simulation.requests import Requests
from tests.simulation.world import Killed, Violation, World, alarm

HOUR = 3600.0
unexpected = attach()
# Faults stop after this, when most jobs are in the middle of their lives; or, seldom, when those that Batch
# keeps queued were given up, and what was forgotten was swept up.
_FAULTS_END, _OUTAGE_BEGINS, _OUTAGE_ENDS = 600.0, 60.0, 52 * HOUR
_FAULTS_STOP = {"liveness": _FAULTS_END, "late": 30 * HOUR, "outage": _OUTAGE_ENDS}
_SAFETY, _LATE, _OUTAGE = 0.2, 0.1, 0.0015
# From then on: the sweep for orphans would stop what is forgotten, an hour later.
_ALL_STOPPED = 1800.0
# One check that is half an hour off, and the backoff of every retry that is left, which may be hours.
_ALL_FINAL = 12 * HOUR
# A job may stay queued for a day, and be retried as often as its budget for that allows.
_LATEST_END = 14 * 24 * HOUR
_MOST_STEPS = 20_000
_SAFETY_STEPS = 250
# Of all crossings of a boundary, how many go wrong.
_SHARES = (0.02, 0.05, 0.08, 0.15)
_MOST_TRIES = 40

PROVIDER = "simulated"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed. `violation` is None where everything held; `hits` counts the faults.

    `kind`: "safety", where faults never stop; "liveness", where they do; "late", where they do after a day;
    "outage", where for more than two days no Batch job can be made.
    """

    seed: int
    kind: str
    violation: str | None
    steps: int
    jobs: int
    hits: Counter[tuple[Site, Fault]] = field(default_factory=Counter)
    trace: list[str] | None = None


def run_seed(seed: int, *, trace: bool = False) -> Outcome:
    """Live through the world of a seed."""
    unexpected.clear()
    rng = random.Random(seed)
    chance = Chance(random.Random(f"faults of {seed}"), rng.choice(_SHARES))
    lines: list[str] | None = [] if trace else None
    world = World(rng, chance, lines)
    tenants: Tenants | None = None
    kind = _kind(rng)
    violation = None
    try:
        with alarm():
            tenants = Tenants(world, random_jobs(rng))
            tenants.ask_for_more(random.Random(f"requests of {seed}"))
            if kind == "safety":
                safety(world, tenants.platform)
            else:
                if kind == "outage":
                    tenants.platform.batch.refuse(world.rng.random() * _OUTAGE_BEGINS, _OUTAGE_ENDS)
                liveness(world, tenants.platform, chance.stop, _FAULTS_STOP[kind])
            unexpected.check()
    except Violation as found:
        violation = str(found)
    except Exception as error:  # noqa: BLE001 - a seed must be named whatever goes wrong in it
        violation = f"{type(error).__name__}: {error}"
    finally:
        world.close()
    jobs = tenants.count if tenants else 0
    return Outcome(seed, kind, violation, world.steps, jobs, chance.hits, lines)


def _kind(rng: random.Random) -> str:
    if rng.random() < _SAFETY:
        return "safety"
    late = rng.random()
    return "outage" if late < _OUTAGE else "late" if late < _LATE else "liveness"


def safety(world: World, platform: Platform) -> None:
    """Faults never stop; whatever happens must be right, and nothing need ever end."""
    world.run(until=_LATEST_END, most_steps=_SAFETY_STEPS)
    platform.judge.audit()


def liveness(
    world: World, platform: Platform, stop: Callable[[], None], faults_end: float = _FAULTS_END
) -> None:
    """Faults stop, and everything must come to its end, in bounded time."""
    world.run(until=faults_end, most_steps=_MOST_STEPS)
    platform.judge.audit()
    stop()
    platform.plan_tick()
    world.run(until=faults_end + _ALL_STOPPED, most_steps=_MOST_STEPS)
    platform.judge.all_stopped()
    platform.endings.all_stopped()
    world.run(until=faults_end + _ALL_FINAL, most_steps=_MOST_STEPS)
    platform.judge.all_final()
    if not world.run(until=_LATEST_END, most_steps=_MOST_STEPS):
        raise Violation("it never comes to rest")
    platform.judge.end()
    platform.endings.end()


@dataclass(frozen=True, slots=True)
class Wish:
    """A job that a tenant will ask for. Times are virtual seconds; None: never."""

    tenant: int
    script: tuple[str, ...]
    at: float = 0.0
    max_retries: int = 1
    policy: Mapping[str, Any] | None = None
    key: str | None = None
    again_at: float | None = None
    cancels: tuple[float, ...] = ()
    provisioning: str = "standard"


_SCRIPTS = (
    ("ok",),
    ("ok",),
    ("exit1", "ok"),
    ("exit1",),
    ("exit3", "exit3", "ok"),
    ("timeout", "ok"),
    ("preempted", "ok"),
    ("lost", "exit1", "ok"),
    ("norun", "ok"),
    ("invalid",),
)

_POLICIES: tuple[Mapping[str, Any], ...] = (
    {"rules": [{"exit_codes": [3], "action": "fail"}]},
    {"rules": [{"exit_codes": [3], "action": "retry"}, {"reasons": ["user_exit"], "action": "fail"}]},
    {"rules": [{"reasons": ["timeout", "spot_preemption"], "action": "fail"}]},
    {"backoff": {"first_delay_seconds": 30, "factor": 3, "max_delay_seconds": 120}},
    {"backoff": {"first_delay_seconds": 3600, "factor": 2, "max_delay_seconds": 7200}},
    {"max_infrastructure_retries": 1},
    {"max_infrastructure_retries": 0},
)


_PROVISIONING = ("standard",) * 8 + ("spot", "spot_then_standard")


def random_jobs(rng: random.Random) -> list[Wish]:
    """What the tenants of a seed want: three jobs, seldom four."""
    wishes = []
    for number in range(3 if rng.random() < 0.8 else 4):
        at = rng.random() * 20
        key = f"key-{number // 2}" if rng.random() < 0.7 else None
        wishes.append(
            Wish(
                tenant=number % 2,
                script=rng.choice(_SCRIPTS),
                at=at,
                max_retries=int(rng.random() * 4),
                policy=rng.choice(_POLICIES) if rng.random() < 0.3 else None,
                key=key,
                again_at=at + rng.random() * 5 if key and rng.random() < 0.3 else None,
                cancels=(at + rng.random() ** 2 * 120,) if rng.random() < 0.3 else (),
                provisioning=rng.choice(_PROVISIONING),
            )
        )
    return wishes


class Tenants:
    """Clients of the platform, who ask for jobs and try again until they are answered.

    Args:
        world: where.
        wishes: what they want.
    """

    def __init__(self, world: World, wishes: list[Wish]) -> None:
        self.platform = Platform(world)
        self.count = 0
        self._requests: Requests | None = None
        self._world = world
        self._ids = [str(uuid.UUID(int=world.rng.getrandbits(128), version=4)) for _ in range(2)]
        meddler = Meddler(world, self.platform, cancel=lambda key: self._cancel(key, 0.0), leave=self._leave)
        world.race, self.platform.meddle = meddler.race, meddler.meddle
        with self.platform.store.batch() as batch:
            columns = ("TenantId", "OAuthProvider", "OAuthUserId", "CreatedAt")
            batch.insert("Tenants", columns, [(name, PROVIDER, name, COMMIT_TIMESTAMP) for name in self._ids])
        for wish in wishes:
            self._submit(wish, wish.at, cancels=wish.cancels)
            if wish.again_at is not None:
                self._submit(wish, wish.again_at)

    def ask_for_more(self, rng: random.Random) -> None:
        """Let the tenants ask for other things as well."""
        self._requests = Requests(
            self._world, self.platform, self._ids, self._insist, rng=rng, leave=self._leave
        )

    def _submit(self, wish: Wish, at: float, *, cancels: tuple[float, ...] = ()) -> None:
        asked = {
            "image_uri": "i",
            "commands": wish.script,
            "max_retries": wish.max_retries,
            "provisioning": wish.provisioning,
        }
        if wish.policy is not None:
            asked["retry"] = wish.policy
        request = SubmitRequest.parse(json.dumps(asked).encode())
        tenant = self._ids[wish.tenant]
        platform, world = self.platform, self._world

        def submit() -> None:
            platform.judge.asked(tenant, wish.key)
            try:
                platform.require_tenant(tenant)
                job, _ = platform.jobs.submit(tenant, request, wish.key)
            except TenantGone:
                platform.judge.tenant_gone(tenant)
                return
            if self._requests:
                self._requests.accepted(job, wish.key)
            else:
                platform.judge.submitted(job, wish.key)
            self.count += 1
            for cancel_at in cancels:
                self._cancel(job.key, max(0.0, cancel_at - world.time))

        self._insist("submission", submit, delay=at, tries=_MOST_TRIES if wish.key else 1)

    def _cancel(self, key: JobKey, delay: float) -> None:
        judge = self.platform.judge

        def cancel() -> None:
            judge.cancel_asked(key)
            try:
                self.platform.jobs.cancel(*key)
            except FailedPrecondition:
                judge.cancel_refused(key)
            except NotFound:
                judge.tenant_gone(key.tenant_id)
            else:
                judge.cancelled(key)

        self._insist("cancel", cancel, delay=delay, tries=_MOST_TRIES)

    def _leave(self, tenant_id: str, delay: float) -> None:
        """Let a tenant ask for its own deletion."""

        def leave() -> None:
            try:
                self.platform.tenants.delete(Identity(PROVIDER, tenant_id))
            except NotFound:
                self.platform.judge.tenant_gone(tenant_id)

        self._insist("leave", leave, delay=delay, tries=_MOST_TRIES)

    def _insist(self, name: str, work: Callable[[], None], *, delay: float, tries: int) -> None:
        """Do it until it is answered, as a client does."""
        world, patiently = self._world, self.platform.wire.patiently

        def ask() -> None:
            if world.plan.draw(Site.REQUEST) is Fault.SKEWED:
                assert world.process is not None
                world.process.skew = (world.rng.random() - 0.5) * 2 * SKEW
                world.note("its clock is wrong")
            with patiently():
                work()

        def ended(error: BaseException | None) -> None:
            if error is None:
                return
            if isinstance(error, Conflict) or not isinstance(error, JennahError | GoogleAPIError | Killed):
                raise Violation(f"{name}: {type(error).__name__}: {error}") from error
            if tries > 1:
                self._insist(name, work, delay=1 + world.rng.random() * 20, tries=tries - 1)

        world.spawn(name, ask, ended=ended, delay=delay)
