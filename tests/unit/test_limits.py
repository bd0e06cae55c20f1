"""Limits of tenants in one process: what is let through, for how long, and what a refusal says."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Limits, Settings
from shared.errors import FailedPrecondition, PermissionDenied, ResourceExhausted, Unavailable
from shared.limits import COUNT_SECONDS, LEAST_CPU_MILLI, REMEMBERED, UNLIMITED, Limiter, Usage, cpu_milli
from shared.resources import PROFILES, Resources
from shared.spec import JobSpec

SMALL = JobSpec(profile="small")  # 1 vCPU
TENANT = "tenant"

# By Compute Engine's list of accelerator-optimized machine types; what is not there counts as the most.
MACHINES_WITH_GPUS = {
    "a2-highgpu-1g": 12,
    "a2-megagpu-16g": 96,
    "a2-ultragpu-8g": 96,
    "a3-highgpu-1g": 26,
    "a3-highgpu-8g": 208,
    "a3-megagpu-8g": 208,
    "a3-edgegpu-8g": 208,
    "a3-ultragpu-8g": 224,
    "a4-highgpu-8g": 224,
    "a4x-highgpu-4g": 140,
    "a9-newgpu-8g": 416,
    "a2-ultragpu-1g-nolssd": 12,
    "ct5p-hightpu-4t": 208,
    "g2-standard-96": 96,
    "g4-standard-384": 384,
}


@dataclass
class World:
    """The database and the time, as one process sees them."""

    limits: Limits
    open: Usage = field(default_factory=Usage)
    now: float = 1000.0
    counts: int = 0
    limiter: Limiter = field(init=False)
    during_count: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.limits, self.count, clock=lambda: self.now)

    def count(self, tenant_id: str, limits: Limits) -> Usage:
        assert tenant_id == TENANT
        self.counts += 1
        found = self.open
        self.during_count()
        return found

    def submit(self, *specs: JobSpec, known: bool = False, new: bool = True) -> None:
        jobs = specs or (SMALL,)
        with self.limiter.of(TENANT, None).take(jobs, known=lambda: known) as taken:
            if new:
                self.open += Usage(len(jobs), sum(map(cpu_milli, jobs)))
            else:
                taken.release()

    def refusal(self, *specs: JobSpec) -> ResourceExhausted:
        with pytest.raises(ResourceExhausted) as caught:
            self.submit(*specs)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 1
        return caught.value


def test_without_limits_nothing_is_counted_or_remembered() -> None:
    world = World(Limits())
    for _ in range(1000):
        world.submit()
    assert world.counts == 0
    assert world.limiter.of(TENANT, {}) is UNLIMITED
    assert world.limiter.of(TENANT, {"open_jobs": 1}) is not UNLIMITED


# ---- submissions per minute --------------------------------------------------------------------------------


def test_a_minutes_submissions_may_come_at_once_and_then_one_by_one() -> None:
    world = World(Limits(submissions_per_minute=6))
    for _ in range(6):
        world.submit()
    error = world.refusal()
    assert (error.details, error.retry_after) == (({"limit": "submissions_per_minute"},), 10)
    assert world.counts == 0  # the database is not asked
    world.now += 9.9
    assert world.refusal().retry_after == 1
    world.now += 0.1
    world.submit()
    world.refusal()
    world.now += 3600
    for _ in range(6):
        world.submit()
    world.refusal()


def test_a_replay_spends_a_token_as_well() -> None:
    world = World(Limits(submissions_per_minute=1))
    world.submit(new=False)
    world.refusal()


def test_a_batch_counts_its_jobs_and_one_larger_than_the_limit_waits_for_all_of_it() -> None:
    world = World(Limits(submissions_per_minute=10))
    world.submit(*[SMALL] * 4)
    assert world.refusal(*[SMALL] * 7).retry_after == 6
    world.submit(*[SMALL] * 6)
    world.now += 30
    assert world.refusal(*[SMALL] * 100).retry_after == 30
    world.now += 30
    world.submit(*[SMALL] * 100)
    assert world.refusal().retry_after == 9 * 60 + 6  # what it had too much is owed


@pytest.mark.parametrize("limit", ["open_jobs", "submissions_per_minute", "vcpu_in_flight"])
def test_a_limit_of_none_is_none_ever(limit: str) -> None:
    world = World(Limits(**{limit: 0}))
    world.now += 1e6
    with pytest.raises(PermissionDenied, match=f"may submit nothing: its limit {limit} is 0,") as caught:
        world.submit()
    assert (caught.value.retry_after, caught.value.details) == (None, ({"limit": limit},))
    assert world.counts == 0


@pytest.mark.parametrize(
    ("limits", "jobs", "limit"),
    [
        (Limits(open_jobs=50), [SMALL] * 51, "open_jobs"),
        (Limits(vcpu_in_flight=16), [JobSpec(machine_type="m1-ultramem-40")], "vcpu_in_flight"),
        (Limits(open_jobs=50, vcpu_in_flight=1), [SMALL] * 2, "vcpu_in_flight"),
    ],
)
def test_nobody_waits_for_what_never_fits(limits: Limits, jobs: list[JobSpec], limit: str) -> None:
    world = World(limits)
    with pytest.raises(FailedPrecondition, match="waiting does not help") as caught:
        world.submit(*jobs)
    assert (caught.value.retry_after, caught.value.details) == (None, ({"limit": limit},))
    assert world.counts == 0
    world.submit(*jobs, known=True, new=False)  # what was accepted before the limit is answered as ever
    world.submit(*jobs[1:])


@given(
    limit=st.integers(1, 120),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 100)), min_size=1, max_size=60),
)
def test_no_stretch_of_time_lets_more_through_than_its_minutes_and_one_burst(
    limit: int, steps: list[tuple[float, int]]
) -> None:
    world = World(Limits(submissions_per_minute=limit))
    accepted: list[tuple[float, int]] = []
    for wait, jobs in steps:
        world.now += wait
        try:
            world.submit(*[SMALL] * jobs)
        except ResourceExhausted as error:
            world.now += error.retry_after or 0  # waiting so long is enough
            world.submit(*[SMALL] * jobs)
        accepted.append((world.now, jobs))
    for first, (began, _) in enumerate(accepted):
        total = 0
        for at, jobs in accepted[first:]:
            total += jobs
            assert total <= max(limit, 100) + limit * (at - began) / 60 + 1e-6


# ---- open jobs and vCPUs -----------------------------------------------------------------------------------


def test_open_jobs_are_kept_to_the_job_with_one_count() -> None:
    world = World(Limits(open_jobs=5), open=Usage(2))
    for _ in range(3):
        world.submit()
    error = world.refusal()
    assert error.details == ({"limit": "open_jobs"},)
    assert error.retry_after == COUNT_SECONDS
    assert "5" in error.message
    assert world.counts == 1
    assert world.open.jobs == 5


def test_a_count_is_used_for_ten_seconds() -> None:
    world = World(Limits(open_jobs=5), open=Usage(5))
    world.refusal()
    world.open = Usage(4)
    world.now += COUNT_SECONDS - 1
    assert world.refusal().retry_after == 1
    assert world.counts == 1
    world.now += 1
    world.submit()
    world.refusal()
    assert world.counts == 2


def test_what_is_being_submitted_takes_room() -> None:
    world = World(Limits(open_jobs=1))
    with world.limiter.of(TENANT, None).take([SMALL], known=lambda: False):
        world.refusal()


def test_what_brought_no_new_job_takes_no_room() -> None:
    world = World(Limits(open_jobs=1))
    for _ in range(3):
        world.submit(new=False)
    world.submit()
    world.refusal()


@pytest.mark.parametrize(
    ("limits", "usage", "counts"),
    [
        (Limits(), (None, None), 0),
        (Limits(submissions_per_minute=9), (None, None), 0),
        (Limits(open_jobs=9), (4, None), 1),
        (Limits(vcpu_in_flight=9), (None, 3.5), 1),
        (Limits(open_jobs=9, vcpu_in_flight=9), (4, 3.5), 1),
    ],
    ids=str,
)
def test_what_is_used_is_told_as_it_is_counted(
    limits: Limits, usage: tuple[int | None, float | None], counts: int
) -> None:
    world = World(limits, open=Usage(3, 2500))
    world.submit()
    for _ in range(9):
        assert world.limiter.of(TENANT, None).usage() == usage
    assert world.counts == counts


def test_a_replay_is_let_through_where_there_is_no_room() -> None:
    world = World(Limits(open_jobs=1), open=Usage(1))
    world.submit(known=True, new=False)
    world.refusal()


def test_vcpus_are_those_of_all_tasks_that_run_at_once() -> None:
    world = World(Limits(vcpu_in_flight=8), open=Usage(1, 2000))
    world.submit(JobSpec(profile="small", task_count=100, parallelism=4))
    assert world.refusal(JobSpec(profile="large")).details == ({"limit": "vcpu_in_flight"},)
    world.submit(JobSpec(profile="medium"))
    assert (
        "8.25"
        in world.refusal(JobSpec(profile=None, resources=Resources(cpu_milli=250, memory_mib=1))).message
    )


def test_a_batch_is_let_through_whole_or_not_at_all() -> None:
    world = World(Limits(open_jobs=10))
    world.submit(*[SMALL] * 6)
    world.refusal(*[SMALL] * 5)
    world.submit(*[SMALL] * 4)
    assert world.open.jobs == 10


def test_the_first_limit_that_is_reached_is_named() -> None:
    world = World(Limits(open_jobs=10, vcpu_in_flight=1, submissions_per_minute=2))
    world.submit()
    assert world.refusal().details == ({"limit": "vcpu_in_flight"},)
    assert world.refusal().details == ({"limit": "submissions_per_minute"},)  # a refusal spent a token


def test_what_is_submitted_while_it_is_counted_is_added() -> None:
    """The count may or may not hold it: rather one job too few for ten seconds than one too many."""
    world = World(Limits(open_jobs=3))
    world.during_count = lambda: world.submit() if world.counts == 2 else None
    world.submit()
    world.now += COUNT_SECONDS
    world.submit()  # counts, and meanwhile another comes
    assert world.counts == 2
    assert world.open.jobs == 3
    world.refusal()


def test_a_submission_that_fails_without_an_answer_counts_until_the_next_count() -> None:
    world = World(Limits(open_jobs=1))
    with pytest.raises(Unavailable), world.limiter.of(TENANT, None).take([SMALL], known=lambda: False):
        raise Unavailable("nobody knows")
    world.refusal()
    world.now += COUNT_SECONDS
    world.submit()


def test_threads_together_stay_below_the_limit() -> None:
    world = World(Limits(open_jobs=50))
    together = threading.Barrier(16)
    lock = threading.Lock()
    accepted = 0

    def submit_many(_: int) -> None:
        nonlocal accepted
        together.wait(10)
        for _ in range(20):
            try:
                with world.limiter.of(TENANT, None).take([SMALL], known=lambda: False), lock:
                    accepted += 1
            except ResourceExhausted:
                pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(submit_many, range(16)))
    assert accepted == 50
    assert world.counts == 1


def test_while_one_thread_counts_the_others_go_on() -> None:
    world = World(Limits(open_jobs=100))
    world.submit()
    world.now += COUNT_SECONDS
    counting, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        counting.set()
        assert go_on.wait(20)

    world.during_count = hold
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(world.submit)
        assert counting.wait(20)
        world.submit()
        assert not held.done()
        go_on.set()
        held.result(20)
    assert (world.counts, world.open.jobs) == (2, 3)


def test_a_count_that_fails_is_tried_again_by_the_next() -> None:
    world = World(Limits(open_jobs=1))

    def fail() -> None:
        raise Unavailable("the database is away")

    world.during_count = fail
    with pytest.raises(Unavailable):
        world.submit()
    world.during_count = lambda: None
    world.submit()
    world.refusal()


def test_n_processes_open_at_most_n_times_the_limit_and_notice_within_ten_seconds() -> None:
    """The bound of docs/limits.md, reached: every process counts before any other accepts."""
    processes, limit = 4, 10
    world = World(Limits(open_jobs=limit))
    limiters = [Limiter(world.limits, world.count, clock=lambda: world.now) for _ in range(processes)]

    def accepted(limiter: Limiter, tries: int) -> int:
        count = 0
        for _ in range(tries):
            try:
                with limiter.of(TENANT, None).take([SMALL], known=lambda: False):
                    count += 1
            except ResourceExhausted:
                pass
        return count

    total = sum(accepted(limiter, 1) for limiter in limiters)  # each has counted an empty database
    total += sum(accepted(limiter, 5 * limit) for limiter in limiters)
    assert total == processes * limit
    world.open = Usage(total, 0)
    world.now += COUNT_SECONDS
    assert sum(accepted(limiter, 5) for limiter in limiters) == 0


# ---- whose limits ------------------------------------------------------------------------------------------

DEFAULTS = Limits(open_jobs=10, submissions_per_minute=60)


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        (None, DEFAULTS),
        ({}, DEFAULTS),
        ({"open_jobs": 5}, Limits(open_jobs=5, submissions_per_minute=60)),
        ({"open_jobs": None}, Limits(submissions_per_minute=60)),
        ({"open_jobs": 0, "vcpu_in_flight": 8}, Limits(0, 60, 8)),
        ({"open_jobs": "5"}, DEFAULTS),
        ({"open_jobs": True, "submissions_per_minute": 1}, Limits(10, 1)),
        ({"open_jobs": -1, "unheard_of": 7}, DEFAULTS),
        ({"open_jobs": 5.0}, DEFAULTS),
    ],
    ids=str,
)
def test_a_tenants_own_limits_come_before_the_defaults(own: dict[str, object] | None, limits: Limits) -> None:
    assert Limiter(DEFAULTS, lambda *_: Usage()).limits(own) == limits


def test_what_cant_be_read_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    limiter = Limiter(DEFAULTS, lambda *_: Usage())
    for _ in range(3):
        limiter.limits({"open_jobs": "as many as you like"})
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_the_settings_that_the_page_shows_are_accepted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    (shown,) = re.findall(r"^JENNAH_LIMITS=(.+)$", page, re.MULTILINE)
    settings = Settings.from_env(
        {"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "i", "JENNAH_LIMITS": shown}
    )
    assert None not in astuple(settings.limits)
    (own,) = re.findall(r"Limits = JSON '(.+?)'", page)
    assert Limiter(settings.limits, lambda *_: Usage()).limits(json.loads(own)) == Limits(2000, 600, None)
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {limit.name for limit in fields(Limits)}


def test_tenants_share_nothing() -> None:
    limiter = Limiter(Limits(open_jobs=1, submissions_per_minute=1), lambda *_: Usage())
    for tenant in ("one", "two"):
        with limiter.of(tenant, None).take([SMALL], known=lambda: False):
            pass


def test_so_many_tenants_are_remembered() -> None:
    limiter = Limiter(Limits(submissions_per_minute=1), lambda *_: Usage())
    for at in range(REMEMBERED + 1):
        with limiter.of(str(at), None).take([SMALL], known=lambda: False):
            pass
    with pytest.raises(ResourceExhausted), limiter.of("1", None).take([SMALL], known=lambda: False):
        pass
    with limiter.of("0", None).take([SMALL], known=lambda: False):
        pass  # forgotten


@pytest.mark.parametrize(
    ("spec", "cpus"),
    [
        (JobSpec(), 2),
        *((JobSpec(profile=name), size.cpu_milli / 1000) for name, size in PROFILES.items()),
        (JobSpec(profile="of a later release"), 2),
        (JobSpec(profile=None, resources=Resources(cpu_milli=500, memory_mib=1)), 0.5),
        (JobSpec(profile=None, resources=Resources(cpu_milli=500, memory_mib=1), task_count=10), 5),
        (JobSpec(profile=None, machine_type="e2-standard-4"), 4),
        (JobSpec(profile=None, machine_type="e2-standard-4", task_count=3, parallelism=2), 8),
        (JobSpec(profile=None, machine_type="n2-custom-6-8192"), 6),
        (JobSpec(profile=None, machine_type="c3-standard-88-lssd"), 88),
        (JobSpec(profile=None, machine_type="m1-ultramem-40"), 40),
        *((JobSpec(profile=None, machine_type=name), cpus) for name, cpus in MACHINES_WITH_GPUS.items()),
        (JobSpec(profile=None, machine_type="e2-small"), 2),
    ],
    ids=lambda value: getattr(value, "machine_type", None) or str(value)[:40],
)
def test_what_a_job_asks_for(spec: JobSpec, cpus: float) -> None:
    assert cpu_milli(spec) == cpus * 1000


def test_a_machine_without_cores_counts_as_the_least() -> None:
    assert cpu_milli(JobSpec(machine_type="e2-standard-0", task_count=3)) == 3 * LEAST_CPU_MILLI
    world = World(Limits(vcpu_in_flight=1))
    world.submit(*[JobSpec(machine_type="e2-standard-0")] * 4)
    assert world.refusal(JobSpec(machine_type="e2-standard-0"))
