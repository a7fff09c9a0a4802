"""Lets one request in so many leave a log entry with its times. Event loop."""

from collections.abc import Callable
from typing import Final

import structlog

from server.exchange import Exchange
from server.inference import InferenceResponse, ServedModel
from server.settings import TraceSettings
from server.wishes import request_id

log: Final = structlog.get_logger("server.tracing")


class Tracer:
    """Counts requests against the settings that hold for their models."""

    def __init__(self, settings: Callable[[str], TraceSettings]) -> None:
        self._settings = settings
        # By the settings object itself: other settings, even if equal, begin anew.
        self._seen: dict[str, tuple[TraceSettings, int, int]] = {}

    def trace(
        self,
        model: ServedModel,
        exchange: Exchange,
        response: InferenceResponse,
        *,
        read: float,
        write: float,
    ) -> None:
        """Write an entry, if it is the turn of this request."""
        settings = self._settings(model.name)
        if not settings.on:
            return
        of, seen, traced = self._seen.get(model.name, (settings, 0, 0))
        if of is not settings:
            seen = traced = 0
        due = seen % settings.rate == 0 and (settings.count < 0 or traced < settings.count)
        self._seen[model.name] = (settings, seen + 1, traced + due)
        if due:
            log.info(
                "trace",
                model=model.name,
                version=model.version,
                request_id=request_id(exchange.headers),
                rows=response.rows,
                read_ms=round(read * 1000, 3),
                queue_ms=round(response.queue_time * 1000, 3),
                run_ms=round(response.run_time * 1000, 3),
                write_ms=round(write * 1000, 3),
            )
