"""The front whose requests leave spans: each that is sampled is followed on its way. Event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from server.errors import ServingError
from server.exchange import Answer, Exchange
from server.front import Entrance, Front
from server.protocols import PROTOCOLS
from server.protocols.protocol import Call, Protocol
from server.spans.recorder import Recorder
from server.spans.tree import RequestNote


class FollowingFront(Front):
    """Answers as the front does. Pages and probes leave no spans."""

    def __init__(self, recorder: Recorder, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._recorder = recorder

    def handle(
        self,
        exchange: Exchange,
        protocol: Protocol | None = None,
        *,
        entrance: Entrance | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Answer one request as the front does; one that is not sampled goes its very way."""
        note = None
        if entrance is not None or protocol is not None or not _is_page(exchange):
            note = self._recorder.begin(exchange)
        answering = super().handle(exchange, protocol, entrance=entrance)
        return answering if note is None else self._follow(note, exchange, answering)

    def refuse(self, exchange: Exchange, error: ServingError) -> Answer:
        """Answer a request whose body could not be read."""
        note = None if _is_page(exchange) else self._recorder.begin(exchange)
        answer = super().refuse(exchange, error)
        if note is not None:
            self._recorder.end(note, exchange, answer)
        return answer

    async def _follow(
        self, note: RequestNote, exchange: Exchange, answering: Coroutine[Any, Any, Answer]
    ) -> Answer:
        try:
            answer = await answering
        except asyncio.CancelledError:
            self._recorder.end(note, exchange, None)
            raise
        self._recorder.end(note, exchange, answer)
        return answer

    async def _call(self, call: Call, exchange: Exchange) -> Answer:
        if call.is_open and exchange.stages is not None:
            exchange.stages.is_probe = True
        return await super()._call(call, exchange)


def _is_page(exchange: Exchange) -> bool:
    return exchange.target.isascii() and not any(protocol.takes(exchange) for protocol in PROTOCOLS)
