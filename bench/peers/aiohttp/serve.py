"""aiohttp without batching: every request calls the model in a thread."""

import asyncio

import numpy as np
import uvloop
from aiohttp import web

from bench.peers.model import Model
from bench.peers.settings import port

MAX_BODY = 16 * 2**20
"""Bytes; aiohttp's own limit is a megabyte."""


def main() -> None:
    """Serve until the end."""
    model = Model()

    async def predict(request: web.Request) -> web.Response:
        body = await request.json()
        row = np.asarray(body["x"], np.float32)[None]
        outputs = await asyncio.to_thread(model, row)
        return web.json_response({"y": outputs[0].tolist()})

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_post("/predict", predict)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port(), access_log=None, print=None)


if __name__ == "__main__":
    main()
