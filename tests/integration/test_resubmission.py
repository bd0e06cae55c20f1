"""Batches and retries, where the network makes it unknown whether they were stored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_server import BatchServer
from shared.api.spec import SubmitRequest
from shared.errors import FailedPrecondition
from shared.images import ImagePolicy
from shared.model import Job, JobKey
from tests.integration.conftest import Platform, make_platform
from tests.integration.wire import Answers, Forward, Wire, applied_and_answer_lost, never_arrived

REQUESTS = [SubmitRequest(image_uri="busybox", commands=[str(number)]) for number in range(3)]


@pytest.fixture
def platform(wired: Database, wire: Wire, batch_server: BatchServer) -> Platform:
    """A platform whose every call of Spanner is counted."""
    made = make_platform(wired, batch_server)
    wire.taken()
    return made


def listed(platform: Platform) -> list[Job]:
    return platform.jobs.page(platform.tenant_id, page_size=100, page_token=None)[0]


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("fault", [applied_and_answer_lost, never_arrived])
@pytest.mark.parametrize("times", [1, 3])
def test_a_batch_is_stored_once(
    platform: Platform, wire: Wire, fault: Callable[[Forward], Answers], times: int, key: str | None
) -> None:
    left = times

    def on_commit(forward: Forward) -> Answers:
        nonlocal left
        left -= 1
        return fault(forward) if left >= 0 else forward()

    wire.on_commit = on_commit
    jobs, new = platform.jobs.submit_batch(platform.tenant_id, REQUESTS, key)
    assert new
    assert [job.commands for job in jobs] == [("0",), ("1",), ("2",)]
    assert {job.key for job in listed(platform)} == {job.key for job in jobs}
    assert {message.key for message in platform.published} == {job.key for job in jobs}
    for job in jobs:
        assert platform.job(job.key) == job
        assert platform.path(job.key) == ["PENDING"]


def test_a_batch_costs_one_commit(platform: Platform, wire: Wire) -> None:
    platform.jobs.submit_batch(platform.tenant_id, REQUESTS, "k")
    assert wire.taken() == {"Commit": 1}


def ended(platform: Platform, **fields: object) -> JobKey:
    key = platform.submit("true", **fields)
    platform.jobs.cancel(*key)
    return key


def test_a_retry_costs_a_read_and_a_commit_and_is_published(platform: Platform, wire: Wire) -> None:
    origin = ended(platform, name="x")
    platform.published.clear()
    wire.taken()
    job, new = platform.jobs.retry(*origin, "k")
    assert (new, wire.taken()) == (True, {"StreamingRead": 1, "Commit": 1})
    assert [message.key for message in platform.published] == [job.key]
    assert (job.spec.name, job.spec.origin_job_id) == ("x", origin.job_id)
    again, new = platform.jobs.retry(*origin, "k")
    assert (again, new) == (platform.job(job.key), False)


def test_a_retry_runs_as_the_account_of_today(platform: Platform) -> None:
    tenant_id = platform.tenant_id
    request = SubmitRequest(image_uri="i", secret_env={"A": "projects/p/secrets/s/versions/1"})
    origin, _ = platform.jobs.submit(tenant_id, request, None, service_account="old@p.example.com")
    platform.jobs.cancel(*origin.key)
    job, _ = platform.jobs.retry(*origin.key, None, service_account="new@p.example.com")
    stored = platform.job(job.key)
    assert stored.spec.service_account == "new@p.example.com"
    assert stored.spec.secret_env == request.secret_env
    with pytest.raises(FailedPrecondition, match="account"):
        platform.jobs.retry(*origin.key, None)


def test_a_retry_needs_an_image_that_is_still_allowed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = ended(platform)
    monkeypatch.setattr(platform.jobs, "_images", ImagePolicy(registries=("us-docker.pkg.dev",)))
    with pytest.raises(FailedPrecondition, match=r"us-docker\.pkg\.dev"):
        platform.jobs.retry(*origin, None)
