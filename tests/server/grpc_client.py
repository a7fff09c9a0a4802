"""Real stubs on the loop of the `served` fixture, which moves only while a test waits for it."""

from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio


class GrpcClient:
    """A connection to one address; `channel` is for making stubs."""

    def __init__(
        self,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        address: str,
        *options: tuple[str, Any],
    ) -> None:
        self._run = run
        self.channel = run(self._connect(address, options))

    def call(self, method: Any, request: Any, **options: Any) -> Any:
        """The reply of a stub's unary method. grpc.RpcError."""
        return self._run(self._wait(method, request, options))

    def refused(self, method: Any, request: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
        """Code and text of the error that a unary method is expected to end in."""
        try:
            reply = self.call(method, request, **options)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code, error.details()
        msg = f"expected an error, got {reply}"
        raise AssertionError(msg)

    def bytes_to(self, method: str) -> Any:
        """A unary method by its full name, to send any bytes to and get bytes from."""
        return self.channel.unary_unary(method)

    def close(self) -> None:
        """End the connection."""
        self._run(self.channel.close())

    async def _connect(self, address: str, options: tuple[tuple[str, Any], ...]) -> Any:
        return grpc.aio.insecure_channel(address, options)

    async def _wait(self, method: Any, request: Any, options: dict[str, Any]) -> Any:
        return await method(request, **options)
