"""Faults on the way to Spanner and Pub/Sub: a gRPC proxy before an emulator that loses calls and answers.

The Spanner emulator's own `--enable_fault_injection` only aborts commits, and the other has none. What breaks
systems is an outcome that nobody knows: the call took effect and its answer was lost, or it arrives after its
caller has given up.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final, Self

import grpc

from tests.chaos.minimums import Strikes

_THREADS: Final = 32
_CALL_SECONDS: Final = 30.0
_LATE_SECONDS: Final = 0.5


class Effect(Enum):
    """When a call that fails takes effect all the same."""

    NEVER = "never"
    AT_ONCE = "at once"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Fault:
    """What can happen to a call.

    Attributes:
        name: for people.
        methods: which calls it can befall.
        code: what the caller is told.
        effect: what becomes of the call.
    """

    name: str
    methods: frozenset[str]
    code: grpc.StatusCode = grpc.StatusCode.DEADLINE_EXCEEDED
    effect: Effect = Effect.NEVER


_READ = frozenset({"Read", "StreamingRead", "ExecuteSql", "ExecuteStreamingSql"})
_COMMIT, _PUBLISH = frozenset({"Commit"}), frozenset({"Publish"})

READ_UNAVAILABLE = Fault("read unavailable", _READ, grpc.StatusCode.UNAVAILABLE)
COMMIT_ABORTED = Fault("commit aborted", _COMMIT, grpc.StatusCode.ABORTED)
COMMIT_UNAVAILABLE = Fault("commit unavailable", _COMMIT, grpc.StatusCode.UNAVAILABLE)
COMMIT_NEVER_ARRIVED = Fault("commit timed out, never applied", _COMMIT)
COMMIT_ANSWER_LOST = Fault("commit timed out, applied", _COMMIT, effect=Effect.AT_ONCE)
COMMIT_LATE = Fault("commit timed out, applied later", _COMMIT, effect=Effect.LATER)
PUBLISH_REFUSED = Fault("publish refused", _PUBLISH, grpc.StatusCode.PERMISSION_DENIED)
PUBLISH_UNAVAILABLE = Fault("publish unavailable", _PUBLISH, grpc.StatusCode.UNAVAILABLE)
PUBLISH_NEVER_ARRIVED = Fault("publish timed out, never done", _PUBLISH)
PUBLISH_ANSWER_LOST = Fault("publish timed out, done", _PUBLISH, effect=Effect.AT_ONCE)
PUBLISH_LATE = Fault("publish timed out, done later", _PUBLISH, effect=Effect.LATER)

Shares = Mapping[Fault, float]
"""How often each fault befalls a call that it can befall."""

SPANNER_SHARES: Final[Shares] = {
    READ_UNAVAILABLE: 0.01,
    COMMIT_ABORTED: 0.04,
    COMMIT_UNAVAILABLE: 0.02,
    COMMIT_NEVER_ARRIVED: 0.01,
    COMMIT_ANSWER_LOST: 0.02,
    COMMIT_LATE: 0.01,
}
PUBSUB_SHARES: Final[Shares] = {
    PUBLISH_REFUSED: 0.02,
    PUBLISH_UNAVAILABLE: 0.02,
    PUBLISH_NEVER_ARRIVED: 0.02,
    PUBLISH_ANSWER_LOST: 0.02,
    PUBLISH_LATE: 0.02,
}


class FaultyWire(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc brings no types
    """The proxy. A context manager: leaving it ends it.

    Args:
        target: says where the emulator is, once somebody calls.
        seed: of the choice of calls.
        shares: which faults, and how often.

    Attributes:
        address: where it listens ("127.0.0.1:port").
        faulty: whether it commits faults; it does not from the start.
        committed: the faults so far.
        occasions: how often each of them could have been committed.
    """

    def __init__(self, target: Callable[[], str], seed: int, shares: Shares) -> None:
        self.faulty = False
        self.committed: Counter[Fault] = Counter()
        self.occasions: Counter[Fault] = Counter()
        self._random = random.Random(seed)
        self._choosing = threading.Lock()
        self._target = target
        self._shares = shares
        self._channel_to = cache(grpc.insecure_channel)
        self._server = grpc.server(futures.ThreadPoolExecutor(_THREADS), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Handle every method there is."""
        method = handler_call_details.method
        name = method.rpartition("/")[2]

        def handle(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            metadata = context.invocation_metadata()
            call = self._channel_to(self._target()).unary_stream(method)

            def forward() -> Iterator[bytes]:
                return iter(call(request, metadata=metadata, timeout=_CALL_SECONDS))

            try:
                fault = self._choose(name)
                if fault is None:
                    yield from forward()
                    return
                _befall(fault, forward)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            else:
                context.abort(fault.code, f"a fault of the wire: {fault.name}")

        return grpc.unary_stream_rpc_method_handler(handle)

    def strikes(self) -> list[Strikes]:
        """What each of its faults has done."""
        return [
            Strikes(fault.name, share, self.occasions[fault], self.committed[fault])
            for fault, share in self._shares.items()
        ]

    def _choose(self, method: str) -> Fault | None:
        """What befalls this call."""
        possible = {fault: share for fault, share in self._shares.items() if method in fault.methods}
        if not possible:
            return None
        with self._choosing:
            if not self.faulty:
                return None
            self.occasions.update(possible.keys())
            place = self._random.random()
            for fault, share in possible.items():
                if place < share:
                    self.committed[fault] += 1
                    return fault
                place -= share
        return None


def _befall(fault: Fault, forward: Callable[[], Iterator[bytes]]) -> None:
    """Let a call that fails take what effect it has."""
    if fault.effect is Effect.AT_ONCE:
        list(forward())
    elif fault.effect is Effect.LATER:
        late = threading.Timer(_LATE_SECONDS, _send, [forward])
        late.daemon = True
        late.start()


def _send(forward: Callable[[], Iterator[bytes]]) -> None:
    with suppress(grpc.RpcError):  # nobody waits for this answer
        list(forward())
