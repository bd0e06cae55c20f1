"""Chaos on real processes: the local cloud under every fault at once, judged from outside.

    python -m tests.chaos --jobs 2000 [--seed N] [--keep]

Jobs are submitted over HTTP while functions are killed every 2 s on average, notifications are doubled, lost,
delayed and reordered, and calls of Spanner and Batch fail with and without effect. Then the faults stop; all
jobs must be final within 120 s, four books must agree (`books`), and every kind of fault must have struck as
often as chance allows (`minimums`). The last line is the figure; the exit
code is 1 if anything was wrong. The seed makes the same jobs and chooses the same faults; as processes run
side by side, no two runs are the same to the byte.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from jennah.local.batch_runner import read_ledger
from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port
from jennah.render import show
from shared.config import Settings
from tests.chaos.books import (
    Offence,
    Wrong,
    at_work,
    batch_states,
    checked,
    compare,
    owed,
    read_rows,
    told_otherwise,
    unexplained,
)
from tests.chaos.load import Load, plan
from tests.chaos.retold import Output, retell
from tests.chaos.scene import Progress, RunFailed, count_jobs, open_database, run_in_folder
from tests.chaos.trouble import Trouble
from tests.chaos.wire import PUBSUB_SHARES, SPANNER_SHARES, FaultyWire

_FINAL_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.25
_MOST_SHOWN: Final = 20


class Chaos:
    """One run.

    Args:
        jobs: how many to submit.
        seed: of all random choices.
        folder: for the cloud, and for the journal if something is wrong.
        progress: where to show what happens.
    """

    def __init__(self, jobs: int, seed: int, folder: Path, progress: Progress) -> None:
        self._submissions = plan(jobs, random.Random(seed))
        self._seed = seed
        self._folder = folder
        self._outputs = folder / "outputs"
        self._progress = progress
        self._counts: Mapping[str, int] = {}
        self._refusals: Counter[str] = Counter()
        self._told: Counter[str] = Counter()

    def run(self) -> tuple[str, list[Offence]]:
        """Do it all, and leave the journal in the folder; return the figure and what was wrong."""
        self._progress.phase("starting a local cloud")
        with (
            FaultyWire(lambda: cloud.address_of("spanner"), self._seed, SPANNER_SHARES) as spanner,
            FaultyWire(lambda: cloud.address_of("pubsub"), self._seed, PUBSUB_SHARES) as pubsub,
            self._journal_at_the_end(),
        ):
            self._outputs.mkdir()
            settings = {"SPANNER_EMULATOR_HOST": spanner.address, "PUBSUB_EMULATOR_HOST": pubsub.address}
            cloud = LocalCloud(self._folder, free_port(), settings=settings, outputs=self._outputs)
            with cloud:
                return self._perform(cloud, {"Spanner": spanner, "Pub/Sub": pubsub})

    def _perform(self, cloud: LocalCloud, wires: Mapping[str, FaultyWire]) -> tuple[str, list[Offence]]:
        database = open_database(cloud)
        self._progress.phase(f"submitting {len(self._submissions)} jobs under faults")
        trouble = Trouble(cloud, wires, self._seed)
        with Load(cloud, self._submissions, random.Random(self._seed)) as load:
            with trouble:
                while not load.done:
                    _require_running(cloud)
                    load.finished, _ = count_jobs(database)
                    self._show(load, trouble)
                    time.sleep(_POLL_SECONDS)
            self._counts, self._refusals = trouble.counts, load.refusals
            wrong = [Offence(Wrong.TOO_HARMLESS, *few) for few in trouble.too_few(load.finished)]
            stopped = time.monotonic()
            self._progress.phase("the faults have stopped: waiting for the rest")
            unfinished = len(self._submissions)
            while unfinished and time.monotonic() - stopped < _FINAL_SECONDS:
                _require_running(cloud)
                time.sleep(_POLL_SECONDS)
                load.finished, unfinished = count_jobs(database)
                self._show(load, trouble)
            took = time.monotonic() - stopped
        parent = Settings.from_env(cloud.env).batch_parent
        address = cloud.address_of("batch")
        while (
            at_work(states := batch_states(address, parent)) or owed(database, states)
        ) and time.monotonic() - stopped < _FINAL_SECONDS:
            time.sleep(_POLL_SECONDS)
        self._progress.phase("comparing the books")
        runs = read_ledger(Path(cloud.env["JENNAH_BATCH_DIRECTORY"]))
        rows, output = read_rows(database), Output.read(self._outputs.iterdir())
        wrong += compare(self._submissions, rows, runs, states)
        wrong += told_otherwise(output, rows)
        wrong += unexplained(output, self._counts["kills"])
        self._told = Counter(
            lines=len(output.lines),
            torn=len(output.torn),
            filled=sum(one.filled for one in retell(output).values()),
        )
        wrong += checked({**cloud.env, "SPANNER_EMULATOR_HOST": cloud.address_of("spanner")})
        return self._figure(wrong, load.finished, took), wrong

    @contextmanager
    def _journal_at_the_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            lines = (json.dumps(asdict(submission)) + "\n" for submission in self._submissions)
            (self._folder / "journal.jsonl").write_text("".join(lines))

    def _show(self, load: Load, trouble: Trouble) -> None:
        self._progress.update(
            {
                "acknowledged": load.acknowledged,
                "final": load.finished,
                "cancelled": load.cancellations,
                **trouble.counts,
                **load.refusals,
            }
        )

    def _figure(self, wrong: list[Offence], final: int, took: float) -> str:
        counts = self._counts
        by_kind = Counter(offence.wrong for offence in wrong)
        told, otherwise = self._told, by_kind[Wrong.TOLD_OTHERWISE]
        others = by_kind.total() - by_kind[Wrong.LOST] - by_kind[Wrong.RUN_TWICE] - otherwise
        creates = sum(count for name, count in counts.items() if name.startswith("creates"))
        return (
            f"{len(self._submissions)} jobs, {counts['kills']} kills, "
            f"{counts['doubled']} notifications doubled, {counts['dropped']} dropped, "
            f"{counts['delayed'] + counts['reordered']} late, {counts['Spanner faults']} Spanner and "
            f"{counts['Pub/Sub faults']} Pub/Sub faults, "
            f"{creates} Batch creates failed, {self._refusals.total()} requests repeated: "
            f"{by_kind[Wrong.LOST]} lost, {by_kind[Wrong.RUN_TWICE]} run twice, "
            f"{final} final {took:.1f} s after the faults stopped, "
            f"{otherwise} told otherwise by {told['lines']} lines ({told['filled']} transitions by "
            f"announcement alone, {told['torn']} lines torn), "
            + (f"{others} other errors" if others else "check clean")
        )


def _require_running(cloud: LocalCloud) -> None:
    if cloud.failure:
        raise RunFailed(cloud.failure)


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos on real processes.")
    parser.add_argument("--jobs", type=int, default=200, help="how many to submit (default: 200)")
    parser.add_argument("--seed", type=int, help="of all random choices (default: a new one)")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the cloud")
    chosen = parser.parse_args()
    if chosen.jobs < 1:
        parser.error("--jobs must be at least 1")
    seed = random.randrange(1_000_000) if chosen.seed is None else chosen.seed

    def body(folder: Path, console: Console) -> str:
        show(console, Text(f"seed {seed}"))
        with Progress(console) as progress:
            chaos = Chaos(chosen.jobs, seed, folder, progress)
            figure, wrong = chaos.run()
        if wrong:
            for offence in wrong[:_MOST_SHOWN]:
                show(console, Text(str(offence), style="red"))
            if len(wrong) > _MOST_SHOWN:
                show(console, Text(f"… and {len(wrong) - _MOST_SHOWN} more"))
            raise RunFailed(f"{figure} (seed {seed})")
        return figure

    return run_in_folder("chaos", body, keep=chosen.keep, seconds=300 + chosen.jobs)


if __name__ == "__main__":
    sys.exit(main())
