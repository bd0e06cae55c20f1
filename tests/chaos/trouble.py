"""The faults: functions killed, notifications doubled, lost and late, Batch, Spanner and Pub/Sub ailing."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from typing import Final

import grpc

from jennah.local.batch_faults import BatchFaults, Fault
from jennah.local.batch_jobs import JobState
from jennah.local.cloud import LocalCloud
from jennah.local.services import FUNCTIONS
from tests.chaos.wire import FaultyWire

_SECONDS_BETWEEN_KILLS: Final = 2.0  # on average


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
        self._faults: Mapping[str, Fault] = {}
        self._acted: Mapping[str, int] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each kind of fault has struck."""
        acted = {name: fault.acted() for name, fault in self._faults.items()} or self._acted
        beneath = {f"{name} faults": wire.committed.total() for name, wire in self._wires.items()}
        return {"kills": self.kills, **acted, **beneath}

    def __enter__(self) -> Trouble:
        batch = self._batch
        self._faults = {
            "doubled": batch.double(share=0.2),
            "dropped": batch.drop(share=0.05),
            "delayed": batch.delay(by=3, share=0.05),
            "reordered": batch.reorder(JobState.RUNNING, times=None, share=0.1),
            "creates refused (503)": batch.answer("CreateJob", grpc.StatusCode.UNAVAILABLE, share=0.05),
            "creates refused (429)": batch.answer(
                "CreateJob", grpc.StatusCode.RESOURCE_EXHAUSTED, share=0.05
            ),
            "creates timed out": batch.time_out("CreateJob", times=None, share=0.05),
            "gets refused": batch.answer("GetJob", grpc.StatusCode.UNAVAILABLE, share=0.1),
            "lists refused": batch.answer("ListJobs", grpc.StatusCode.UNAVAILABLE, share=0.1),
            "cancels refused": batch.answer("CancelJob", grpc.StatusCode.UNAVAILABLE, share=0.1),
        }
        for wire in self._wires.values():
            wire.faulty = True
        self._killer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._killer.join()
        for wire in self._wires.values():
            wire.faulty = False
        self._acted = {name: fault.acted() for name, fault in self._faults.items()}
        self._faults = {}
        self._batch.clear()
        self._batch.close()

    def _kill(self) -> None:
        while not self._ended.wait(self._choose.expovariate(1 / _SECONDS_BETWEEN_KILLS)):
            self.kills += self._cloud.crash(self._choose.choice(list(FUNCTIONS)))
