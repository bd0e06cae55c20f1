"""Calls per job: what a job costs, counted on the wires before both emulators and by the local Batch service.

Counted are jobs of a second, which end before their first check, as production's of less than a minute do; no
tick comes meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import grpc
from google.pubsub_v1.types import PublishRequest

from jennah.local.batch_faults import BatchFaults
from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample
from tests.benchmarks.pushes import CountedPushes
from tests.benchmarks.recording import Life, batch_calls
from tests.benchmarks.whole_cloud import WholeCloud
from tests.chaos.scene import RunFailed
from tests.integration.wire import Forward, Wire
from tests.simulation import long_job

FIGURE: Final = "calls"

_RPCS, _COMMITS, _BATCH = "Spanner RPCs", "Spanner commits", "Batch calls"
# The emulator serves one read-write transaction at a time and aborts what comes meanwhile: an artefact of it.
_ABORTED = "Spanner commits aborted"
_MESSAGES, _INVOCATIONS = "Pub/Sub messages", "function invocations"
_MOST: Final[Mapping[str, float]] = {_RPCS: 8, _COMMITS: 4, _BATCH: 2}
_MOST_UNDER_DUPLICATES: Final = 1.2
_EVERY: Final = 5
_DOUBLED: Final = f"{1 / _EVERY:.0%} pushed twice"
_WARM: Final = 10
# Of a job that ends as it starts both notifications come at once, and then one commits in vain. In production
# none does: Batch says RUNNING some time before the end.
_COMMANDS: Final = ("sleep", "1")
_PUSH_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05


def measure(life: Life, jobs: int, folder: Path, say: Callable[[str], None]) -> Run:
    """One run: with every message once, then with some of each topic pushed twice.

    The floor of the first is the life of one job alone, that of the second is the first. RPCs are all that
    were sent; commits are those that were not aborted, so one that collides with another's is counted.
    """
    with ExitStack() as stack:
        spanner = stack.enter_context(closing(Wire(lambda: whole.cloud.address_of("spanner"))))
        pubsub = stack.enter_context(closing(Wire(lambda: whole.cloud.address_of("pubsub"))))
        settings = {
            "SPANNER_EMULATOR_HOST": spanner.host,
            "PUBSUB_EMULATOR_HOST": pubsub.host,
            "JENNAH_TICK_SECONDS": "86400",
        }
        say("starting")
        # The wires ask where it is while it is entered.
        whole = WholeCloud(folder, settings, warm=_WARM, commands=_COMMANDS)
        stack.enter_context(whole)
        faults = stack.enter_context(BatchFaults(whole.cloud.address_of("batch")))
        pushed = stack.enter_context(CountedPushes(whole.cloud))
        whole.run(_WARM)  # through the doors

        refused: Counter[str] = Counter()

        def commit(forward: Forward) -> Iterator[bytes]:
            try:
                yield from forward()
            except grpc.RpcError as error:
                refused[error.code().name] += 1
                raise

        spanner.on_commit = commit

        def count() -> tuple[dict[str, float], dict[str, float]]:
            spanner.taken()
            pubsub.taken()
            refused.clear()
            pushes, doubled, asked = pushed.pushes.total(), pushed.doubled, batch_calls(faults)
            whole.run(jobs)
            deadline = time.monotonic() + _PUSH_SECONDS
            # One that is pushed twice may come after the end.
            while pushed.pushes.total() - pushes < _messages(pubsub) + pushed.doubled - doubled:
                if time.monotonic() > deadline:
                    raise RunFailed(f"a message was not pushed within {_PUSH_SECONDS:.0f} s.")
                time.sleep(_LOOK_SECONDS)
            messages = _messages(pubsub)
            rpcs = Counter(spanner.calls) + Counter({f"Commit {code}": n for code, n in refused.items()})
            kinds = {kind: number / jobs for kind, number in sorted(rpcs.items())}
            counted = {
                _RPCS: len(spanner.calls),
                _COMMITS: spanner.calls.count("Commit") - refused["ABORTED"],
                _ABORTED: refused["ABORTED"],
                _BATCH: batch_calls(faults) - asked,
                _MESSAGES: messages,
                _INVOCATIONS: jobs + pushed.pushes.total() - pushes,
            }
            return {name: number / jobs for name, number in counted.items()}, kinds

        say("each message once")
        once, kinds = count()
        say(_DOUBLED)
        pushed.every = _EVERY
        twice, doubled_kinds = count()
        whole.require_all_final()
    alone = {
        _RPCS: life.rpcs,
        _COMMITS: life.commits,
        _ABORTED: life.commits,
        _BATCH: life.batch_calls,
        _MESSAGES: 1 + life.notifications,
        _INVOCATIONS: 2 + life.notifications,
    }
    samples = [Sample(_measure(name), value, alone[name]) for name, value in once.items()]
    samples += [
        Sample(_under_duplicates(name), value, once[name])
        for name, value in twice.items()
        if name != _ABORTED
    ]
    samples += [
        Sample(
            Measure(FIGURE, f"{name}, job of {long_job.MINUTES} min", "per job", "one life alone"),
            value,
            alone[name],
        )
        for name, value in long_job.measure().items()
    ]
    return Run(
        samples,
        {
            "jobs": jobs,
            "rpcs": kinds,
            "rpcs_under_duplicates": doubled_kinds,
            "pushed_twice": pushed.doubled,
        },
    )


def _messages(pubsub: Wire) -> int:
    """How many were published."""
    return sum(len(PublishRequest.deserialize(request).messages) for request in pubsub.requests)


def _measure(name: str) -> Measure:
    goal = Goal(Bound.VALUE_AT_MOST, _MOST[name]) if name in _MOST else None
    return Measure(FIGURE, name, "per job", "one life alone", goal)


def _under_duplicates(name: str) -> Measure:
    goal = Goal(Bound.RATIO_AT_MOST, _MOST_UNDER_DUPLICATES) if name in _MOST else None
    return Measure(FIGURE, f"{name}, {_DOUBLED}", "per job", "without", goal)
