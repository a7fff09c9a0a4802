"""One call: its attempts over a transport, until an answer or its deadline. Event loop."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from server.client.errors import ClientError, DeadlineExceeded, of_status
from server.client.messages import Reply, Request, Transport, error_text
from server.client.retries import Budget, Retries, next_wait, told_wait
from server.wishes import TIMEOUT


class Answered(NamedTuple):
    """The reply to a call, 2xx, and how often it was tried."""

    reply: Reply
    attempts: int


class Attempts:
    """Tries calls. `chance` gives random numbers from [0, 1)."""

    def __init__(
        self,
        transport: Transport,
        retries: Retries,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._retries = retries
        self._budget = Budget(retries)
        self._chance = chance

    async def call(self, request: Request, deadline: float) -> Answered:
        """Send until there is an answer; `deadline` is the loop's time, infinite for none.

        ClientError, with `attempts`.
        """
        loop = asyncio.get_running_loop()
        self._budget.earn()
        attempt = 1
        while True:
            left = deadline - loop.time()
            try:
                return Answered(await self._attempt(request, left), attempt)
            except ClientError as failure:
                failure.attempts = attempt
                left = deadline - loop.time()
                wait = next_wait(self._retries, failure, attempt, left, self._chance())
                if wait is None or not self._budget.spend():
                    raise
            await asyncio.sleep(wait)
            attempt += 1

    async def _attempt(self, request: Request, left: float) -> Reply:
        if left <= 0:
            raise late()
        if left < math.inf:
            # Rounded up: a server takes 0 for a mistake.
            told = {TIMEOUT: str(math.ceil(left * 1000))}
            request = request._replace(headers={**request.headers, **told})
        try:
            async with asyncio.timeout(left if left < math.inf else None) as limit:
                reply = await self._transport.exchange(request)
        except TimeoutError:
            if limit.expired():
                raise late() from None
            raise
        if reply.status // 100 == 2:  # noqa: PLR2004 - of the class of success
            return reply
        wait = told_wait(reply.headers, time.time())
        raise of_status(reply.status, error_text(reply), wait)


def late() -> DeadlineExceeded:
    """What to raise when the time of a call has passed here."""
    return DeadlineExceeded("no answer within the time of the call")
