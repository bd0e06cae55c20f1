"""What the local Batch service accepts, and what it refuses by name."""

from __future__ import annotations

import re
import uuid
from typing import Any

import grpc
import pytest
from google.cloud import batch_v1
from hypothesis import given
from hypothesis import strategies as st

from jennah.local.batch_specs import Refused, admit

CONTAINER = {"container": {"image_uri": "image", "commands": ["true"]}}


def request_of(
    job: dict[str, Any] | None = None,
    *,
    group: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    **fields: str,
) -> batch_v1.CreateJobRequest:
    task_group = {"task_spec": {"runnables": [CONTAINER], **(spec or {})}, **(group or {})}
    return batch_v1.CreateJobRequest(
        {"parent": "projects/p/locations/l", "job": {"task_groups": [task_group], **(job or {})}, **fields}
    )


def refusal(request: batch_v1.CreateJobRequest) -> str:
    with pytest.raises(Refused) as caught:
        admit(request)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("parent", request_of(parent="projects/p")),
        ("parent", request_of(parent="projects/p/locations/l/jobs/j")),
        ("job_id", request_of(job_id="A")),
        ("request_id", request_of(request_id="not-a-uuid")),
        ("request_id", request_of(request_id=str(uuid.UUID(int=0)))),
        ("task_groups", request_of({"task_groups": []})),
        ("task_groups", request_of({"task_groups": [{}, {}]})),
        ("priority", request_of({"priority": 100})),
        ("labels", request_of({"labels": {"Upper": "x"}})),
        ("labels", request_of({"labels": {"1st": "x"}})),
        ("labels", request_of({"labels": {"goog-x": "x"}})),
        ("labels", request_of({"labels": {"key": "x" * 64}})),
        ("labels", request_of({"labels": {"key": "a b"}})),
        ("labels", request_of({"labels": {f"k{n}": "" for n in range(65)}})),
        ("pubsub_topic", request_of({"notifications": [{"pubsub_topic": "events"}]})),
        ("message", request_of({"notifications": [{"message": {"new_job_state": 3, "new_task_state": 3}}]})),
        ("message", request_of({"notifications": [{"message": {"type_": 1, "new_task_state": 3}}]})),
        (
            "allowed_locations",
            request_of({"allocation_policy": {"location": {"allowed_locations": ["regions/m"]}}}),
        ),
        ("task_count", request_of(group={"task_count": -1})),
        ("task_count", request_of(group={"task_count": 100_001})),
        ("parallelism", request_of(group={"parallelism": -1})),
        ("parallelism", request_of(group={"parallelism": 5_001})),
        ("parallelism", request_of(group={"task_count": 2, "parallelism": 2, "scheduling_policy": 2})),
        ("runnables", request_of(spec={"runnables": []})),
        ("runnables[0]", request_of(spec={"runnables": [{}]})),
        ("runnables[1]", request_of(spec={"runnables": [CONTAINER, {"barrier": {}}]})),
        ("background", request_of(spec={"runnables": [{**CONTAINER, "background": True}]})),
        ("image_uri", request_of(spec={"runnables": [{"container": {"commands": ["true"]}}]})),
        ("NUL", request_of(spec={"runnables": [{"container": {"image_uri": "i", "commands": ["\0"]}}]})),
        ("script.text", request_of(spec={"runnables": [{"script": {"path": "/x"}}]})),
        ("/bin/sh", request_of(spec={"runnables": [{"script": {"text": "#!/bin/bash\n"}}]})),
        ("max_retry_count", request_of(spec={"max_retry_count": 11})),
        ("max_retry_count", request_of(spec={"max_retry_count": -1})),
        ("max_run_duration", request_of(spec={"max_run_duration": {"seconds": 0}})),
        ("max_run_duration", request_of(spec={"max_run_duration": {"seconds": -1}})),
        ("environment", request_of(spec={"environment": {"variables": {"A=B": "x"}}})),
        ("environment", request_of(spec={"environment": {"variables": {"A": "\0"}}})),
        ("mount_path", request_of(spec={"volumes": [{"gcs": {"remote_path": "b"}, "mount_path": "data"}]})),
        ("secret_variables.A", request_of(spec={"environment": {"secret_variables": {"A": "secret"}}})),
        ("1 MB", request_of(spec={"environment": {"variables": {"A": "x" * 1_000_000}}})),
    ],
)
def test_refused_with_the_name_of_the_field(field: str, request_: batch_v1.CreateJobRequest) -> None:
    assert field in refusal(request_)


@given(st.text(st.sampled_from("aZ0-_é\n"), max_size=66))
def test_job_ids(job_id: str) -> None:
    request = request_of(job_id=job_id)
    if not job_id or re.match(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z", job_id):
        admit(request)
    else:
        assert "job_id" in refusal(request)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True).filter(
            lambda key: not key.startswith("goog")
        ),
        st.from_regex(r"[a-z0-9_-]{0,63}", fullmatch=True),
        max_size=64,
    )
)
def test_labels_that_google_cloud_accepts(labels: dict[str, str]) -> None:
    assert dict(admit(request_of({"labels": labels})).labels) == labels


@given(st.integers(0, 100_000), st.integers(0, 5_000))
def test_defaults_are_filled_in(task_count: int, parallelism: int) -> None:
    group = admit(request_of(group={"task_count": task_count, "parallelism": parallelism})).task_groups[0]
    assert group.task_count == (task_count or 1)
    assert group.parallelism == (parallelism or min(group.task_count, 5_000))


def test_what_only_batch_may_say_is_dropped() -> None:
    job = admit(request_of({"name": "x", "uid": "x", "status": {"state": 4}}))
    assert (job.name, job.uid, job.status.state) == ("", "", 0)


def test_zones_and_the_region_itself_are_in_the_region() -> None:
    allowed = {"allowed_locations": ["regions/l", "zones/l-a"]}
    admit(request_of({"allocation_policy": {"location": allowed}}))
