"""SIGTERM under the load of 64 clients: every request is answered, none is reset."""

import asyncio
import signal

import aiohttp

from server.demo.scans import held_out
from tests.server.process import ServerProcess

CLIENTS = 64
ANSWERS_BEFORE_THE_SIGNAL = 500


async def load_until_refused(server: ServerProcess) -> list[int]:
    """Statuses of all requests; each client goes on until it hears that the server drains."""
    scans, _ = held_out()
    body = {"instances": [scans[0].tolist()]}
    statuses: list[int] = []
    stop = asyncio.Event()

    async def client(session: aiohttp.ClientSession) -> None:
        status = 200
        while status == 200:
            async with session.post(f"{server.url}/v1/models/digits:predict", json=body) as answer:
                await answer.read()
                status = answer.status
            statuses.append(status)
            if len(statuses) == ANSWERS_BEFORE_THE_SIGNAL:
                stop.set()

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client(session))
        await stop.wait()
        server.process.send_signal(signal.SIGTERM)
    return statuses


def test_no_request_is_lost_and_the_exit_code_is_0() -> None:
    with ServerProcess() as server:
        # A connection error in any client would end the task group with an exception.
        statuses = asyncio.run(load_until_refused(server))
        _, log = server.process.communicate()
        assert server.process.returncode == 0, log
    assert statuses.count(503) == CLIENTS
    assert statuses.count(200) == len(statuses) - CLIENTS
    assert len(statuses) >= ANSWERS_BEFORE_THE_SIGNAL
