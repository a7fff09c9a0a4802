"""The configuration read anew while the server runs: on SIGHUP, and at intervals. Event loop."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Final

import structlog

from server.config import Config, ConfigError

log: Final = structlog.get_logger("server.cli")

_CHANGES: Final = {"models", "template"}
"""What a running server takes over."""


async def reread_forever(
    config: Config, reread: Callable[[], Config], hangup: asyncio.Event
) -> AsyncGenerator[Config, None]:
    """Each new configuration: whenever `hangup` is set, and at intervals those that differ.

    What cannot be read leaves a log entry, and what was configured before.
    """
    known, trouble = config, ""
    while True:
        asked = await _set_within(hangup, config.reread_interval)
        hangup.clear()
        try:
            # Away from the loop: files may be on a slow network.
            new = await asyncio.to_thread(reread)
        except ConfigError as error:
            if asked or str(error) != trouble:
                log.error("the new configuration is wrong: the old one stays", error=str(error))  # noqa: TRY400 - an operator's mistake has no traceback
            trouble = str(error)
            continue
        except Exception:
            log.exception("reading the configuration met a defect of this server")
            continue
        trouble = ""
        if asked or new != known:
            _tell_what_waits(config, new)
            yield new
        known = new


async def _set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event; False when the time is up before."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _tell_what_waits(old: Config, new: Config) -> None:
    """Only models change while the server runs."""
    names = [field.name for field in dataclasses.fields(Config) if field.name not in _CHANGES]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    if changed:
        log.warning("these settings count from the next start on", settings=changed)
