"""Notification latency: from the end of a task's process to the commit of COMPLETED.

Beside it stands what the Pub/Sub emulator alone takes from a publish to a push that does nothing: most of
either is the emulator's, which looks for messages to push in rounds.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

from google.pubsub_v1.types import PubsubMessage

from jennah.local.batch_runner import Run as RanTask
from jennah.local.batch_runner import read_ledger
from jennah.local.cloud import LocalCloud
from jennah.local.processes import Processes
from jennah.local.pubsub import LocalPubsub
from shared.batch_ids import parse_batch_id
from shared.publisher import connect
from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample, percentile
from tests.benchmarks.floors import start_noop
from tests.benchmarks.steady_load import Load
from tests.benchmarks.whole_cloud import WholeCloud
from tests.chaos.scene import RunFailed

FIGURE: Final = "notify"
RATE: Final = 20.0

_TOPIC: Final = "noop"
_P50: Final = Goal(Bound.RATIO_AT_MOST, 2)
_THREADS: Final = 8
_WARM: Final = 20
_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


def measure(jobs: int, folder: Path, say: Callable[[str], None]) -> Run:
    """One run: the emulator's own pushes, then `jobs` jobs, both at the same rate."""
    with ExitStack() as stack:
        say("starting")
        whole = stack.enter_context(WholeCloud(folder, {"JENNAH_TICK_SECONDS": "86400"}, warm=_WARM))
        noop = start_noop(stack.enter_context(Processes(folder / "noop")), "pushed-to")
        say("pushes of the emulator")
        pushes = _pushes_of(whole.cloud, noop, jobs)
        say(f"{RATE:.0f} jobs a second")
        latencies = _notified(whole, jobs)
    samples = []
    for percent, goal in ((50, _P50), (99, None)):
        name, floor = f"p{percent} to COMPLETED at {RATE:.0f}/s", f"the emulator's push, p{percent}"
        value, least = percentile(latencies, percent), percentile(pushes, percent)
        samples.append(Sample(Measure(FIGURE, name, "ms", floor, goal), 1000 * value, 1000 * least))
    return Run(samples, {"jobs": jobs})


def _notified(whole: WholeCloud, jobs: int) -> list[float]:
    begin = time.monotonic()
    load = Load(whole.host, RATE, _THREADS, whole.token)
    whole.finished_after(jobs, lambda: load.send(begin, begin + (jobs + 0.5) / RATE))
    ended = {parse_batch_id(run.job)[0].job_id: _at(run.end) for run in _ledger(whole.cloud)}
    return [_at(at) - ended[job] for job, at in whole.completions()][-jobs:]


def _pushes_of(cloud: LocalCloud, noop: str, count: int) -> list[float]:
    """How many seconds after it was published, at `RATE`, each message was in the hands of a function."""
    project, host = cloud.env["GOOGLE_CLOUD_PROJECT"], cloud.address_of("pubsub")
    LocalPubsub(host, project).create_pushed_topic(_TOPIC, noop)
    with connect(host) as client:
        began, published = time.monotonic(), {}
        for number in range(_WARM + count):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            published[str(number)] = time.time()
            message = PubsubMessage(attributes={"number": str(number)})
            client.publish(topic=f"projects/{project}/topics/{_TOPIC}", messages=[message])
    arrived = _wait_for(noop, len(published))
    return [arrived[number] - at for number, at in published.items()][_WARM:]


def _wait_for(noop: str, count: int) -> dict[str, float]:
    deadline = time.monotonic() + _SECONDS
    while len(arrived := _arrivals(noop)) < count:
        if time.monotonic() > deadline:
            raise RunFailed(f"the emulator did not push every message in {_SECONDS:.0f} s.")
        time.sleep(_LOOK_SECONDS)
    return arrived


def _arrivals(noop: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{noop}arrivals", timeout=30) as answer:
        arrivals: dict[str, float] = json.loads(answer.read())
    return arrivals


def _ledger(cloud: LocalCloud) -> list[RanTask]:
    return read_ledger(Path(cloud.env["JENNAH_BATCH_DIRECTORY"]))


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
