"""What a submission notices of open streams.

`python -m tests.benchmarks.streams`: jobs are submitted one after the other, in turns without a stream and
while half of the function's threads stream: 4 of 8 follow the audit trails of jobs that wait, each another
tenant's, because one tenant has a share of them only. Figures are of
the submission function as its own process on the official emulators.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from google.cloud import spanner

from jennah.local import emulators
from jennah.local.processes import Processes
from tests.integration.api_process import running_api

THREADS = 8
STREAMS = THREADS // 2
_BODY = {"image_uri": "busybox", "commands": ["true"]}


def _submit(client: httpx.Client) -> str:
    answer = client.post("/v1/jobs", json=_BODY)
    if answer.status_code != httpx.codes.CREATED:
        raise RuntimeError(f"a submission was answered {answer.status_code}")
    return str(answer.json()["job_id"])


def _latencies(client: httpx.Client, seconds: float) -> list[float]:
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        _submit(client)
        found.append(1000 * (time.perf_counter() - start))
    return found


def _read(lines: Iterator[str]) -> None:
    try:
        for _ in lines:
            pass
    except httpx.HTTPError:
        pass  # it was left


@contextmanager
def _streams(base: httpx.URL, followed: Mapping[str, str]) -> Iterator[None]:
    """Readers of these jobs' events, one for each token, on connections of their own, until the end."""
    with ExitStack() as stack:
        for token, job_id in followed.items():
            headers = {"Authorization": token}
            client = stack.enter_context(httpx.Client(base_url=base, headers=headers, trust_env=False))
            answer = stack.enter_context(client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=30))
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(f"a stream was answered {answer.status_code}")
            threading.Thread(target=_read, args=(answer.iter_lines(),), daemon=True).start()
        yield


def _figures(name: str, latencies: list[float]) -> tuple[float, float]:
    p50, p99 = statistics.median(latencies), statistics.quantiles(latencies, n=100, method="inclusive")[98]
    _say(f"{name}: {len(latencies)} submissions, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return p50, p99


def main() -> int:
    """Run it; exit code 1 where the median submission takes half as long again beside the streams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase, at most 40")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jennah-streams-") as name, Processes(Path(name)) as processes:
        hosts = {
            "SPANNER_EMULATOR_HOST": emulators.start_spanner(processes).host,
            "PUBSUB_EMULATOR_HOST": emulators.start_pubsub(processes).host,
        }
        os.environ |= hosts | {"GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW": "false"}
        project = spanner.Client(project="jennah-test")
        instance = project.instance("jennah-test", f"{project.project_name}/instanceConfigs/emulator-config")
        instance.create().result(30)
        settings = {"JENNAH_ADMIT": "everyone", "THREADS": str(THREADS)}
        with running_api(instance, processes, Path(name), hosts, settings=settings) as api:
            client = api.client
            followed = {}
            for tenant in range(STREAMS + 1):
                token = f"Bearer {api.issuers[0].mint(f'{tenant}@example.com')}"
                client.headers["Authorization"] = token
                if tenant < STREAMS:
                    followed[token] = _submit(client)
            _latencies(client, 2)  # warm
            quiet: list[float] = []
            beside: list[float] = []
            for _ in range(options.rounds):
                quiet += _latencies(client, options.seconds)
                with _streams(client.base_url, followed):
                    beside += _latencies(client, options.seconds)
    (quiet_p50, _), (p50, _) = _figures("no stream", quiet), _figures(f"{STREAMS} streams", beside)
    return 0 if p50 <= 1.5 * quiet_p50 else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
