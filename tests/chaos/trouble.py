"""The faults: functions killed, notifications doubled, lost and late, Batch, Spanner and Pub/Sub ailing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import grpc

from jennah.local.batch_faults import BatchFaults, Fault
from jennah.local.batch_jobs import JobState
from jennah.local.cloud import LocalCloud
from jennah.local.services import FUNCTIONS
from tests.chaos.minimums import SECONDS_BETWEEN_KILLS, Strikes, too_few
from tests.chaos.wire import FaultyWire

# Lists are made only where many checks are due, and cancels only where a job was cancelled late.
_RARE = frozenset({"lists refused", "cancels refused"})


class Trouble:
    """Everything that goes wrong, from entering to leaving.

    Args:
        cloud: whom it befalls.
        wires: before Spanner and Pub/Sub, by name.
        seed: of all choices.

    Attributes:
        kills: how many functions were killed.
    """

    def __init__(self, cloud: LocalCloud, wires: Mapping[str, FaultyWire], seed: int) -> None:
        self.kills = 0
        self._cloud = cloud
        self._wires = wires
        self._choose = random.Random(seed)
        self._ended = threading.Event()
        self._killer = threading.Thread(target=self._kill, name="killer", daemon=True)
        self._batch = BatchFaults(cloud.address_of("batch"), seed=seed)
        self._faults: Mapping[str, tuple[float, Fault]] = {}
        self._strikes: list[Strikes] = []
        self._began = self._seconds = 0.0
        self._killer_lived = True

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each kind of fault has struck."""
        acted = {strikes.name: strikes.struck for strikes in self._of_batch()}
        beneath = {f"{name} faults": wire.committed.total() for name, wire in self._wires.items()}
        return {"kills": self.kills, **acted, **beneath}

    def __enter__(self) -> Trouble:
        batch, gone, full = self._batch, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
        faults: Mapping[str, tuple[float, Callable[[float], Fault]]] = {
            "doubled": (0.2, lambda share: batch.double(share=share)),
            "dropped": (0.05, lambda share: batch.drop(share=share)),
            "delayed": (0.05, lambda share: batch.delay(by=3, share=share)),
            "reordered": (0.1, lambda share: batch.reorder(JobState.RUNNING, times=None, share=share)),
            "creates refused (503)": (0.05, lambda share: batch.answer("CreateJob", gone, share=share)),
            "creates refused (429)": (0.05, lambda share: batch.answer("CreateJob", full, share=share)),
            "creates timed out": (0.05, lambda share: batch.time_out("CreateJob", times=None, share=share)),
            "gets refused": (0.1, lambda share: batch.answer("GetJob", gone, share=share)),
            "lists refused": (0.1, lambda share: batch.answer("ListJobs", gone, share=share)),
            "cancels refused": (0.1, lambda share: batch.answer("CancelJob", gone, share=share)),
        }
        self._faults = {name: (share, make(share)) for name, (share, make) in faults.items()}
        self._began = time.monotonic()
        for wire in self._wires.values():
            wire.faulty = True
        self._killer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._killer_lived = self._killer.is_alive()
        self._ended.set()
        self._killer.join()
        self._seconds = time.monotonic() - self._began
        for wire in self._wires.values():
            wire.faulty = False
        self._strikes = self._of_batch()
        self._faults = {}
        self._batch.clear()
        self._batch.close()

    def too_few(self, finished: int) -> Iterator[tuple[str, str]]:
        """Which faults struck less often than chance allows, and how often; once they have stopped.

        `finished` is how many jobs were final by then.
        """
        if not self._killer_lived:
            yield "kills", f"the killer died after {self.kills}"
        kinds = [*self._strikes, *(strikes for wire in self._wires.values() for strikes in wire.strikes())]
        yield from too_few(kinds, kills=self.kills, seconds=self._seconds, finished=finished)

    def _of_batch(self) -> list[Strikes]:
        return [
            Strikes(name, share, fault.occasions(), fault.acted(), rare=name in _RARE)
            for name, (share, fault) in self._faults.items()
        ] or self._strikes

    def _kill(self) -> None:
        while not self._ended.wait(self._choose.expovariate(1 / SECONDS_BETWEEN_KILLS)):
            self.kills += self._cloud.crash(self._choose.choice(list(FUNCTIONS)))
