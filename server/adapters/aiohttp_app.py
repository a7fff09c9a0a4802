"""An aiohttp `Application` around the front, to be mounted into somebody else's. Event loop."""

from collections.abc import AsyncIterator

import numpy as np
from aiohttp import web

from server.adapters.aiohttp_body import answer
from server.adapters.aiohttp_stream import stream
from server.adapters.pace import Pace
from server.app import Application
from server.config import Config

_TAIL = "/{tail:.*}"


def create_app(config: Config | None = None) -> web.Application:
    """Make an application that serves models: run it, or mount it with `add_subapp`.

        outer.add_subapp("/models/", create_app(Config(...)))

    Models are loaded when the outer application starts up, and drained when it cleans up. Their
    URLs begin with the prefix they are mounted under. So that the rows of clients who disconnect
    leave the queue, run the outer application with `handler_cancellation=True`.
    """
    config = config or Config()
    application, pace = Application(config), Pace()

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        application.open()
        await application.start()
        yield
        await application.drain()
        await application.flush()
        application.close()

    async def handle(request: web.Request) -> web.StreamResponse:
        # `add_subapp` has put its prefix before our only resource.
        prefix = resource.canonical.removesuffix("/{tail}")
        target = request.raw_path.removeprefix(prefix)
        with np.errstate(over="ignore"):
            told = await answer(request, target, application.front, pace, inflated=True)
        if told.more is not None:
            return await stream(request, told)
        headers = {"Content-Type": told.content_type, **(told.headers or {})}
        response = web.Response(body=told.body, status=told.status, headers=headers)
        if told.close:
            response.force_close()
        return response

    async def end_streams(_: web.Application) -> None:
        # The outer application waits for answers under way before it cleans up.
        application.end_streams()

    app = web.Application()
    resource = app.router.add_resource(_TAIL)
    resource.add_route("*", handle)
    app.on_shutdown.append(end_streams)
    app.cleanup_ctx.append(lifetime)
    return app
