"""The recipes of the guide to formats, written and served as they stand."""

import asyncio
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from server.app import Application
from server.config import Config, ModelConfig
from server.exchange import Exchange

GUIDE = Path(__file__).parents[1] / "server" / "docs" / "formats.md"
TEXT = GUIDE.read_text()
RECIPE = re.compile(
    r"```python\n# (\w+)\.py\n(.*?)```\n\n```sh\n(batcher-server .*?)\n```", re.DOTALL
)

RECIPES = {module: (source, command) for module, source, command in RECIPE.findall(TEXT)}


def write(module: str, folder: Path) -> ModelConfig:
    """Write the module of a recipe; the model that its command serves, in batches of at most 8."""
    source, command = RECIPES[module]
    (folder / f"{module}.py").write_text(source)
    words = shlex.split(command)
    name, _, reference = words[words.index("--model") + 1].partition("=")
    return ModelConfig(name, Path(reference), max_batch_size=8)


def answers(model: ModelConfig, requests: Sequence[Any]) -> list[tuple[int, Any]]:
    """Status and body of requests for a model that are all under way at once."""

    async def ask(app: Application, body: Any) -> tuple[int, Any]:
        target = f"/v1/models/{model.name}:predict"
        raw = json.dumps(body).encode()
        answer = await app.front.handle(Exchange("POST", target, CIMultiDict(), raw))
        return answer.status, json.loads(answer.body)

    async def main() -> list[tuple[int, Any]]:
        app = Application(Config((model,)))
        app.open()
        await app.start()
        try:
            return await asyncio.gather(*[ask(app, body) for body in requests])
        finally:
            await app.drain()
            app.close()

    return asyncio.run(main())


def outputs(model: ModelConfig, rows: Sequence[Any]) -> list[Any]:
    """What a model answers for rows, each in a request of its own."""
    answered = answers(model, [{"instances": [row]} for row in rows])
    assert {status for status, _ in answered} == {200}, answered
    return [body["predictions"][0] for _, body in answered]
