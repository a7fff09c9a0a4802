"""Digits drawn in Chromium as people draw them: the bundled model reads them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.pages import draw, expect
from tests.browser.strokes import DIGITS, Stroke, small_and_slanted


@pytest.fixture(scope="module")
def same_page(chromium: Any, url: str) -> Iterator[Any]:
    """A page for many small tests."""
    page = chromium.new_page(viewport={"width": 1280, "height": 1400})
    page.goto(url)
    yield page
    page.close()


@pytest.mark.parametrize("change", [list, small_and_slanted], ids=["upright", "slanted"])
@pytest.mark.parametrize("digit", DIGITS)
def test_a_drawn_digit_is_read(
    same_page: Any, digit: int, change: Callable[[list[Stroke]], list[Stroke]]
) -> None:
    draw(same_page, change(DIGITS[digit]))
    expect(same_page, ".digit").to_have_text(str(digit))
    expect(same_page, ".bars .most b").to_have_text(str(digit))
    expect(same_page, ".went").to_contain_text("alone")
