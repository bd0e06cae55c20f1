"""Cold start: from the start of a function's process to its first answer, and its memory after that.

The functions live a job's life, each in a process that is started for it: the submission is answered by 201,
the others get the job's own messages, or a tick. Before each, a bare function is started on the same machine
and asked once. All of it with the compiled modules (.pyc) that are there, and without any.
"""

from __future__ import annotations

import base64
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from jennah.local.cloud import LocalCloud
from jennah.local.processes import Process, Processes, free_port
from jennah.local.services import CHECKOUT, FUNCTIONS, Services
from jennah.local.tokens import fetch_token
from shared.batch_client import connect
from shared.batch_ids import batch_id
from shared.config import Settings
from shared.messages import JobMessage
from shared.model import JobKey
from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample
from tests.benchmarks.import_times import read_import_times
from tests.benchmarks.whole_cloud import WholeCloud, body_of
from tests.chaos.scene import RunFailed

FIGURE: Final = "cold-start"

_BARE: Final = Path(__file__).with_name("bare_function.py")
_FLOOR: Final = "bare function with Spanner"
_TIME, _MEMORY = Goal(Bound.RATIO_AT_MOST, 1.25), Goal(Bound.RATIO_AT_MOST, 1.15)
_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.002

_Request = tuple[str, bytes, Mapping[str, str], int]  # path, body, headers, and the status that must come
_Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Started:
    """A process that has answered once.

    Attributes:
        seconds: from its start to the end of its first answer.
        mib: resident memory of its worker after that.
        answer: what it answered.
        log: what it wrote.
    """

    seconds: float
    mib: float
    answer: bytes
    log: str


def measure(folder: Path, number: int, say: Callable[[str], None]) -> Run:
    """One run: every function once with .pyc and once without.

    Args:
        folder: for files.
        number: of the run; the first one also notes what the imports take.
        say: told what happens.
    """
    samples: list[Sample] = []
    details: dict[str, Any] = {}
    with ExitStack() as stack:
        say("starting")
        whole = stack.enter_context(WholeCloud(folder, {"JENNAH_TICK_SECONDS": "86400"}, warm=1))
        for function in FUNCTIONS:  # those that are measured are started beside the cloud
            whole.cloud.stop(function)
        faults = stack.enter_context(BatchFaults(whole.cloud.address_of("batch")))
        processes = stack.enter_context(Processes(folder / "cold"))
        cold = _Cold(whole.cloud, processes, faults, folder, bare_first=number % 2 == 0)
        for compiled in (True, False):
            env = {} if compiled else _without_pyc(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            how = "" if compiled else ", no .pyc"
            for function, started, bare in cold.live(env, lambda name, how=how: say(f"{name}{how}")):  # type: ignore[misc]  # mypy can't infer a lambda with a default
                time_measure = Measure(FIGURE, f"{function}: first answer{how}", "s", _FLOOR, _TIME)
                samples.append(Sample(time_measure, started.seconds, bare.seconds))
                if compiled:
                    memory_measure = Measure(FIGURE, f"{function}: memory", "MiB", _FLOOR, _MEMORY)
                    samples.append(Sample(memory_measure, started.mib, bare.mib))
        if number == 0:
            profiled = cold.live({"PYTHONPROFILEIMPORTTIME": "1"}, lambda name: say(f"{name}, imports"))
            details = {function: read_import_times(started.log) for function, started, _ in profiled}
            details["bare"] = read_import_times(profiled[0][2].log)
    return Run(samples, {"imports": details} if details else {})


def _without_pyc(empty: Path) -> _Environment:
    return {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(empty)}


class _Cold:
    """Starts functions beside a cloud whose own are stopped."""

    def __init__(
        self, cloud: LocalCloud, processes: Processes, faults: BatchFaults, folder: Path, *, bare_first: bool
    ) -> None:
        self._cloud = cloud
        self._processes = processes
        self._folder = folder
        self._faults = faults
        self._bare_first = bare_first
        env = cloud.env
        self._token = fetch_token(env["JENNAH_ISSUER_URL"], "ann@example.com", env["JENNAH_AUDIENCE"])

    def live(self, env: _Environment, say: Callable[[str], None]) -> list[tuple[str, Started, Started]]:
        """Bring one job from its submission to COMPLETED; with each function, and a bare one beside it."""
        done: list[tuple[str, Started, Started]] = []

        def start(function: str, request: _Request) -> bytes:
            say(function)
            requests = {"bare": ("/", b"", {}, 200), function: request}
            order = requests if self._bare_first else reversed(requests)
            started = {name: self._start(name, requests[name], env) for name in order}
            done.append((function, started[function], started["bare"]))
            return started[function].answer

        job = json.loads(start("submission", self._submission()))
        key = JobKey(job["tenant_id"], job["job_id"])
        start("scheduling", _push(data=JobMessage(key, 1).encode()))
        start("notification", _push(attributes=self._notification(key)))
        start("reconciliation", _push(attributes={"v": "1"}))
        return done

    def _submission(self) -> _Request:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        return "/v1/jobs", body_of(["true"]), headers, 201

    def _notification(self, key: JobKey) -> dict[str, str]:
        """What Batch sends once the job has ended."""
        name = batch_id(key, 1)
        self._faults.wait_for_state(name, JobState.SUCCEEDED, seconds=60)
        settings = Settings.from_env(self._cloud.env)
        with connect(self._cloud.address_of("batch")) as batch:
            job = batch.get_job(name=f"{settings.batch_parent}/jobs/{name}")
        return {
            "Type": "JOB_STATE_CHANGED",
            "JobName": job.name,
            "JobUID": job.uid,
            "Region": settings.region,
            "NewJobState": "SUCCEEDED",
        }

    def _start(self, function: str, request: _Request, env: _Environment) -> Started:
        services = Services(self._folder, free_port(), settings=self._cloud.env)
        named = function if function in FUNCTIONS else "submission"
        port, command = services.port_of(named), services.command_of(named)
        if function not in FUNCTIONS:
            command = [*command[:-2], f"--source={_BARE}", "--target=bare"]
        environment = {**services.environment_of(named), **env}
        began = time.perf_counter()
        process = self._processes.start(function, command, env=environment, folder=CHECKOUT)
        try:
            answer = _first_answer(process, port, request)
            seconds = time.perf_counter() - began
            return Started(seconds, _resident_mib(process), answer, process.log.read_text(errors="replace"))
        finally:
            process.kill()


def _push(attributes: Mapping[str, str] | None = None, data: bytes = b"") -> _Request:
    message = {
        "messageId": "1",
        "publishTime": datetime.now(UTC).isoformat(),
        "attributes": attributes or {},
        "data": base64.b64encode(data).decode(),
    }
    return "/", json.dumps({"message": message}).encode(), {"Content-Type": "application/json"}, 204


def _first_answer(process: Process, port: int, request: _Request) -> bytes:
    path, body, headers, status = request
    deadline = time.monotonic() + _SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            if not process.alive or time.monotonic() > deadline:
                raise RunFailed(f"{process.name} did not start: {process.last_words}") from None
            time.sleep(_LOOK_SECONDS)
    connection.request("POST", path, body, dict(headers))
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status != status:
        text = answer.decode(errors="replace")[:300]
        raise RunFailed(f"{process.name} answered {response.status} at first, not {status}: {text}")
    return answer


def _resident_mib(process: Process) -> float:
    """Of the largest process: the worker, which has all that the server had when it forked."""
    leader = psutil.Process(process.pid)
    return max(one.memory_info().rss for one in [leader, *leader.children(recursive=True)]) / 2**20
