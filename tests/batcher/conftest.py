"""Coroutine tests of the library run in virtual time, and must not leave a report behind."""

import asyncio
import gc
import inspect
from typing import Any, cast

import pytest
from hypothesis import settings

from batcher.testing import run

settings.register_profile("the same every time", derandomize=True, database=None, deadline=None)
settings.load_profile("the same every time")

Reports = list[dict[str, Any]]


@pytest.fixture
def reports() -> Reports:
    """What reached the loop's exception handler; a test that asks for it expects reports."""
    return []


def pytest_collection_finish() -> None:
    """Spare the collections after each test what the imports left behind."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test; fail it for reports such as "exception was never retrieved"."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
    heard = cast("Reports", given.get("reports", []))

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: heard.append(report))
        await test(**given)

    run(watched())
    gc.collect()  # A future says on its way out that nobody looked at its exception.
    if "reports" not in given:
        assert heard == []
    return True
