"""The thin adapter to the Batch API: its calls, and its errors in our terms."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import grpc
from google.api_core import exceptions
from google.cloud import batch_v1
from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport

from shared.batch import (
    DEPLOYMENT,
    BatchPage,
    BatchRecord,
    BatchState,
    TaskRecord,
    job_record,
    request_id,
    task_record,
)
from shared.errors import Unavailable
from shared.spans import calling

# Seconds. Without the client's own retries, which would go on for a minute: messages are the retries here.
_READ_TIMEOUT = 10.0
_MOST_TASKS = 1000  # as many as a job of ours may have
_TASKS_PAGE = 100
_PAGE = 200


class NameTaken(Exception):
    """A Batch job of that name exists already."""


class SpecRefused(Exception):
    """Batch says that the request itself is invalid."""


class PlatformFault(Exception):
    """Permission or configuration is wrong: no fault of the tenant's, and an operator must act."""


class BatchClient:
    """Batch, as the platform uses it.

    Args:
        client: the API's own client.
        create_deadline: how long to wait for the answer to CreateJob. Create and cancel are not retried
            here: whoever called does that, with backoff.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        client: batch_v1.BatchServiceClient,
        *,
        create_deadline: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._create_timeout = create_deadline.total_seconds()
        self._clock = clock

    def create(self, name: str, job: batch_v1.Job) -> BatchRecord:
        """Create the Batch job of that full name.

        Raises:
            NameTaken: it exists.
            SpecRefused: the request is invalid.
            PlatformFault: permission or configuration is wrong.
            Unavailable: it could not be created now, or nobody knows whether it was: ask again.
        """
        parent, _, job_id = name.rpartition("/jobs/")
        request = batch_v1.CreateJobRequest(
            parent=parent, job_id=job_id, job=job, request_id=request_id(name)
        )
        try:
            with calling("CreateJob"):
                return job_record(self._client.create_job(request, timeout=self._create_timeout))
        except exceptions.AlreadyExists as error:
            raise NameTaken from error
        except exceptions.InvalidArgument as error:
            raise SpecRefused(error.message) from error
        except (
            exceptions.PermissionDenied,
            exceptions.Unauthenticated,
            exceptions.NotFound,
            exceptions.FailedPrecondition,
            exceptions.MethodNotImplemented,
        ) as error:
            raise PlatformFault(error.message) from error
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(f"Batch did not create the job: {error.message}") from error

    def get(self, name: str) -> BatchRecord | None:
        """Batch's record of the job, None if it has none.

        Raises:
            Unavailable: Batch did not answer.
        """
        try:
            with calling("GetJob"):
                return job_record(self._client.get_job(name=name, retry=None, timeout=_READ_TIMEOUT))
        except exceptions.NotFound:
            return None
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(f"Batch did not answer: {error.message}") from error

    def tasks(self, name: str) -> list[TaskRecord]:
        """The tasks of the job; of a very large one, some.

        All pages together take 10 s at most: who asks has other jobs to look at, and dies after a minute.
        Of a listing that takes longer, what came in time is enough if it says why the job failed.

        Raises:
            Unavailable: Batch did not answer in time.
        """
        tasks: list[TaskRecord] = []
        page_token: str | None = ""
        end = self._clock() + _READ_TIMEOUT
        while page_token is not None and len(tasks) < _MOST_TASKS:
            request = batch_v1.ListTasksRequest(
                parent=f"{name}/taskGroups/group0", page_size=_TASKS_PAGE, page_token=page_token
            )
            try:
                page = self._tasks_page(request, timeout=end - self._clock())
            except exceptions.NotFound:
                return []
            except exceptions.GoogleAPICallError as error:
                if any(task.failed and task.exit_code for task in tasks):
                    break
                raise Unavailable(f"Batch did not answer: {error.message}") from error
            tasks += [task_record(task) for task in page.tasks]
            page_token = page.next_page_token or None
        return tasks

    def _tasks_page(
        self, request: batch_v1.ListTasksRequest, *, timeout: float
    ) -> batch_v1.ListTasksResponse:
        if timeout <= 0:
            raise exceptions.DeadlineExceeded("the pages of tasks took too long")
        with calling("ListTasks"):
            return next(iter(self._client.list_tasks(request, retry=None, timeout=timeout).pages))

    def list_jobs(
        self, parent: str, *, deployment: str, state: BatchState | None = None, page_token: str = ""
    ) -> BatchPage:
        """A page of the Batch jobs with this deployment's label, the youngest first.

        Args:
            parent: `projects/{project}/locations/{region}`; `-` stands for every region.
            deployment: the value of the label.
            state: only jobs in this state.
            page_token: empty for the first page.

        Raises:
            Unavailable: Batch did not answer.
        """
        where = f'labels.{DEPLOYMENT}="{deployment}"' + (f' AND status.state="{state}"' if state else "")
        request = batch_v1.ListJobsRequest(
            parent=parent,
            filter=where,
            order_by="create_time desc",
            page_size=_PAGE,
            page_token=page_token,
        )
        try:
            with calling("ListJobs"):
                listed = self._client.list_jobs(request, retry=None, timeout=_READ_TIMEOUT)
                page = next(iter(listed.pages))
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(f"Batch did not answer: {error.message}") from error
        return BatchPage([job_record(job) for job in page.jobs], page.next_page_token)

    def cancel(self, name: str) -> None:
        """Ask Batch to stop the job. One that has ended, is being cancelled or is gone is no error.

        Raises:
            Unavailable: Batch did not answer.
        """
        try:
            with calling("CancelJob"):
                self._client.cancel_job(batch_v1.CancelJobRequest(name=name), timeout=_READ_TIMEOUT)
        except (exceptions.NotFound, exceptions.FailedPrecondition, exceptions.AlreadyExists):
            return
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(f"Batch did not answer: {error.message}") from error


def connect(emulator_host: str | None) -> batch_v1.BatchServiceClient:
    """The client of Google's API or, with its `host:port`, of a local Batch service."""
    if not emulator_host:
        return batch_v1.BatchServiceClient()
    channel = grpc.insecure_channel(emulator_host)
    return batch_v1.BatchServiceClient(transport=BatchServiceGrpcTransport(channel=channel))
