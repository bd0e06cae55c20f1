"""Faults between the functions and Spanner: a gRPC proxy before the emulator that loses calls and answers.

The emulator's own `--enable_fault_injection` only aborts commits. What breaks systems is an outcome that
nobody knows: the commit was applied and its answer lost, or it arrives after its caller has given up.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import suppress
from enum import StrEnum
from functools import cache
from typing import Final

import grpc

_THREADS: Final = 32
_CALL_SECONDS: Final = 30.0
_LATE_SECONDS: Final = 0.5

_READS: Final = frozenset({"Read", "StreamingRead", "ExecuteSql", "ExecuteStreamingSql"})


class SpannerFault(StrEnum):
    """What can happen to a call."""

    READ_UNAVAILABLE = "read unavailable"
    COMMIT_ABORTED = "commit aborted"
    COMMIT_UNAVAILABLE = "commit unavailable"
    COMMIT_NEVER_ARRIVED = "commit timed out, never applied"
    COMMIT_ANSWER_LOST = "commit timed out, applied"
    COMMIT_LATE = "commit timed out, applied later"


SHARES: Final[Mapping[SpannerFault, float]] = {
    SpannerFault.READ_UNAVAILABLE: 0.01,
    SpannerFault.COMMIT_ABORTED: 0.04,
    SpannerFault.COMMIT_UNAVAILABLE: 0.02,
    SpannerFault.COMMIT_NEVER_ARRIVED: 0.01,
    SpannerFault.COMMIT_ANSWER_LOST: 0.02,
    SpannerFault.COMMIT_LATE: 0.01,
}
"""How often each befalls a read or a commit in the chaos run."""


class SpannerWire(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc brings no types
    """The proxy. A context manager: leaving it ends it.

    Args:
        target: says where the emulator is, once somebody calls.
        seed: of the choice of calls.
        shares: of reads, or of commits, that each fault befalls.

    Attributes:
        address: where it listens ("127.0.0.1:port").
        faulty: whether it commits faults; it does not from the start.
        committed: the faults so far.
    """

    def __init__(
        self, target: Callable[[], str], seed: int, shares: Mapping[SpannerFault, float] = SHARES
    ) -> None:
        self.faulty = False
        self.committed: Counter[SpannerFault] = Counter()
        self._random = random.Random(seed)
        self._choosing = threading.Lock()
        self._target = target
        self._shares = shares
        self._channel_to = cache(grpc.insecure_channel)
        self._server = grpc.server(futures.ThreadPoolExecutor(_THREADS), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> SpannerWire:
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
                code = _befall(fault, forward)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            else:
                context.abort(code, f"a fault of the wire to Spanner: {fault}")

        return grpc.unary_stream_rpc_method_handler(handle)

    def _choose(self, method: str) -> SpannerFault | None:
        """What befalls this call."""
        if method not in _READS and method != "Commit":
            return None
        with self._choosing:
            if not self.faulty:
                return None
            place = self._random.random()
            for fault, share in self._shares.items():
                if (method in _READS) is (fault is SpannerFault.READ_UNAVAILABLE):
                    if place < share:
                        self.committed[fault] += 1
                        return fault
                    place -= share
        return None


def _befall(fault: SpannerFault, forward: Callable[[], Iterator[bytes]]) -> grpc.StatusCode:
    """Do to a call what the fault says, and return its answer."""
    match fault:
        case SpannerFault.COMMIT_ABORTED:
            return grpc.StatusCode.ABORTED
        case SpannerFault.READ_UNAVAILABLE | SpannerFault.COMMIT_UNAVAILABLE:
            return grpc.StatusCode.UNAVAILABLE
        case SpannerFault.COMMIT_ANSWER_LOST:
            list(forward())
        case SpannerFault.COMMIT_LATE:
            late = threading.Timer(_LATE_SECONDS, _send, [forward])
            late.daemon = True
            late.start()
        case SpannerFault.COMMIT_NEVER_ARRIVED:
            pass
    return grpc.StatusCode.DEADLINE_EXCEEDED


def _send(forward: Callable[[], Iterator[bytes]]) -> None:
    with suppress(grpc.RpcError):  # nobody waits for this answer
        list(forward())
