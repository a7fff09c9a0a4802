"""gRPC's own health checks: which services take requests. Event loop.

Written after grpc/grpc `doc/health-checking.md`. All services here take requests or none does; ""
is the server as a whole. `Watch` tells each change until the client goes.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from server.errors import NotFound
from server.exchange import Answer, Exchange
from server.protocols.grpc_protocol import PROTOBUF, GrpcProtocol, reply
from server.protocols.protocol import Call, Serving
from server.protocols.wire import message, parse

_Request: Final = message("grpc.health.v1.HealthCheckRequest")
_Response: Final = message("grpc.health.v1.HealthCheckResponse")
_ListResponse: Final = message("grpc.health.v1.HealthListResponse")


class Health(GrpcProtocol):
    """Open to everybody, as probes are. Knows `services` by their full names and their short ones.

    The short ones are what TensorFlow Serving calls its own.
    """

    name = "grpc_health"
    service = "grpc.health.v1.Health"
    streams = ("Watch",)

    def __init__(self, services: Sequence[GrpcProtocol]) -> None:
        full = {each.service for each in (*services, self)}
        self._services = {""} | full | {name.rpartition(".")[2] for name in full}
        self.methods = {"Check": self._check, "List": self._list, "Watch": self._watch}

    def _check(self, exchange: Exchange) -> Call:
        service = parse(_Request, exchange.body).service

        async def run(serving: Serving) -> Answer:
            if service not in self._services:
                msg = f"there is no service {service!r} here"
                raise NotFound(msg)
            return reply(_health(serving.ready))

        return Call(run, is_open=True)

    def _list(self, exchange: Exchange) -> Call:
        async def run(serving: Serving) -> Answer:
            told = _ListResponse()
            for service in self._services:
                told.statuses[service].CopyFrom(_health(serving.ready))
            return reply(told)

        return Call(run, is_open=True)

    def _watch(self, exchange: Exchange) -> Call:
        service = parse(_Request, exchange.body).service

        async def run(serving: Serving) -> Answer:
            if service not in self._services:
                unknown = _Response(status="SERVICE_UNKNOWN").SerializeToString()
                return Answer(0, unknown, PROTOBUF, more=_nothing())
            answer = reply(_health(serving.ready))
            answer.more = _changes(serving, serving.ready)
            return answer

        return Call(run, is_open=True)


def _health(ready: bool) -> Any:  # noqa: FBT001 - a state that becomes another word for it
    return _Response(status="SERVING" if ready else "NOT_SERVING")


async def _changes(serving: Serving, told: bool) -> AsyncGenerator[bytes, None]:  # noqa: FBT001 - as above
    """The state whenever it is no longer the one told last."""
    while True:
        told = not told
        await serving.until(ready=told)
        yield _health(told).SerializeToString()


async def _nothing() -> AsyncGenerator[bytes, None]:
    """No service comes later that was not there from the start."""
    await asyncio.Event().wait()
    yield b""
