"""Takes whatever is exported to it over OTLP/HTTP, and forgets it: `python -m bench.otlp_sink`."""

import asyncio
import signal

from aiohttp import web

LIMIT = 64 * 2**20


async def take(request: web.Request) -> web.Response:
    """Read it all; an empty body is a message that says everything was accepted."""
    await request.read()
    return web.Response(content_type="application/x-protobuf")


async def ready(_: web.Request) -> web.Response:
    """That it listens."""
    return web.Response()


async def main() -> None:
    """Serve until SIGTERM."""
    app = web.Application(client_max_size=LIMIT)
    app.router.add_post("/v1/traces", take)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
