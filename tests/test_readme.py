"""The README keeps its word: its apps run, its curl is answered as printed, it stays short."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.server.process import ServerProcess

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def run_block(containing: str) -> dict[str, Any]:
    """Execute the one Python block with these words; its names."""
    (block,) = [block for block in blocks("python") if containing in block]
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, str(README), "exec"), names)
    return names


def test_it_is_short() -> None:
    assert len(TEXT.split()) < 900


def test_the_curl_is_answered_as_printed(digits_server: ServerProcess) -> None:
    (command,) = [block for block in blocks("sh") if block.startswith("curl")]
    (printed,) = blocks("json")
    asked = command.replace("http://127.0.0.1:8501", digits_server.url)
    answer = subprocess.run(asked, shell=True, capture_output=True, check=True, text=True)
    got, expected = (json.loads(text)["predictions"][0] for text in (answer.stdout, printed))
    # Another machine's arithmetic may differ in the last bits.
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_the_fastapi_app_runs() -> None:
    app = run_block("FastAPI")["app"]

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as client,
        ):
            bodies = [[[n, 1.0, 2.0], [0.0, 0.0, n]] for n in range(20)]
            answers = await asyncio.gather(*[client.post("/sum", json=body) for body in bodies])
            assert [answer.json() for answer in answers] == [[n + 3.0, n] for n in range(20)]

    asyncio.run(main())


def test_the_mounted_app_serves_the_bundled_model() -> None:
    outer = run_block("create_app")["outer"]
    assert isinstance(outer, web.Application)

    async def main() -> None:
        async with TestClient(TestServer(outer)) as client:
            response = await client.get("/ml/v1/models/digits")
            assert (await response.json())["model_version_status"][0]["state"] == "AVAILABLE"

    asyncio.run(main())
