"""gRPC in front of the front, on the event loop that HTTP runs on. Event loop.

Each service of GRPC_PROTOCOLS is one generic handler without (de)serializers: bytes in, bytes out.
What a protocol and this adapter tell each other stands in `server/protocols/grpc_protocol.py`. grpc
itself answers unknown services and methods (UNIMPLEMENTED), inflates gzip and deflate, and cancels
the handler's coroutine when the client goes away or its deadline passes, which takes its rows out
of the queue.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

# What grpc's core has to say, it would write between the entries of the log, and not as they are.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from multidict import CIMultiDict

from server.exchange import Answer, Exchange
from server.front import Front
from server.protocols.grpc_protocol import GrpcProtocol
from server.protocols.over_grpc import GRPC_PROTOCOLS

UNLIMITED: Final = -1


class GrpcServer:
    """Listens on one address, for each of the protocols."""

    def __init__(self, front: Front, protocols: Sequence[GrpcProtocol] = GRPC_PROTOCOLS) -> None:
        self._front = front
        self._protocols = protocols
        self._server: Any = None
        self._streaming: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def open(self, host: str, port: int) -> str:
        """Begin to accept connections; returns the address with its port. OSError."""
        await _check(host, port)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._front.max_body_size),
                ("grpc.max_send_message_length", UNLIMITED),
                # A second server on the port would take half of the connections, and nobody know.
                ("grpc.so_reuseport", 0),
            ]
        )
        server.add_generic_rpc_handlers([self._service(each) for each in self._protocols])
        shown = f"[{host}]" if ":" in host else host
        try:
            bound = server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await server.start()
        self._server = server
        return f"grpc://{shown}:{bound}"

    async def close(self, timeout: float) -> None:
        """Accept nothing more; let answers under way go out, for `timeout` seconds; disconnect.

        Streams have no end of their own and are ended at once, UNAVAILABLE.
        """
        if self._server is not None:
            self._closing = True
            for task in self._streaming:
                task.cancel()
            await self._server.stop(timeout)

    def _service(self, protocol: GrpcProtocol) -> Any:
        return grpc.method_handlers_generic_handler(
            protocol.service,
            {
                method: grpc.stream_stream_rpc_method_handler(self._stream(protocol, method))
                if method in protocol.streams
                else grpc.unary_unary_rpc_method_handler(self._unary(protocol, method))
                for method in protocol.methods
            },
        )

    def _unary(
        self, protocol: GrpcProtocol, method: str
    ) -> Callable[[bytes, Any], Awaitable[bytes]]:
        target = f"/{protocol.service}/{method}"

        async def handle(body: bytes, context: Any) -> bytes:
            answer = await self._front.handle(_exchange(target, body, context), protocol)
            _end(context, answer)
            return answer.body

        return handle

    def _stream(
        self, protocol: GrpcProtocol, method: str
    ) -> Callable[[AsyncIterator[bytes], Any], Awaitable[None]]:
        target = f"/{protocol.service}/{method}"

        async def handle(bodies: AsyncIterator[bytes], context: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._streaming.add(task)
            try:
                async for body in bodies:
                    answer = await self._front.handle(_exchange(target, body, context), protocol)
                    if answer.status:
                        _end(context, answer)
                        return
                    await _write(context, answer)
            except asyncio.CancelledError:
                if not self._closing:
                    raise
                context.set_code(grpc.StatusCode.UNAVAILABLE)
                context.set_details("the server is shutting down")
            finally:
                self._streaming.discard(task)

        return handle


async def _write(context: Any, answer: Answer) -> None:
    await context.write(answer.body)
    if answer.more is not None:
        async with contextlib.aclosing(answer.more):
            async for message in answer.more:
                await context.write(message)


async def _check(host: str, port: int) -> None:
    """Whether one can listen there. OSError in the system's words, which grpc keeps to itself."""
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    listener.close()
    await listener.wait_closed()


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def _exchange(target: str, body: bytes, context: Any) -> Exchange:
    headers = CIMultiDict(
        (name, value) for name, value in context.invocation_metadata() if isinstance(value, str)
    )
    timeout = context.time_remaining()
    return Exchange("POST", target, headers, body, timeout=timeout, is_web=False)


def _end(context: Any, answer: Answer) -> None:
    """Tell grpc the status of a call; what the handler returns after an error is not sent."""
    if answer.headers:
        context.set_trailing_metadata(
            tuple((name.lower(), value) for name, value in answer.headers.items())
        )
    if answer.status:
        context.set_code(_CODES[answer.status])
        context.set_details(answer.body.decode(errors="ignore"))
