"""What the benchmarks subtract and judge; their figures are measured by hand."""

from __future__ import annotations

import time

from tests.benchmarks import noisy_neighbour, streams
from tests.benchmarks.noisy_neighbour import Bench, Round
from tests.benchmarks.steady_load import Figures, Load, noop_server


def test_the_generators_cost_is_never_measured_at_the_flooded_server() -> None:
    bench = Bench("api", ("noop", "flooded-noop"), "v", "f")
    kinds = [getattr(noisy_neighbour, name) for name in ("QUIET", "FLOODED", "QUIET_NOOP", "FLOODED_NOOP")]
    hosts = [(victim.host, flood and flood.host) for victim, flood in map(bench.loads, kinds)]
    assert hosts == [("api", None), ("api", "api"), ("noop", None), ("noop", "flooded-noop")]


def test_what_waits_behind_the_flood_counts_for_the_victim() -> None:
    assert Round(quiet=20, flooded=80, own_quiet=15, own_flooded=75).ratio == 5
    assert Round(quiet=2, flooded=2, own_quiet=-1, own_flooded=0.5).ratio == 1


def test_a_server_that_does_nothing_answers_each_request() -> None:
    with noop_server() as host:
        begin = time.monotonic()
        latencies, statuses = Load(host, 100, 2, "t").send(begin, begin + 0.2)
    assert (len(latencies), statuses) == (20, {201: 20})


def test_streams_are_judged_by_the_slowest_submissions_too() -> None:
    quiet, slow = Figures(100, 10, 20), Figures(100, 10, 60)
    assert streams.ratios([(quiet, quiet), (quiet, slow), (quiet, slow)]) == (1, 3)
