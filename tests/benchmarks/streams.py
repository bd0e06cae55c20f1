"""What submissions notice of open streams.

`python -m tests.benchmarks.streams`: jobs are submitted at a steady rate, several at once where they take
long, in turns without a stream and while half of the threads stream: 4 of 8 follow the audit trails of
jobs that wait, each another tenant's, because one tenant has a share of them only. Figures are of the
submission function as its own process on the official emulators, from the moment at which a request was due.
Median and p99 are judged, each by the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from google.cloud import spanner

from jennah.local import emulators
from jennah.local.processes import Processes
from tests.benchmarks.steady_load import Figures, Load
from tests.integration.api_process import running_api

THREADS = 8
STREAMS = THREADS // 2
RATE, SUBMITTERS = 40.0, THREADS - STREAMS
ALLOWED = 1.5
_BODY = {"image_uri": "busybox", "commands": ["true"]}


def _submit(client: httpx.Client) -> str:
    answer = client.post("/v1/jobs", json=_BODY)
    if answer.status_code != httpx.codes.CREATED:
        raise RuntimeError(f"a submission was answered {answer.status_code}")
    return str(answer.json()["job_id"])


def _measured(load: Load, seconds: float) -> Figures:
    begin = time.monotonic() + 0.2
    latencies, statuses = load.send(begin, begin + seconds)
    if statuses.keys() != {httpx.codes.CREATED}:
        raise RuntimeError(f"submissions were answered {dict(statuses)}")
    return Figures.of(latencies)


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
            reader = threading.Thread(target=_read, args=(answer.iter_lines(),), daemon=True)
            reader.start()
            stack.callback(_leave, answer, reader)
        yield


def _leave(answer: httpx.Response, reader: threading.Thread) -> None:
    """Hang up: a socket that is closed while it is being read stays open, and the stream with it."""
    answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    reader.join()


def ratios(rounds: Sequence[tuple[Figures, Figures]]) -> tuple[float, float]:
    """How many times as long a submission takes beside streams: at the median, and at the p99.

    Args:
        rounds: of each the figures without streams and those beside them.
    """
    return (
        statistics.median(beside.p50 / quiet.p50 for quiet, beside in rounds),
        statistics.median(beside.p99 / quiet.p99 for quiet, beside in rounds),
    )


def _say_figures(name: str, figures: Figures) -> None:
    _say(f"{name}: {figures.count} submissions, p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms")


def main() -> int:
    """Run it; exit code 1 where submissions take more than half as long again beside the streams."""
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
            load = Load(
                urlsplit(str(client.base_url)).netloc, RATE, SUBMITTERS, token.removeprefix("Bearer ")
            )
            _measured(load, 2)  # warm
            rounds = []
            for number in range(1, options.rounds + 1):
                quiet = _measured(load, options.seconds)
                with _streams(client.base_url, followed):
                    beside = _measured(load, options.seconds)
                rounds.append((quiet, beside))
                _say_figures(f"round {number}, no stream", quiet)
                _say_figures(f"round {number}, {STREAMS} streams", beside)
    p50, p99 = ratios(rounds)
    _say(f"median of {options.rounds}: p50 {p50:.2f}, p99 {p99:.2f}, where {ALLOWED} is allowed")
    return 0 if max(p50, p99) <= ALLOWED else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
