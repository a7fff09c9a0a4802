"""Viewers of the live page: one timer for all, the newest event for each, nothing without them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from structlog.testing import capture_logs

from batcher.testing import run
from server.errors import Unavailable
from server.live.feed import Feed, Taken
from server.live.stream import MOST_VIEWERS, TICK, Stream
from tests.server.test_metrics import record


class Looked:
    """A stream, and how often it was asked what to say."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.stream = Stream(self.feed, self._describe)
        self.asked = 0

    def _describe(self, taken: Taken) -> dict[str, Any]:
        self.asked += 1
        return {"batches": taken.batches}

    def look(self) -> AsyncGenerator[bytes, None]:
        more = self.stream.answer().more
        assert more is not None
        return more


def is_watched(looked: Looked) -> bool:
    return looked.feed.watched


def data(event: bytes) -> dict[str, Any]:
    """What an event says; its number is its id."""
    first, second = event.decode().strip().split("\n")
    told: dict[str, Any] = json.loads(second.removeprefix("data: "))
    assert first == f"id: {told['number']}"
    return told


def test_nothing_runs_and_nothing_is_kept_while_nobody_looks() -> None:
    looked = Looked()

    async def main() -> None:
        assert not is_watched(looked)
        async with aclosing(looked.look()) as events:
            await anext(events)
            assert is_watched(looked)
            looked.feed.batch("half", 1, record())
        assert not is_watched(looked)
        assert looked.feed.take() == Taken()
        asked = looked.asked
        await asyncio.sleep(100 * TICK)
        assert looked.asked == asked
        assert looked.stream.viewers == 0

    run(main())


def test_who_comes_back_sees_that_events_were_missed_while_nobody_looked() -> None:
    looked = Looked()

    async def main() -> None:
        async with aclosing(looked.look()) as events:
            assert data(await anext(events))["number"] == 1
        await asyncio.sleep(100 * TICK)
        async with aclosing(looked.look()) as events:
            assert data(await anext(events))["number"] == 3

    run(main())


def test_an_announced_stream_that_nobody_reads_has_no_viewer() -> None:
    looked = Looked()

    async def main() -> None:
        await looked.look().aclose()
        assert not looked.feed.watched

    run(main())


def test_an_event_comes_every_tick_and_is_made_once_for_all() -> None:
    looked = Looked()

    async def main() -> None:
        async with aclosing(looked.look()) as one, aclosing(looked.look()) as other:
            for number in range(1, 6):
                first, second = await asyncio.gather(anext(one), anext(other))
                assert first is second
                assert data(first)["number"] == number == looked.asked
                assert data(first)["viewers"] == 2
        assert asyncio.get_running_loop().time() == pytest.approx(5 * TICK)

    run(main())


def test_who_reads_slowly_gets_the_newest_event_and_holds_no_other() -> None:
    looked = Looked()

    async def main() -> None:
        async with aclosing(looked.look()) as slow:
            assert data(await anext(slow))["number"] == 1
            await asyncio.sleep(10.5 * TICK)
            assert data(await anext(slow))["number"] == 11
            assert data(await anext(slow))["number"] == 12

    run(main())


def test_a_stream_tells_when_to_come_back_and_that_no_proxy_should_collect_it() -> None:
    answer = Looked().stream.answer()
    assert answer.content_type == "text/event-stream"
    assert answer.body == b"retry: 1000\n\n"
    assert (answer.headers or {})["X-Accel-Buffering"] == "no"


def test_one_viewer_too_many_is_told_when_to_come_back() -> None:
    looked = Looked()

    async def main() -> None:
        viewers = [looked.look() for _ in range(MOST_VIEWERS)]
        # Announced at the same time as the others, and too late when it begins.
        late = looked.look()
        await asyncio.gather(*map(anext, viewers))
        with pytest.raises(StopAsyncIteration):
            await anext(late)
        with pytest.raises(Unavailable, match="16 pages look already") as told:
            looked.stream.answer()
        assert told.value.retry_after == 1.0
        await viewers[0].aclose()
        viewers[0] = looked.look()
        await asyncio.gather(*map(anext, viewers))
        assert looked.stream.viewers == MOST_VIEWERS
        for viewer in viewers:
            await viewer.aclose()

    run(main())


def test_the_end_is_told_to_all_at_once_and_nobody_looks_after_it() -> None:
    looked = Looked()

    async def main() -> None:
        quick, slow = looked.look(), looked.look()
        await asyncio.gather(anext(quick), anext(slow))
        began = asyncio.get_running_loop().time()
        waiting = asyncio.create_task(_rest(quick))
        await asyncio.sleep(0)
        looked.stream.end()
        looked.stream.end()
        (last,) = await waiting
        assert data(last)["ended"] is True
        assert [data(event)["ended"] for event in await _rest(slow)] == [True]
        assert asyncio.get_running_loop().time() == began
        with pytest.raises(Unavailable, match="shutting down"):
            looked.stream.answer()
        assert not looked.feed.watched

    run(main())


def test_a_defect_of_what_is_told_does_not_prevent_the_end() -> None:
    def describe(_: Taken) -> dict[str, Any]:
        return {"error": "no UTF-8: \udcff"}

    stream = Stream(Feed(), describe)

    async def main() -> None:
        more = stream.answer().more
        assert more is not None
        waiting = asyncio.create_task(_rest(more))
        await asyncio.sleep(0)
        with capture_logs() as entries:
            stream.end()
        assert await waiting == []
        assert [entry["log_level"] for entry in entries] == ["error"]

    run(main())


def test_a_stream_that_was_announced_before_the_end_ends_at_once() -> None:
    looked = Looked()

    async def main() -> None:
        late = looked.look()
        looked.stream.end()
        assert await _rest(late) == []
        assert not looked.feed.watched

    run(main())


async def _rest(events: AsyncGenerator[bytes, None]) -> list[bytes]:
    return [event async for event in events]
