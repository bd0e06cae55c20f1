"""A whole local cloud to measure: with the load that clients make, and a cheap look at what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import psutil

from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port
from jennah.local.services import FUNCTIONS
from jennah.local.tokens import fetch_token
from shared.config import Timing
from shared.semantics import LogField
from tests.benchmarks.posts import Posts
from tests.chaos.scene import RunFailed, count_jobs, open_database

_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.01

_CHECKS: Final = (
    "pending_check",
    "pending_check_limit",
    "live_check",
    "live_check_limit",
    "unconfirmed_check",
)
PRODUCTION_CHECKS: Final[Mapping[str, str]] = {
    f"JENNAH_{name.upper()}_SECONDS": str(getattr(Timing(), name).total_seconds()) for name in _CHECKS
}
"""A local cloud checks on jobs after 5 s, production after 60 s: no job that is measured lives as long."""

_T = TypeVar("_T")


def body_of(commands: Sequence[str]) -> bytes:
    """The request for a job that runs this."""
    return json.dumps({"image_uri": "busybox", "commands": list(commands)}).encode()


class WholeCloud:
    """A context manager: entering starts everything, and it is warm.

    Args:
        folder: for its files, and for what its functions say.
        settings: of the functions, over production's times of checks.
        warm: how many jobs warm it up.
        commands: what the jobs run.

    Attributes:
        cloud: the cloud.
        host: where the API is.
        token: a tenant's.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, warm: int, commands: Sequence[str] = ("true",)
    ) -> None:
        self._outputs = folder / "outputs"
        self._warm = warm
        self._body = body_of(commands)
        self._read = dict.fromkeys(FUNCTIONS, 0)
        self._completions: list[tuple[str, str]] = []
        self.cloud = LocalCloud(
            folder, free_port(), settings={**PRODUCTION_CHECKS, **settings}, outputs=self._outputs
        )
        self.host = self.token = ""
        self._posts: Posts

    def __enter__(self) -> Self:
        self._outputs.mkdir(parents=True)
        self.cloud.__enter__()
        try:
            env = self.cloud.env
            self.host = urlsplit(env["JENNAH_URL"]).netloc
            self.token = fetch_token(env["JENNAH_ISSUER_URL"], "ann@example.com", env["JENNAH_AUDIENCE"])
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            self._posts = Posts(self.host, "/v1/jobs", 201, self._body, headers)
            self.run(self._warm)
        except BaseException:
            self.cloud.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cloud.__exit__(kind, error, trace)

    def run(self, jobs: int, *, commands: Sequence[str] | None = None) -> float:
        """Submit so many jobs and wait until all are COMPLETED; return how many seconds that took.

        Args:
            jobs: how many.
            commands: what they run, if not what all do.
        """
        posts = replace(self._posts, body=body_of(commands)) if commands else self._posts
        began = time.perf_counter()
        self.finished_after(jobs, lambda: posts.send(jobs))
        return time.perf_counter() - began

    def finished_after(self, jobs: int, submit: Callable[[], _T]) -> _T:
        """Let `submit` submit so many jobs, wait until all are COMPLETED, and return what it returned."""
        self._completed()
        returned = submit()
        began = time.perf_counter()
        completed = self._completed()
        while completed < jobs:
            if self.cloud.failure:
                raise RunFailed(self.cloud.failure)
            if time.perf_counter() - began > _SECONDS:
                raise RunFailed(f"{jobs - completed} of {jobs} jobs did not end in {_SECONDS:.0f} s.")
            time.sleep(_LOOK_SECONDS)
            completed += self._completed()
        return returned

    def completions(self) -> list[tuple[str, str]]:
        """The jobs that came to COMPLETED, by id, and when their function said so (ISO 8601)."""
        return self._completions

    def processor_seconds(self) -> dict[str, float]:
        """What each service has used so far, in all its processes."""
        used = {}
        for name, pid in self.cloud.pids.items():
            leader = psutil.Process(pid)
            times = [process.cpu_times() for process in [leader, *leader.children(recursive=True)]]
            used[name] = sum(one.user + one.system for one in times)
        return used

    def require_all_final(self) -> None:
        """Look into the database, once nothing is measured any more.

        Raises:
            RunFailed: a job is not final, whatever the functions said.
        """
        _, unfinished = count_jobs(open_database(self.cloud))
        if unfinished:
            raise RunFailed(f"{unfinished} jobs are not final, though their functions said so.")

    def _completed(self) -> int:
        """How many jobs came to COMPLETED since the last look, by what the functions say of their commits.

        To ask the database would slow down what is measured.
        """
        completed = 0
        for name, position in self._read.items():
            path = self._outputs / f"{name}.jsonl"
            if not path.exists():
                continue
            with path.open("rb") as output:
                output.seek(position)
                said = output.read()
            whole = said[: said.rfind(b"\n") + 1]
            self._read[name] += len(whole)
            lines = (json.loads(line) for line in whole.splitlines() if b"COMPLETED" in line)
            told = [line for line in lines if _tells_completion(line)]
            self._completions += [(line[LogField.LABELS]["job"], line[LogField.TIME]) for line in told]
            completed += len(told)
        return completed


def _tells_completion(told: Mapping[str, Any]) -> bool:
    return bool(told["event"] == "job_transition" and told["transition"]["to"] == "COMPLETED")
