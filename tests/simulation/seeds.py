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
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet

from shared.api.spec import SubmitRequest
from shared.errors import Conflict, FailedPrecondition, JennahError, NotFound
from shared.jobs import TenantGone
from shared.messages import JobMessage
from shared.model import JobKey
from tests.simulation.errors import attach
from tests.simulation.faults import Chance, Fault, Site
from tests.simulation.platform import Platform, notification
from tests.simulation.requests import PROVIDER, Requests
from tests.simulation.world import Killed, Violation, World, alarm

HOUR = 3600.0
unexpected = attach()
# Faults stop after this, when most jobs are in the middle of their lives; or, seldom, when those that Batch
# keeps queued were given up, and what was forgotten was swept up.
_FAULTS_END, _LATE_FAULTS_END = 600.0, 30 * HOUR
_SAFETY, _LATE = 0.2, 0.1
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
_LONGEST_PAUSE = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed. `violation` is None where everything held; `hits` counts the faults.

    `kind`: "safety", where faults never stop; "liveness", where they do; "late", where they do after a day.
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
    kind = "safety" if rng.random() < _SAFETY else "late" if rng.random() < _LATE else "liveness"
    violation = None
    try:
        with alarm():
            tenants = Tenants(world, random_jobs(rng))
            tenants.ask_for_more(random.Random(f"requests of {seed}"))
            if kind == "safety":
                safety(world, tenants.platform)
            else:
                until = _LATE_FAULTS_END if kind == "late" else _FAULTS_END
                liveness(world, tenants.platform, chance.stop, until)
            unexpected.check()
    except Violation as found:
        violation = str(found)
    except Exception as error:  # noqa: BLE001 - a seed must be named whatever goes wrong in it
        violation = f"{type(error).__name__}: {error}"
    finally:
        world.close()
    jobs = tenants.count if tenants else 0
    return Outcome(seed, kind, violation, world.steps, jobs, chance.hits, lines)


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
    cancel_at: float | None = None
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
                cancel_at=at + rng.random() ** 2 * 120 if rng.random() < 0.3 else None,
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
        self.platform.meddle = self._meddle
        self.count = 0
        self._requests: Requests | None = None
        self._world = world
        self._ids = [str(uuid.UUID(int=world.rng.getrandbits(128), version=4)) for _ in range(2)]
        world.race = self._race
        with self.platform.store.batch() as batch:
            columns = ("TenantId", "OAuthProvider", "OAuthUserId", "CreatedAt")
            batch.insert("Tenants", columns, [(name, PROVIDER, name, COMMIT_TIMESTAMP) for name in self._ids])
        for wish in wishes:
            self._submit(wish, wish.at, cancel_at=wish.cancel_at)
            if wish.again_at is not None:
                self._submit(wish, wish.again_at)

    def ask_for_more(self, rng: random.Random) -> None:
        """Let the tenants ask for other things as well."""
        self._requests = Requests(self._world, self.platform, self._ids, self._insist, rng)

    def _submit(self, wish: Wish, at: float, *, cancel_at: float | None = None) -> None:
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
                if self._requests:
                    self._requests.require_tenant(tenant)
                job, _ = platform.jobs.submit(tenant, request, wish.key)
            except TenantGone:
                platform.judge.tenant_gone(tenant)
                return
            if self._requests:
                self._requests.accepted(job, wish.key)
            else:
                platform.judge.submitted(job, wish.key)
            self.count += 1
            if cancel_at is not None:
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

    def _insist(self, name: str, work: Callable[[], None], *, delay: float, tries: int) -> None:
        """Do it until it is answered, as a client does."""

        def ended(error: BaseException | None) -> None:
            if error is None:
                return
            if isinstance(error, Conflict) or not isinstance(error, JennahError | GoogleAPIError | Killed):
                raise Violation(f"{name}: {type(error).__name__}: {error}") from error
            if tries > 1:
                self._insist(name, work, delay=1 + self._world.rng.random() * 20, tries=tries - 1)

        self._world.spawn(name, work, ended=ended, delay=delay)

    # What others do, at the worst moment.

    def _some_job(self, *, live: bool = False) -> JobKey | None:
        rows = self.platform.judge.rows
        keys = [key for key, row in rows.items() if not live or row["CompletedAt"] is None]
        return keys[int(self._world.rng.random() * len(keys))] if keys else None

    def _race(self, fault: Fault) -> bool:
        key = self._some_job(live=fault is Fault.CANCEL_RACES)
        if key is None:
            return False
        if fault is Fault.CANCEL_RACES:
            self._cancel(key, 0.0)
        else:
            self._delete(key.tenant_id)
        return True

    def _delete(self, tenant: str) -> None:
        """The tenant's rows go all at once, as when an operator deletes them."""
        self.platform.judge.deleted.add(tenant)
        process, self._world.process = self._world.process, None
        with self.platform.store.batch() as batch:
            batch.delete("Tenants", KeySet(keys=[[tenant]]))
        self._world.process = process

    def _meddle(self, fault: Fault) -> bool:
        platform, rng = self.platform, self._world.rng
        match fault:
            case Fault.POISON:
                topic = platform.jobs_topic if rng.random() < 0.5 else platform.events_topic
                topic.publish(b"\xff not JSON", {"JobName": "jobs/of-somebody-else"}, genuine=False)
            case Fault.FORGED:
                return self._forge()
            case Fault.PAUSED:
                platform.pause(paused=True)
                self._world.at(rng.random() * _LONGEST_PAUSE, lambda: platform.pause(paused=False))
            case _:
                return False
        return True

    def _forge(self) -> bool:
        """Somebody who may publish to Batch's topic lies; a message of ours is about another attempt."""
        platform, rng = self.platform, self._world.rng
        key = self._some_job()
        if key is None:
            return False
        row = platform.judge.rows[key]
        attempt = max(1, row["Attempt"] + int(rng.random() * 3) - 1)
        state = rng.choice(("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "NEW_STATE"))
        truths = platform.judge.truths(key, row["Attempt"])
        name = platform.judge.name(key, attempt)
        uid = "forged"
        if truths and rng.random() < 0.5:
            # The container itself knows its uid while it runs.
            name, uid = truths[-1].name, truths[-1].uid
            if truths[-1].started is None:
                return False
        if rng.random() < 0.3:
            platform.jobs_topic.publish(JobMessage(key, attempt).encode(), {}, genuine=False)
        else:
            platform.events_topic.publish(b"", notification(name, uid, state), genuine=False)
        return True
