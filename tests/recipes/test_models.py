"""scikit-learn and texts: the apps of their pages answer as the models do, in fitting batches."""

import asyncio
import calendar
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from tests.recipes.pages import exchanges, written
from tests.recipes.serving import Held, pasted, uvicorn_serves
from tests.server.by_hand import until


def test_an_estimator_answers_from_one_call_for_all(tmp_path: Path) -> None:
    scans, _ = load_digits(return_X_y=True)

    async def main(module: ModuleType) -> None:
        model, module.TIMEOUT = module.fitted(), 60.0  # type: ignore[attr-defined]
        held = Held(model.predict_proba)
        module.fitted = lambda: held  # type: ignore[attr-defined]
        held.predict_proba = held  # type: ignore[attr-defined]
        async with uvicorn_serves(module.app) as client:
            batcher = module.app.state.batcher
            bodies = [{"pixels": scan.tolist()} for scan in scans[:65]]
            first = asyncio.create_task(client.post("/read", json=bodies[0]))
            await held.entered()
            asking = [asyncio.create_task(client.post("/read", json=body)) for body in bodies[1:]]
            await until(lambda: batcher.stats().queued_rows == 64)
            held.let_go()
            answers = [response.json() for response in await asyncio.gather(first, *asking)]
            probabilities = model.predict_proba(scans[:65])
            assert [a["digit"] for a in answers] == probabilities.argmax(axis=1).tolist()
            np.testing.assert_allclose(
                [a["probability"] for a in answers], probabilities.max(axis=1), rtol=1e-9
            )
            assert batcher.stats().batches == 2
            ((command, shown),) = exchanges("scikit_learn")
            answer, expected = json.loads(await pasted(command, client)), json.loads(shown)
            assert answer["digit"] == expected["digit"]
            # Another release may grow other trees.
            np.testing.assert_allclose(answer["probability"], expected["probability"], atol=0.1)
            assert (await client.post("/read", json={"pixels": [17] * 64})).status_code == 422

    with written("scikit_learn", tmp_path) as modules:
        asyncio.run(main(modules["scans"]))


def texts() -> list[str]:
    """Python of all lengths, and English."""
    source = inspect.getsource(calendar)
    english = "It was the best of times, it was the worst of times, it was the age of wisdom. "
    return [source[:end] for end in range(20, 4000, 40)] + [english * n for n in range(1, 31)]


def test_texts_share_batches_of_bounded_cost(tmp_path: Path) -> None:
    async def main(module: ModuleType) -> None:
        shapes = []

        def seen(ids: Any) -> Any:
            shapes.append((ids.shape, np.count_nonzero(ids)))
            return model(ids)

        model, module.TIMEOUT = module.model, 60.0  # type: ignore[attr-defined]
        held = module.model = Held(seen)  # type: ignore[attr-defined]
        async with uvicorn_serves(module.app) as client:
            batcher = module.app.state.batcher
            first = asyncio.create_task(client.post("/language", json={"text": ""}))
            await held.entered()
            asking = [
                asyncio.create_task(client.post("/language", json={"text": text}))
                for text in texts()
            ]
            await until(lambda: batcher.stats().queued_rows == len(asking))
            too_long = await client.post("/language", json={"text": "word " * 5000})
            assert too_long.status_code == 413
            held.let_go()
            assert (await first).json() == {"language": "English", "tokens": 0}
            for text, response in zip(texts(), await asyncio.gather(*asking), strict=True):
                ids = module.tokenized(text)
                language = "Python" if model(ids[None])[0] > 0 else "English"
                assert response.json() == {"language": language, "tokens": len(ids)}
            assert 1 < len(shapes) < len(asking) / 4
            for (rows, longest), tokens in shapes[1:]:
                assert rows * longest <= module.MAX_TOKENS
                assert tokens * 2 > rows * longest
            ((command, answer),) = exchanges("text")
            assert await pasted(command, client) == answer.rstrip("\n")

    with written("text", tmp_path) as modules:
        asyncio.run(main(modules["lines"]))


def test_the_model_of_texts_tells_python_from_english(tmp_path: Path) -> None:
    with written("text", tmp_path) as modules:
        lines = modules["lines"]
        parts = [part for part in inspect.getsource(calendar).split("\n\n") if part.strip()]
        python = [lines.model(lines.tokenized(part)[None])[0] > 0 for part in parts]
        assert np.mean(python) > 0.8
        english = [lines.model(lines.tokenized(text)[None])[0] > 0 for text in texts()[100:]]
        assert not any(english)
