"""What tests do with a page, and what they read from it."""

import importlib
import os
from pathlib import Path
from typing import Any

from tests.browser.strokes import Stroke

LARGEST_SEEN = """
Math.max(0, ...[...versions.values()].flatMap((each) => each.history.bars.map((bar) => bar[2])))
"""

LAST_SEEN = "[...versions.values()][0].history.last.number"


def see(page: Any, name: str) -> None:
    """Leave a screenshot for people, if they want one."""
    if folder := os.environ.get("BATCHER_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def draw(page: Any, strokes: list[Stroke]) -> None:
    """As with a mouse."""
    page.locator(".clear").click()
    box = page.locator(".box").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=3)
        page.mouse.up()


def expect(page: Any, selector: str) -> Any:
    """What is expected of the elements that a selector finds, in a few seconds at the latest."""
    return importlib.import_module("playwright.sync_api").expect(page.locator(selector))


def until(page: Any, condition: str) -> None:
    """Wait for an expression of JavaScript; as a function, which the content policy lets pass."""
    page.wait_for_function(f"() => {condition}", timeout=15_000)


def goes(page: Any) -> None:
    """Events come."""
    expect(page, "#status").to_have_attribute("data-state", "live", timeout=15_000)
