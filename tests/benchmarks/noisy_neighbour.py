"""What a tenant notices of another that floods the API, with limits on.

`python -m tests.benchmarks.noisy_neighbour`: a victim submits 5 jobs a second, quietly and then beside a
flood of 100 submissions a second of another tenant, once that has used up the minute's submissions that
it may do at once. Both do the same against servers that do nothing: what that takes is the generators' own
cost, and is subtracted. The victim's is a process of its own, which the flood does not reach: what waits
behind the flood in the submission function is never taken for the generators' cost. A slice is longer than
a count of open jobs is used (10 s), so that each has one, quiet or not. Jobs end between the slices, as
they would: the Spanner emulator commits nothing while it reads, and to count thousands of open jobs takes
it longer than a submission takes; Spanner's own reads delay nobody's commits. Figures are p99 from the
moment at which a request was due, of the submission function as its own process on the official emulators;
the verdict is the median of the rounds, and the raw p99s are printed with it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from google.cloud import spanner
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.transaction import Transaction

from jennah.local import emulators
from jennah.local.processes import Processes
from shared.limits import COUNT_SECONDS
from tests.benchmarks.steady_load import Figures, Load, noop_server
from tests.integration.api_process import running_api

VICTIM_RATE, FLOOD_RATE = 5.0, 100.0
ALLOWED = 1.5
LIMITS = {"submissions_per_minute": 360, "open_jobs": 5000, "vcpu_in_flight": 100_000}

_LEAST_MS = 1.0  # what is less can't be told from nothing
_FLOOD_THREADS = 16
_VICTIM_THREADS = 4


# What is measured, in turns: so that whatever else the machine does meets all of it alike.
QUIET, FLOODED, QUIET_NOOP, FLOODED_NOOP = range(4)
# In which the flood uses up what came into its bucket meanwhile, and the victim submits as before: what the
# pause between two slices cost it (counts that are known no longer, say) is none of the flood's doing.
_LEAD_SECONDS, _PAUSE_SECONDS = 1.5, 0.2

Order = tuple[Load, float]


def _flood(orders: Queue[Order], answered: Queue[Mapping[int, int]]) -> None:
    while True:
        load, seconds = orders.get()
        begin = time.monotonic()
        answered.put(load.send(begin, begin + seconds)[1])


def _end_all(database: Database) -> None:
    """Let every job end."""

    def write(transaction: Transaction) -> None:
        transaction.execute_update("UPDATE Jobs SET Status = 'COMPLETED' WHERE Status = 'PENDING'")

    database.run_in_transaction(write)


class Bench:
    """The victim here, and the flood from a process of its own: they share no interpreter.

    Args:
        host: the submission function's.
        noops: of the servers that do nothing: the victim's and the flood's.
        victim: the one's token.
        flooder: the other's.
        between: done after each slice.
    """

    def __init__(
        self,
        host: str,
        noops: tuple[str, str],
        victim: str,
        flooder: str,
        *,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self._between = between
        self._victim = Load(host, VICTIM_RATE, _VICTIM_THREADS, victim)
        self._flood = Load(host, FLOOD_RATE, _FLOOD_THREADS, flooder)
        self._noops = noops
        context = multiprocessing.get_context("spawn")
        self._orders: Queue[Order] = context.Queue()
        self._answered: Queue[Mapping[int, int]] = context.Queue()
        self._process = context.Process(target=_flood, args=(self._orders, self._answered), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        # The minute's submissions, which may come at once.
        self.slice(FLOODED, LIMITS["submissions_per_minute"] / FLOOD_RATE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def loads(self, kind: int) -> tuple[Load, Load | None]:
        """What the victim sends, and the flood where there is one."""
        victim, flood = self._victim, self._flood
        if kind in {QUIET_NOOP, FLOODED_NOOP}:
            victim, flood = replace(victim, host=self._noops[0]), replace(flood, host=self._noops[1])
        return victim, flood if kind in {FLOODED, FLOODED_NOOP} else None

    def slice(self, kind: int, seconds: float) -> tuple[list[float], Mapping[int, int]]:
        """Measure for so long: the victim's latencies in seconds, and what the flood was answered."""
        victim, beside = self.loads(kind)
        if beside:
            self._orders.put((beside, _LEAD_SECONDS + _PAUSE_SECONDS + seconds))
        began = time.monotonic()
        victim.send(began, began + _LEAD_SECONDS)
        begin = time.monotonic() + _PAUSE_SECONDS
        latencies, statuses = victim.send(begin, begin + seconds)
        if statuses.keys() != {201}:
            raise RuntimeError(f"the victim was answered {dict(statuses)}")
        answered = self._answered.get(timeout=60) if beside else {}
        self._between()
        return latencies, answered

    def round(self, slices: int, seconds: float) -> Round:
        """Measure all four kinds in turns."""
        latencies: dict[int, list[float]] = {kind: [] for kind in range(4)}
        answered: Counter[int] = Counter()
        for _ in range(slices):
            for kind, measured in latencies.items():
                some, statuses = self.slice(kind, seconds)
                measured.extend(some)
                if kind == FLOODED:
                    answered.update(statuses)
        figures = {kind: Figures.of(measured) for kind, measured in latencies.items()}
        shown = {kind: f"{found.p99:.1f} ({found.p50:.1f})" for kind, found in figures.items()}
        round_ = Round(
            figures[QUIET].p99,
            figures[FLOODED].p99,
            figures[QUIET].p99 - figures[QUIET_NOOP].p99,
            figures[FLOODED].p99 - figures[FLOODED_NOOP].p99,
        )
        _say(
            f"p99 (p50) ms: quiet {shown[QUIET]}, flooded {shown[FLOODED]}; no-op quiet {shown[QUIET_NOOP]}, "
            f"flooded {shown[FLOODED_NOOP]}; own {round_.own_flooded:.1f} / {round_.own_quiet:.1f}; "
            f"the flood was answered {dict(sorted(answered.items()))}; load {os.getloadavg()[0]:.1f}"
        )
        return round_


@dataclass(frozen=True)
class Round:
    """The victim's p99 in milliseconds, as it was and without the generators' own cost."""

    quiet: float
    flooded: float
    own_quiet: float
    own_flooded: float

    @property
    def ratio(self) -> float:
        """How many times as long the victim waits beside the flood, without the generators' own cost."""
        return max(self.own_flooded, _LEAST_MS) / max(self.own_quiet, _LEAST_MS)


def main() -> int:
    """Run it; exit code 1 where the victim notices too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=COUNT_SECONDS, help="of each slice")
    parser.add_argument("--slices", type=int, default=3, help="of each of the four kinds in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--unlimited", action="store_true", help="to see what limits are good for")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jennah-neighbours-") as name, Processes(Path(name)) as processes:
        hosts = {
            "SPANNER_EMULATOR_HOST": emulators.start_spanner(processes).host,
            "PUBSUB_EMULATOR_HOST": emulators.start_pubsub(processes).host,
        }
        os.environ |= hosts | {"GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW": "false"}
        client = spanner.Client(project="jennah-test")
        instance = client.instance("jennah-test", f"{client.project_name}/instanceConfigs/emulator-config")
        instance.create().result(30)
        limits = "" if options.unlimited else json.dumps(LIMITS)
        settings = {"JENNAH_ADMIT": "everyone", "JENNAH_LIMITS": limits}
        with running_api(instance, processes, Path(name), hosts, settings=settings) as api:
            host = urlsplit(str(api.client.base_url)).netloc
            victim, flooder = (api.issuers[0].mint(f"{who}@example.com") for who in ("victim", "flooder"))
            with noop_server() as noop, noop_server() as flooded_noop:
                noops = (noop, flooded_noop)
                for some in (host, *noops):
                    for token in (victim, flooder):  # warm
                        Load(some, 10, 2, token).send(time.monotonic(), time.monotonic() + 1)
                with Bench(host, noops, victim, flooder, between=partial(_end_all, api.database)) as bench:
                    rounds = [bench.round(options.slices, options.seconds) for _ in range(options.rounds)]
    median = statistics.median(one.ratio for one in rounds)
    quiet = statistics.median(one.quiet for one in rounds)
    flooded = statistics.median(one.flooded for one in rounds)
    _say(
        f"median of {options.rounds}: {median:.2f}, where {ALLOWED} is allowed; "
        f"raw p99 {flooded:.1f} ms beside the flood, {quiet:.1f} ms quiet ({flooded / quiet:.2f})"
    )
    return 0 if median <= ALLOWED else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
