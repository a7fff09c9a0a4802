"""Chromium, a server that has only the bundled model, and pages that may complain of nothing."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.server.process import ServerProcess

TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`content policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

WIDE = {"width": 1280, "height": 800}


def serve(*arguments: str) -> ServerProcess:
    """A server, run by the interpreter that has what it needs."""
    return ServerProcess(*arguments, python=os.environ["BATCHER_PYTHON"])


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; where there is none, all tests of this folder are skipped."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="has its own environment: .ci/browser/run"
    )
    with api.sync_playwright() as playwright:
        # Who is root, as on a new machine, has no sandbox.
        browser = playwright.chromium.launch(
            executable_path=os.environ["BATCHER_CHROMIUM"], args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def url(chromium: Any) -> Iterator[str]:  # noqa: ARG001 - skips before a server is started
    """Where a server is; started only if there is a browser."""
    with serve() as server:
        yield server.url


@pytest.fixture
def complaints() -> list[str]:
    """What pages have complained of, or asked of other hosts; a test takes out what it expects."""
    return []


@pytest.fixture
def visit(chromium: Any, complaints: list[str]) -> Iterator[Callable[..., Any]]:
    """Opens a page, by default one on a wide screen; and looks in the end what it complained of."""
    contexts = []

    def open_page(address: str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        context.add_init_script(TELL_VIOLATIONS)
        page = context.new_page()
        host = urlsplit(address).netloc

        def asked(request: Any) -> None:
            if urlsplit(request.url).netloc != host and not request.url.startswith("data:"):
                complaints.append(f"another host: {request.url}")

        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
