"""What the local Batch service accepts: names, identifiers, job specifications.

The limits are those that Batch documents for v1 (its REST reference and quota page). Three kinds of refusal
have no model in Batch: a barrier, a background runnable, and whatever else the process runner would have to
ignore although it changes what a task does. Machines, disks, networks and accounts are kept and shown, and
have no effect here; nor have volumes and secrets, of which the task's log says so.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import NoReturn

import grpc
from google.cloud import batch_v1

_PARENT = re.compile(r"projects/[^/]+/locations/[^/]+")
_JOB_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")
_MAX_BYTES = 1_000_000
_MAX_TASKS = 100_000
_MAX_PARALLELISM = 5_000


class Refused(Exception):
    """A call that is answered with an error status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> NoReturn:
    """Refuse with INVALID_ARGUMENT."""
    raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


def admit(request: batch_v1.CreateJobRequest) -> batch_v1.Job:
    """The job that a request asks for, with Batch's defaults filled in.

    Raises:
        Refused: INVALID_ARGUMENT; the message names the field.
    """
    check_parent(request.parent)
    if request.job_id and not _JOB_ID.fullmatch(request.job_id):
        invalid(f"job_id {request.job_id!r} must match ^{_JOB_ID.pattern}$.")
    check_request_id(request.request_id)
    job = request.job
    if len(batch_v1.Job.serialize(job)) > _MAX_BYTES:
        invalid("job is larger than 1 MB.")
    if not 0 <= job.priority < 100:
        invalid("job.priority must be in [0, 100).")
    _check_labels("job.labels", job.labels)
    _check_notifications(job)
    _check_locations(job, request.parent.split("/")[3])
    if len(job.task_groups) != 1:
        invalid(f"job.task_groups must hold exactly one task group, not {len(job.task_groups)}.")
    _check_task_spec(job.task_groups[0].task_spec)
    _fill_task_count(job.task_groups[0])
    for output_only in ("name", "uid", "status", "create_time", "update_time"):
        batch_v1.Job.pb(job).ClearField(output_only)
    return job


def time_limit(spec: batch_v1.TaskSpec) -> timedelta | None:
    """How long one attempt of a task may run; None is as long as it wants."""
    if "max_run_duration" not in spec:
        return None
    limit: timedelta = batch_v1.TaskSpec.pb(spec).max_run_duration.ToTimedelta()
    return limit


def check_parent(parent: str) -> None:
    """Refuse what is not `projects/P/locations/L`."""
    if not _PARENT.fullmatch(parent):
        invalid(f"parent {parent!r} must be projects/PROJECT/locations/LOCATION.")


def check_request_id(request_id: str) -> None:
    """Refuse what is neither empty nor a UUID other than zero."""
    if not request_id:
        return
    try:
        value = uuid.UUID(request_id)
    except ValueError:
        value = uuid.UUID(int=0)
    if value.int == 0:
        invalid(f"request_id {request_id!r} must be a UUID other than zero.")


def _fill_task_count(group: batch_v1.TaskGroup) -> None:
    if group.task_environments:
        group.task_count = len(group.task_environments)
    group.task_count = group.task_count or 1
    if not 1 <= group.task_count <= _MAX_TASKS:
        invalid(f"task_groups[0].task_count must be in [1, {_MAX_TASKS}].")
    if not 0 <= group.parallelism <= _MAX_PARALLELISM:
        invalid(f"task_groups[0].parallelism must be in [0, {_MAX_PARALLELISM}].")
    group.parallelism = group.parallelism or min(group.task_count, _MAX_PARALLELISM)
    if group.scheduling_policy == batch_v1.TaskGroup.SchedulingPolicy.IN_ORDER and group.parallelism != 1:
        invalid("task_groups[0].parallelism must be 1 when scheduling_policy is IN_ORDER.")
    for environment in group.task_environments:
        _check_environment("task_groups[0].task_environments", environment)


def _check_task_spec(spec: batch_v1.TaskSpec) -> None:
    if not spec.runnables:
        invalid("task_spec.runnables must hold at least one runnable.")
    if not 0 <= spec.max_retry_count <= 10:
        invalid("task_spec.max_retry_count must be in [0, 10].")
    limit = time_limit(spec)
    if limit is not None and limit <= timedelta(0):
        invalid("task_spec.max_run_duration must be greater than 0 s.")
    if spec.lifecycle_policies:
        invalid("task_spec.lifecycle_policies: the local Batch service does not know them.")
    for index, volume in enumerate(spec.volumes):
        if not volume.mount_path.startswith("/"):
            invalid(f"task_spec.volumes[{index}].mount_path must be an absolute path.")
    _check_environment("task_spec.environment", spec.environment)
    _check_variables("task_spec.environments", spec.environments)
    for index, runnable in enumerate(spec.runnables):
        _check_runnable(f"task_spec.runnables[{index}]", runnable)


def _check_runnable(field: str, runnable: batch_v1.Runnable) -> None:
    if "container" in runnable:
        container = runnable.container
        if not container.image_uri.strip():
            invalid(f"{field}.container.image_uri must be set.")
        for text in (container.image_uri, container.entrypoint, *container.commands):
            _check_text(f"{field}.container", text)
    elif "script" in runnable:
        text = runnable.script.text
        if not text:
            invalid(f"{field}.script.text must be set (the local Batch service runs no script by its path).")
        if text.startswith("#!") and not text.startswith("#!/bin/sh"):
            invalid(f"{field}.script.text: the local Batch service runs scripts for /bin/sh only.")
        _check_text(f"{field}.script.text", text)
    elif "barrier" in runnable:
        invalid(f"{field}.barrier: the local Batch service does not know barriers.")
    else:
        invalid(f"{field} must be a container or a script.")
    if runnable.background or "timeout" in runnable:
        invalid(f"{field}: the local Batch service knows neither background nor timeout.")
    _check_environment(f"{field}.environment", runnable.environment)
    _check_labels(f"{field}.labels", runnable.labels)


def _check_environment(field: str, environment: batch_v1.Environment) -> None:
    _check_variables(f"{field}.variables", environment.variables)
    _check_variables(f"{field}.secret_variables", environment.secret_variables)
    for name, version in environment.secret_variables.items():
        if not _SECRET.fullmatch(version):
            invalid(
                f"{field}.secret_variables.{name} must be projects/PROJECT/secrets/SECRET/versions/VERSION."
            )
    if "encrypted_variables" in environment:
        invalid(f"{field}.encrypted_variables: the local Batch service has no keys.")


def _check_variables(field: str, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not name or "=" in name:
            invalid(f"{field} has a variable named {name!r}.")
        _check_text(field, name + value)


def _check_text(field: str, text: str) -> None:
    if "\0" in text:
        invalid(f"{field} holds a NUL character.")


def _check_labels(field: str, labels: Mapping[str, str]) -> None:
    """Google Cloud's rules: at most 64; lower case letters, digits, `_`, `-`; a key starts with a letter."""
    if len(labels) > 64:
        invalid(f"{field} holds more than 64 labels.")
    for key, value in labels.items():
        if not 1 <= len(key) <= 63 or not key[0].isalpha() or not _is_label_text(key):
            invalid(f"{field} has the key {key!r}: keys are [a-z][a-z0-9_-]*, at most 63 characters.")
        if key.startswith(("goog-", "google-")):
            invalid(f"{field} has the key {key!r}: goog- and google- are reserved.")
        if len(value) > 63 or not _is_label_text(value):
            invalid(f"{field}.{key} has the value {value!r}: values are [a-z0-9_-]*, at most 63 characters.")


def _is_label_text(text: str) -> bool:
    return all(letter in "_-" or (letter.isalnum() and letter == letter.lower()) for letter in text)


def _check_notifications(job: batch_v1.Job) -> None:
    kinds = batch_v1.JobNotification.Type
    for index, notification in enumerate(job.notifications):
        field = f"job.notifications[{index}]"
        if notification.pubsub_topic and not _TOPIC.fullmatch(notification.pubsub_topic):
            invalid(f"{field}.pubsub_topic must be projects/PROJECT/topics/TOPIC.")
        message = notification.message
        of_job = message.type_ == kinds.JOB_STATE_CHANGED or message.new_job_state
        of_task = message.type_ == kinds.TASK_STATE_CHANGED or message.new_task_state
        if of_job and of_task:
            invalid(f"{field}.message must speak of jobs or of tasks, not of both.")


def _check_locations(job: batch_v1.Job, region: str) -> None:
    for location in job.allocation_policy.location.allowed_locations:
        kind, _, name = location.partition("/")
        if kind not in {"regions", "zones"} or (name if kind == "regions" else name[:-2]) != region:
            invalid(f"allocation_policy.location.allowed_locations: {location!r} is not in {region}.")
