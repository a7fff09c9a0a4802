"""What the guide to tracing says of the library, run as it stands."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from batcher import Batch, Batcher, Receipt
from server.spans import tree
from tests.server.spanned import Collected

TEXT = (Path(__file__).parents[1] / "server" / "docs" / "tracing.md").read_text()


def test_the_recipe_leaves_spans_below_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    collected = Collected()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", collected.provider)
    (recipe,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe, names)

    def double(batch: Batch[int]) -> list[int]:
        return [2 * item for item in batch]

    async def main() -> Receipt:
        async with Batcher(double) as batcher:
            with trace.get_tracer("test").start_as_current_span("request"):
                result, receipt = await batcher.submit_with_receipt(4)
                names["leave_spans"](receipt)
        assert result == 8
        return receipt

    receipt = asyncio.run(main())
    queue, run, request = collected.take()
    assert [queue.name, run.name, request.name] == ["queue", "run", "request"]
    assert queue.end_time == run.start_time
    assert (run.end_time or 0) - (run.start_time or 0) == int(receipt.run_time * 1e9)


def test_every_attribute_is_in_the_guide() -> None:
    source = Path(tree.__file__).read_text()
    for attribute in set(re.findall(r'"((?:batcher|http|rpc|url|error)\.[a-z_.]+)"', source)):
        short = attribute.removeprefix("batcher.batch")
        assert f"`{attribute}`" in TEXT or f"`{short}`" in TEXT, attribute
