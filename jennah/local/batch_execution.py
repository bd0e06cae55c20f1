"""Carries one job from QUEUED to its end.

A job leaves QUEUED when there is a place for its first task, and SCHEDULED at once. Each task is tried at
most `max_retry_count` + 1 times. Once a task has failed for good no other is started: those that run finish,
the rest are UNEXECUTED and the job has FAILED (whether Batch lets the others run to their end is not
documented).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from google.cloud import batch_v1

from jennah.local.batch_faults import Action
from jennah.local.batch_jobs import TASK_GROUP, ExitCode, Job, JobState, Task, TaskState
from jennah.local.batch_launcher import TaskLog
from jennah.local.batch_notifications import Notifier
from jennah.local.batch_rules import Rules
from jennah.local.batch_runner import Command, Runner, argv_of, environment_of
from jennah.local.batch_specs import time_limit

_GROUP_INDEX = TASK_GROUP.removeprefix("group")
_log = logging.getLogger(__name__)


class Execution:
    """A job at work.

    Args:
        directory: the job's own folder, for its logs and its tasks' working folders.
        places: how many tasks may run at once, over all jobs.
    """

    def __init__(
        self,
        job: Job,
        directory: Path,
        *,
        runner: Runner,
        places: asyncio.Semaphore,
        rules: Rules,
        notifier: Notifier,
    ) -> None:
        self.job = job
        self._directory = directory
        self._runner = runner
        self._places = places
        self._rules = rules
        self._notifier = notifier
        self._discarded = False
        self._attempts: dict[int, asyncio.Task[int]] = {}
        self._preempted: set[int] = set()
        self._failed = False
        self._endings: set[asyncio.Task[None]] = set()
        self._work = asyncio.create_task(self._run())
        self._work.add_done_callback(_log_defect)
        notifier.entered(job, JobState.QUEUED)
        rules.touch()

    def cancel(self) -> asyncio.Task[None]:
        """Enter CANCELLATION_IN_PROGRESS and end what runs; the task is done when the job is CANCELLED."""
        self._enter(JobState.CANCELLATION_IN_PROGRESS)
        return self._end(self._finish_cancelling())

    def delete(self) -> asyncio.Task[None]:
        """Enter DELETION_IN_PROGRESS and end what runs; the task is done when the record may go."""
        self._enter(JobState.DELETION_IN_PROGRESS)
        return self._end(self._stop())

    def discard(self) -> None:
        """End what runs, and neither record nor send anything more."""
        self._discarded = True
        self._end(self._stop())

    def preempt(self) -> int:
        """End the running attempts with exit code 50001; return how many there were."""
        for index, attempt in self._attempts.items():
            self._preempted.add(index)
            attempt.cancel()
        return len(self._attempts)

    async def _run(self) -> None:
        await self._pause()
        async with AsyncExitStack() as place:
            await place.enter_async_context(self._places)
            self._enter(JobState.SCHEDULED)
            await self._pause()
            if not self._rules.find(Action.SKIP_RUNNING, self.job.job_id):
                self._enter(JobState.RUNNING)
            waiting = iter(self.job.tasks)
            others = self.job.spec.task_groups[0].parallelism - 1
            begun: set[asyncio.Task[None]] = set()
            async with asyncio.TaskGroup() as group:
                workers = {
                    group.create_task(self._run_tasks_in_own_place(waiting, begun))
                    for _ in range(min(others, len(self.job.tasks) - 1))
                }
                await self._run_tasks(waiting)
                # No task is left to begin: the place is for others, and who still waits for one needs none.
                await place.aclose()
                for worker in workers - begun:
                    worker.cancel()
        self.job.leave_rest_unexecuted()
        self._enter(JobState.FAILED if self._failed else JobState.SUCCEEDED)

    async def _run_tasks_in_own_place(self, waiting: Iterator[Task], begun: set[asyncio.Task[None]]) -> None:
        async with self._places:
            if worker := asyncio.current_task():
                begun.add(worker)
            await self._run_tasks(waiting)

    async def _run_tasks(self, waiting: Iterator[Task]) -> None:
        while not self._failed and (task := next(waiting, None)):
            await self._run_task(task)

    async def _run_task(self, task: Task) -> None:
        retries = self.job.spec.task_groups[0].task_spec.max_retry_count
        for retry in range(retries + 1):
            self._enter_task(task, TaskState.ASSIGNED)
            self._enter_task(task, TaskState.RUNNING)
            code = await self._attempt(task, retry)
            if code == 0:
                self._enter_task(task, TaskState.SUCCEEDED)
                return
            self._failed = retry == retries
            self._enter_task(task, TaskState.FAILED if self._failed else TaskState.PENDING, code)

    async def _attempt(self, task: Task, retry: int) -> int:
        """Run a task once; return its exit code. Cancelled from outside, the task has failed as well."""
        attempt = asyncio.create_task(self._run_attempt(task, retry))
        self._attempts[task.index] = attempt
        try:
            return await attempt
        except asyncio.CancelledError:
            worker = asyncio.current_task()
            if task.index in self._preempted and worker and not worker.cancelling():
                return ExitCode.SPOT_PREEMPTION
            self._enter_task(task, TaskState.FAILED, 128 + signal.SIGTERM)
            raise
        finally:
            del self._attempts[task.index]
            self._preempted.discard(task.index)

    async def _run_attempt(self, task: Task, retry: int) -> int:
        await self._pause()
        spec = self.job.spec.task_groups[0].task_spec
        limit = time_limit(spec)
        try:
            async with asyncio.timeout(None if limit is None else limit.total_seconds()):
                return await self._run_runnables(task, retry, spec)
        except TimeoutError:
            return ExitCode.OVER_MAX_RUN_DURATION
        except OSError:
            _log.exception("could not run %s", task.name)
            return ExitCode.UNKNOWN

    async def _run_runnables(self, task: Task, retry: int, spec: batch_v1.TaskSpec) -> int:
        name = f"task-{_GROUP_INDEX}-{task.index}"
        log, work = self._directory / f"{name}.log", self._directory / f"{name}-{retry}"
        work.mkdir(parents=True)
        failure = 0
        try:
            for index, runnable in enumerate(spec.runnables):
                if failure and not runnable.always_run:
                    continue
                _say_what_is_missing(log, spec, runnable)
                env = environment_of(self.job, task, runnable, retry)
                command = Command(argv_of(runnable) or _stand_in(log), env, work, log)
                code = await self._runner.run(self.job, task, index, retry, command)
                if not runnable.ignore_exit_status:
                    failure = failure or code
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return failure

    async def _pause(self) -> None:
        await self._rules.hold(Action.PAUSE, self.job.job_id, state=self.job.state.name)

    def _enter(self, state: JobState) -> None:
        self.job.enter(state)
        if not self._discarded:
            self._notifier.entered(self.job, state)
        self._rules.touch()

    def _enter_task(self, task: Task, state: TaskState, exit_code: int | None = None) -> None:
        task.enter(state, exit_code=exit_code)
        if not self._discarded:
            self._notifier.entered(self.job, state)

    def _end(self, ending: Coroutine[None, None, None]) -> asyncio.Task[None]:
        # At once, not when the task below first runs: the work must not go on to a final state meanwhile.
        self._work.cancel()
        task = asyncio.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task

    async def _stop(self) -> None:
        await asyncio.wait([self._work])
        self.job.leave_rest_unexecuted()

    async def _finish_cancelling(self) -> None:
        await self._stop()
        if self.job.state is JobState.CANCELLATION_IN_PROGRESS:
            self._enter(JobState.CANCELLED)


def _stand_in(log: Path) -> tuple[str, ...]:
    _note(log, "There is no container here, so the image's own command is not known: ran `true` instead.")
    return ("true",)


def _say_what_is_missing(log: Path, spec: batch_v1.TaskSpec, runnable: batch_v1.Runnable) -> None:
    if secrets := runnable.environment.secret_variables:
        _note(log, f"There is no Secret Manager here: not set are {', '.join(sorted(secrets))}.")
    if spec.volumes:
        _note(log, "There is no Cloud Storage here: nothing is mounted.")


def _note(log: Path, sentence: str) -> None:
    words = TaskLog(log, "stderr")
    words.write(f"{sentence}\n".encode())
    words.close()


def _log_defect(work: asyncio.Task[None]) -> None:
    if not work.cancelled() and (error := work.exception()):
        _log.error("a job's execution broke", exc_info=error)
