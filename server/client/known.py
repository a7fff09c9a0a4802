"""What a client has to know of its server before it can ask: found out once. Event loop."""

import asyncio

from server.client.attempts import Attempts
from server.client.dialect import ABOUT_SERVER, AUTO, DIALECTS, Dialect, dialect_of
from server.client.errors import BadAnswer, InvalidRequest, NotFound
from server.client.messages import Request
from server.client.metadata import ModelMetadata
from server.client.once import Once
from server.inference import ModelAddress


class Known:
    """What is spoken, and the metadata of models. `timeout` are the seconds of each question."""

    def __init__(self, attempts: Attempts, protocol: str, timeout: float) -> None:
        self._attempts = attempts
        self._protocol = protocol
        self._timeout = timeout
        self._dialects: Once[Dialect] = Once()
        self._metadata: Once[ModelMetadata] = Once()

    async def dialect(self, deadline: float) -> Dialect:
        """What is spoken. ClientError."""
        if self._protocol != AUTO:
            return DIALECTS[self._protocol]
        return await self._dialects.get(ABOUT_SERVER, self._ask_dialect, deadline)

    async def about(self, address: ModelAddress, deadline: float) -> ModelMetadata:
        """The metadata of a model. ClientError."""
        codec = (await self.dialect(deadline)).about

        async def ask() -> ModelMetadata:
            answered = await self._attempts.call(codec.ask_metadata(address), self._until())
            return codec.metadata(answered.reply)

        return await self._metadata.get(address, ask, deadline)

    def forget(self, address: ModelAddress) -> None:
        """Read the metadata of a model again when it is needed."""
        self._metadata.forget(address)

    async def close(self) -> None:
        """End what is being asked."""
        await self._dialects.close()
        await self._metadata.close()

    async def _ask_dialect(self) -> Dialect:
        try:
            answered = await self._attempts.call(Request("GET", ABOUT_SERVER), self._until())
            return dialect_of(answered.reply.json())
        except (InvalidRequest, NotFound, BadAnswer):
            return dialect_of(None)

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout
