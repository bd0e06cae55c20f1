"""What traces and metrics cost: whole jobs per second with them and without.

`python -m tests.benchmarks.telemetry`: one local cloud, whose functions are started anew for each turn, with
OTEL_EXPORTER_OTLP_ENDPOINT set to a collector of this process or without. In each turn several clients submit
jobs that run `true`, as fast as they are answered, and the clock runs until the last is COMPLETED. Turns
alternate, so that whatever else the machine does meets both alike; the verdict is the median of the pairs'
ratios. The functions' own processor time for a job is printed beside it: it is steadier on a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from google.cloud.spanner_v1.database import Database

from jennah.client import Client
from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port
from jennah.local.services import FUNCTIONS
from jennah.local.tokens import fetch_token
from tests.chaos.scene import count_jobs, open_database
from tests.collector import Collector

ALLOWED = 1.10
_CLIENTS = 8
_WARM, _WARM_SECONDS = 10, 4.0  # ticks come every second, and the first brings imports of its own
_SECONDS = 120.0
_PATHS = {"/v1/traces", "/v1/metrics"}
_OFF = {"OTEL_SDK_DISABLED": "true"}


@dataclass(frozen=True)
class Turn:
    """Jobs per second, and the functions' processor time for each, in milliseconds."""

    speed: float
    milliseconds: float


class Bench:
    """The cloud, with telemetry on or off."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self._on = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        self._settings = dict(_OFF)
        self.cloud = LocalCloud(folder, free_port(), settings=self._settings)
        self._database: Database
        self._client: Client

    def begin(self) -> None:
        """Once the cloud is up."""
        env = self.cloud.env
        self._database = open_database(self.cloud)
        token = fetch_token(env["JENNAH_ISSUER_URL"], "ann@example.com", env["JENNAH_AUDIENCE"])
        self._client = Client(env["JENNAH_URL"], token)

    def turn(self, jobs: int, *, on: bool) -> Turn:
        """Measure on functions that were started for it and are warm."""
        self._settings.clear()
        self._settings.update(self._on if on else _OFF)
        for function in FUNCTIONS:
            self.cloud.stop(function)
        for function in FUNCTIONS:
            self.cloud.start(function)
        warm = time.monotonic() + _WARM_SECONDS
        while time.monotonic() < warm:
            self._run(_WARM)
        worked = self._processor_seconds()
        speed = self._run(jobs)
        return Turn(speed, 1000 * (self._processor_seconds() - worked) / jobs)

    def _processor_seconds(self) -> float:
        """What the functions have used so far, in all their processes."""
        total = 0.0
        for name, pid in self.cloud.pids.items():
            if name in FUNCTIONS:
                leader = psutil.Process(pid)
                for process in [leader, *leader.children(recursive=True)]:
                    times = process.cpu_times()
                    total += times.user + times.system
        return total

    def _run(self, jobs: int) -> float:
        expected = count_jobs(self._database)[0] + jobs
        began = time.monotonic()
        with ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(lambda _: self._client.submit_job("busybox", ["true"]), range(jobs)))
        while count_jobs(self._database) != (expected, 0):
            if time.monotonic() - began > _SECONDS:
                raise RuntimeError(f"the jobs did not end in {_SECONDS:.0f} s")
            time.sleep(0.05)
        return jobs / (time.monotonic() - began)


def main() -> int:
    """Run it; exit code 1 where it costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, help="of each turn")
    parser.add_argument("--pairs", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jennah-telemetry-") as name, Collector(keep=False) as collector:
        bench = Bench(Path(name), collector)
        with bench.cloud:
            bench.begin()
            ratios = [_pair(bench, options.jobs, number) for number in range(options.pairs)]
        requests = collector.requests
    median = statistics.median(ratios)
    _say(
        f"median of {options.pairs} pairs: {median:.3f} times as fast off as on, where {ALLOWED:.2f} is "
        f"allowed; the collector got {_shown(requests)}"
    )
    if silent := _PATHS - requests.keys():
        _say(f"nothing was measured: the collector got no request at {' and '.join(sorted(silent))}.")
        return 1
    return 0 if median <= ALLOWED else 1


def _pair(bench: Bench, jobs: int, number: int) -> float:
    order = (True, False) if number % 2 else (False, True)
    turns = {on: bench.turn(jobs, on=on) for on in order}
    off, on = turns[False], turns[True]
    ratio = off.speed / on.speed
    _say(
        f"off {off.speed:.1f} jobs/s, on {on.speed:.1f} jobs/s: {ratio:.3f} times as fast; functions' "
        f"processor time for a job {off.milliseconds:.1f} ms, {on.milliseconds:.1f} ms"
    )
    return ratio


def _shown(requests: Mapping[str, int]) -> str:
    return ", ".join(f"{count} requests at {path}" for path, count in sorted(requests.items()))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
