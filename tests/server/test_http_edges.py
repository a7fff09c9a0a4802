"""What is hardly HTTP, over real sockets: always answered in JSON, and never at others' expense."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from tests.server.by_hand import PREDICT, ByHand, body, served_by_hand, until
from tests.server.conftest import Served


class Said(NamedTuple):
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The message of an error, which is one object with one key."""
        assert self.headers["content-type"] == "application/json"
        told: dict[str, Any] = json.loads(self.body)
        assert list(told) == ["error"]
        return str(told["error"])


async def read_answer(reader: asyncio.StreamReader) -> Said:
    """The next answer on a connection; each header must be there once."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, line
        headers[name.lower()] = value
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    return Said(int(status), headers, await reader.readexactly(int(headers["content-length"])))


async def say(server: ByHand, *parts: bytes) -> tuple[Said, bytes]:
    """Send bytes, each part when the one before has been read; the answer, and what follows it."""
    reader, writer = await server.connect()
    for part in parts:
        writer.write(part)
        await writer.drain()
        for _ in range(100):
            await asyncio.sleep(0)
    said = await read_answer(reader)
    rest = await reader.read() if said.headers.get("connection") == "close" else b""
    writer.close()
    await writer.wait_closed()
    return said, rest


def get(target: str, *lines: str, version: str = "1.1") -> bytes:
    head = [f"GET {target} HTTP/{version}", "Host: x", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


def post(sent: bytes, *lines: str) -> bytes:
    head = [f"POST {PREDICT} HTTP/1.1", "Host: x", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + sent


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"hello\r\n\r\n"], id="no-http"),
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"], id="tls"),
        pytest.param([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], id="http-2"),
        pytest.param([b"GET /livez HTTP/9.9\r\n\r\n"], id="version"),
        pytest.param([b"G@T /livez HTTP/1.1\r\nHost: x\r\n\r\n"], id="method"),
        pytest.param([get("/a b")], id="space-in-target"),
        pytest.param([get("http://[::1/livez")], id="absolute-target"),
        pytest.param([get("/livez", "broken header")], id="header-line"),
        pytest.param([get("/livez", "A: b\0c")], id="nul-in-header"),
        pytest.param([get("/livez", "A: b", " c")], id="folded-header"),
        pytest.param([get("/livez", f"A: {'x' * 9000}")], id="header-too-large"),
        pytest.param([get("/livez", *[f"A{n}: x" for n in range(300)])], id="too-many-headers"),
        pytest.param([get(f"/{'x' * 9000}")], id="target-too-long"),
        pytest.param([b"GET /livez HTTP/1.1\r\n\r\n"], id="no-host"),
        pytest.param([post(b"", "Content-Length: -5")], id="negative-length"),
        pytest.param([post(b"abcdef", "Content-Length: 5", "Content-Length: 6")], id="two-lengths"),
        pytest.param([post(b"0\r\n\r\n", CHUNKED, "Content-Length: 5")], id="length-and-chunked"),
        pytest.param([post(b"zz\r\nabc\r\n0\r\n\r\n", CHUNKED)], id="bad-chunk"),
        pytest.param([post(b"3\r\nabc\r\n", CHUNKED), b"zz\r\n\r\n"], id="bad-chunk-later"),
        pytest.param([post(b"", CHUNKED), b"3\r\nabcd\r\n"], id="chunk-longer-than-told"),
    ],
)
def test_what_cannot_be_read_is_answered_in_json_and_disconnected(parts: list[bytes]) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            said, rest = await say(server, *parts)
            assert said.status == 400
            assert "cannot be read" in said.error
            assert said.headers["connection"] == "close"
            assert rest == b""
            # The server is as good as before.
            said, _ = await say(server, get("/livez"))
            assert said.status == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param("http://x/livez", 200, id="absolute"),
        pytest.param("HTTP://user@[::1]:80/livez?a=b", 200, id="absolute-with-everything"),
        pytest.param("http://x?a=b", 200, id="absolute-without-path"),
        pytest.param("http://x/nothing", 404, id="absolute-unknown"),
        pytest.param("*", 404, id="asterisk"),
        pytest.param("//livez", 404, id="two-slashes"),
        pytest.param("/v1/models/%ED%A0%80", 404, id="surrogate"),
        pytest.param("/v1/models/%zz%ff", 404, id="no-percent-encoding"),
        pytest.param("/v1/models/%00", 404, id="nul"),
    ],
)
def test_odd_targets_find_their_way(target: str, status: int) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            method = "OPTIONS" if target == "*" else "GET"
            said, _ = await say(server, get(target).replace(b"GET", method.encode(), 1))
            assert said.status == status
            assert (said.body == b"alive\n") == ("/livez" in target and status == 200)
            assert (b"<title>" in said.body) == target.endswith("x?a=b")
            if status == 404:
                assert said.error

    asyncio.run(main())


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/\udcff:predict",
        "/v1/models/\ud800",
        "/\udcff",
        "/v2/models/\udcff/ready",
        "\ud800",
    ],
)
def test_a_target_that_is_no_utf8_is_looked_for_and_not_found(served: Served, target: str) -> None:
    answer = served.ask("POST" if target.endswith("predict") else "GET", target, b"{}")
    assert answer.status in (400, 404)
    assert json.loads(answer.body)["error"]


def test_a_target_that_lacks_its_percent_encoding_means_what_it_says(served: Served) -> None:
    answers = [served.ask("GET", f"/v1/models/{name}") for name in ("\xfcbel", "%C3%BCbel")]
    assert answers[0] == answers[1]
    assert "\xfcbel" in json.loads(answers[0].body)["error"]


def test_a_broken_chunk_ends_only_its_own_connection() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            sent = body(1.0)
            writer.write(post(sent, f"Content-Length: {len(sent)}"))
            await until(lambda: server.executor.handed_over == 1)
            said, _ = await say(server, post(b"3\r\nabc\r\n", CHUNKED), b"zz\r\n")
            assert said.status == 400
            server.run_next()
            assert (await read_answer(reader)).body == b'{"predictions":[[2.0]]}'
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_an_offer_to_speak_another_protocol_is_passed_over() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            sent = body(1.0)
            upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA")
            writer.write(post(sent, f"Content-Length: {len(sent)}", *upgrade))
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await read_answer(reader)).body == b'{"predictions":[[2.0]]}'
            for lines in (upgrade, ()):
                writer.write(get("/livez", *lines))
                assert (await read_answer(reader)).body == b"alive\n"
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("version", "lines", "stays"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: close"], False),
        ("1.0", [], False),
        ("1.0", ["Connection: keep-alive"], True),
    ],
)
def test_connections_stay_as_version_and_client_have_it(
    version: str, lines: list[str], *, stays: bool
) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            writer.write(get("/livez", *lines, version=version))
            said = await read_answer(reader)
            assert said.status == 200
            if stays:
                writer.write(get("/livez"))
                assert (await read_answer(reader)).status == 200
            else:
                assert said.headers["connection"] == "close"
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "status"), [("/livez", 200), ("/nothing", 404), ("/v1/models/nobody", 400)]
)
def test_head_is_told_the_length_and_sent_no_body(target: str, status: int) -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            writer.write(get(target).replace(b"GET", b"HEAD", 1) + get("/livez"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b"Content-Length: 0" not in head
            # The next answer follows at once.
            assert (await read_answer(reader)).body == b"alive\n"
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            sent = body(4.0)
            writer.write(post(sent, f"Content-Length: {len(sent)}") + get("/livez"))
            await until(lambda: server.executor.handed_over == 1)
            server.run_next()
            assert (await read_answer(reader)).body == b'{"predictions":[[8.0]]}'
            assert (await read_answer(reader)).body == b"alive\n"
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())
