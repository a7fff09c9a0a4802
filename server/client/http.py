"""The client's transport over HTTP: one aiohttp session, whose connections are kept. Event loop."""

import io
import os
import socket
import ssl as tls
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from server.client.errors import BadAnswer, Unreachable
from server.client.messages import Reply, Request
from server.compression import compress as compressed

_SMALL: Final = 1024
"""Bytes of a body that are not worth compressing."""

_AT_ONCE: Final = 64 * 1024
"""Bytes of a body that are written at once; larger ones in parts, between which others come."""


def checked_url(url: str) -> str:
    """The address of a server without a slash at its end. ValueError."""
    parsed = URL(url)
    more = parsed.query_string or parsed.fragment
    if parsed.scheme not in ("http", "https") or not parsed.host or more:
        msg = f"a server's address is http://HOST:PORT or https://HOST, not {url!r}"
        raise ValueError(msg)
    try:
        # As who looks it up will write it.
        parsed.host.encode("idna")
    except UnicodeError:
        msg = f"the host in {url!r} has a name that is too long, or an empty part of one"
        raise ValueError(msg) from None
    return str(parsed).rstrip("/")


def checked_headers(url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """What is sent with every request to a URL. ValueError."""
    for text in (*headers, *headers.values()):
        if not text.isprintable():
            msg = f"a header has what cannot be sent: {text!r}"
            raise ValueError(msg)
    if URL(url).raw_user is not None and "authorization" in map(str.lower, headers):
        msg = "give either a token or a user in the URL: both are sent as Authorization"
        raise ValueError(msg)
    return headers


class Http:
    """Connections to one server, at most so many."""

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        headers: Mapping[str, str],
        compress: bool = False,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._connections = connections
        self._compress = compress
        # Unless asked for, compressing costs a server more than it saves on the way.
        encodings = "gzip, deflate" if compress else "identity"
        self._headers = {"Accept-Encoding": encodings, **headers}
        self._ssl = ssl
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Bind it to the running loop."""
        self._connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._ssl or True)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            # A call has a time of its own, over all its attempts.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        )

    async def exchange(self, request: Request) -> Reply:
        """Send and wait for the answer, whatever its status. Unreachable, BadAnswer."""
        if self._session is None:
            msg = "the client is not open: use `async with Client(...) as client`"
            raise RuntimeError(msg)
        body, headers = request.body, dict(request.headers)
        if self._compress and len(body) >= _SMALL:
            body = compressed(body, "gzip")
            headers["Content-Encoding"] = "gzip"
        begun = False
        try:
            async with self._session.request(
                request.method,
                URL(self._url + request.target, encoded=True),
                data=io.BytesIO(body) if len(body) > _AT_ONCE else body or None,
                headers=headers,
                allow_redirects=False,
            ) as response:
                begun = True
                return Reply(response.status, await response.read(), response.headers)
        except aiohttp.ClientResponseError as error:
            msg = f"{self._url}: the answer is no HTTP: {_on_a_line(error.message)}"
            raise BadAnswer(msg) from error
        except (aiohttp.ClientError, OSError) as error:
            msg = f"{self._url}: {_why(error)}"
            # Who closed the client meanwhile wants no other attempt.
            raise Unreachable(msg, begun=begun or self._session is None) from error

    async def close(self) -> None:
        """End all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error
        # Resolving names and TLS have numbers of their own, and words for them.
        if isinstance(reason, (socket.gaierror, tls.SSLError)) or not reason.errno:
            return f"cannot connect: {reason.strerror or reason}"
        return f"cannot connect: {os.strerror(reason.errno)}"
    return _on_a_line(str(error)) or type(error).__name__


def _on_a_line(text: str) -> str:
    return " ".join(text.split())
