"""A wire between a client and an emulator that a test can listen to, and cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from functools import cache

import grpc

Answers = Iterator[bytes]
Forward = Callable[[], Answers]


class Wire(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc brings no types
    """A gRPC proxy before the emulator: counts the calls of data, and does to commits what a test says.

    Args:
        target: where the emulator is; a function is asked once somebody calls.
    """

    def __init__(self, target: str | Callable[[], str]) -> None:
        self.calls: list[str] = []
        self.requests: list[bytes] = []
        self.on_commit: Callable[[Forward], Answers] = lambda forward: forward()
        self._channel = cache(lambda: grpc.insecure_channel(target if isinstance(target, str) else target()))
        self._server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[self])
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Handle every method there is."""
        method = handler_call_details.method
        name = method.rpartition("/")[2]

        def handle(request: bytes, context: grpc.ServicerContext) -> Answers:
            metadata = context.invocation_metadata()
            call = self._channel().unary_stream(method)

            def forward() -> Answers:
                return iter(call(request, metadata=metadata, timeout=30))

            if "Session" not in name:
                self.calls.append(name)
                self.requests.append(request)
            try:
                yield from self.on_commit(forward) if name == "Commit" else forward()
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            except TimeoutError:
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "as the test wanted")

        return grpc.unary_stream_rpc_method_handler(handle)

    def taken(self) -> Counter[str]:
        """The calls since the last look, by method."""
        taken = Counter(self.calls)
        self.calls.clear()
        self.requests.clear()
        return taken

    def close(self) -> None:
        """End it."""
        self._server.stop(None).wait()
        if self._channel.cache_info().currsize:
            self._channel().close()


def applied_and_answer_lost(forward: Forward) -> Answers:
    """The commit is applied, its caller times out."""
    list(forward())
    raise TimeoutError


def never_arrived(_: Forward) -> Answers:
    """The commit is lost on its way, its caller times out."""
    raise TimeoutError
