"""The bare echo: aiohttp and uvloop, a body read, the same answer every time; nothing below that.

    python -m bench.echo_server '{"predictions": [[3.5]]}'

It listens on a free port of the loopback and prints its URL.
"""

import asyncio
import signal
import sys

import uvloop
from aiohttp import web


async def serve(body: bytes) -> None:
    """Answer every request with `body`, until told to stop."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    listener = await loop.create_server(web.Server(answer, access_log=None), "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await stopped.wait()
    listener.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1].encode()))
