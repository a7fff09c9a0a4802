"""Who is let in, over real HTTP: tokens, administration, names of this server, and the record."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from server.access import Access
from server.app import Application
from server.config import Config
from server.errors import PermissionDenied, ServingError, Unauthenticated
from server.exchange import Exchange
from server.protocols.oip_grpc import OipGrpc
from server.tokens import Token, make_token
from tests.server.by_hand import PREDICT, ByHand, body, served_by_hand, until

USE, USE_KEPT = make_token("ci")
OTHER, OTHER_KEPT = make_token("nightly")
ADMIN, ADMIN_KEPT = make_token("ops")

LOAD = "/v2/repository/models/doubler/load"
STATUS = "/v1/models/doubler"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def guarded(*, admin: bool = True, use: bool = True, hosts: tuple[str, ...] = ()) -> Access:
    tokens = (USE_KEPT, OTHER_KEPT) if use else ()
    return Access(tokens, (ADMIN_KEPT,), admin=admin, hosts=hosts)


def outcome(access: Access, headers: Mapping[str, str], **how: Any) -> str:
    """What becomes of a request: "in", or the error."""
    admin = how.pop("admin", False)
    exchange = Exchange("POST", LOAD, CIMultiDict(headers), b"", **how)
    try:
        access.check(exchange, admin=admin)
    except ServingError as error:
        return type(error).__name__
    return "in"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "Unauthenticated"),
        ({"Authorization": ""}, "Unauthenticated"),
        ({"Authorization": "Bearer"}, "Unauthenticated"),
        ({"Authorization": "Bearer "}, "Unauthenticated"),
        ({"Authorization": USE}, "Unauthenticated"),
        ({"Authorization": f"Basic {USE}"}, "Unauthenticated"),
        ({"Authorization": f"Bearer {USE[:-1]}"}, "Unauthenticated"),
        ({"Authorization": f"Bearer {USE} {USE}"}, "Unauthenticated"),
        ({"Authorization": f"Bearer {USE_KEPT.digest.hex()}"}, "Unauthenticated"),
        ({"Authorization": "Bearer \udcff"}, "Unauthenticated"),
        ({"Authorization": f"Bearer {USE}"}, "in"),
        ({"Authorization": f"Bearer {OTHER}"}, "in"),
        ({"Authorization": f"Bearer {ADMIN}"}, "in"),
        ({"authorization": f"bEARER  {USE} "}, "in"),
    ],
)
def test_with_tokens_who_has_one_may_use_the_server(
    headers: Mapping[str, str], expected: str
) -> None:
    assert outcome(guarded(), headers) == expected
    assert outcome(Access(), headers) == "in"
    # Tokens for administration alone leave the use to everybody.
    assert outcome(guarded(use=False), headers) == "in"


@pytest.mark.parametrize("token", ["", USE, ADMIN], ids=["none", "use", "admin"])
def test_administration_that_is_off_is_off_for_everybody(token: str) -> None:
    headers = {"Host": "localhost"} | bearer(token)
    for access in (Access(), guarded(admin=False)):
        assert outcome(access, headers, admin=True) == "PermissionDenied"


@pytest.mark.parametrize(
    ("token", "expected"),
    [("", "Unauthenticated"), ("x", "Unauthenticated"), (USE, "PermissionDenied"), (ADMIN, "in")],
    ids=["none", "unknown", "use", "admin"],
)
def test_administration_takes_a_token_of_its_own(token: str, expected: str) -> None:
    headers = {"Host": "localhost"} | bearer(token)
    assert outcome(guarded(), headers, admin=True) == expected


OURS = ("batcher.lan", "proxy.example")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8501", "in"),
        ("127.0.0.1", "in"),
        ("192.0.2.7:80", "in"),
        ("[::1]:8501", "in"),
        ("[2001:db8::7]", "in"),
        ("localhost:8501", "in"),
        ("LocalHost", "in"),
        ("localhost.", "in"),
        ("batcher.lan:8501", "in"),
        ("Batcher.LAN", "in"),
        ("proxy.example", "in"),
        (None, "PermissionDenied"),
        ("", "PermissionDenied"),
        (":8501", "PermissionDenied"),
        ("evil.example:8501", "PermissionDenied"),
        ("localhost.evil.example", "PermissionDenied"),
        ("127.0.0.1.evil.example", "PermissionDenied"),
        ("evil.example@127.0.0.1", "PermissionDenied"),
        ("127.0.0.1:8501@evil.example", "PermissionDenied"),
        ("evil.example#localhost", "PermissionDenied"),
        ("localhost/evil.example", "PermissionDenied"),
        ("localhost evil.example", "PermissionDenied"),
        ("::1", "PermissionDenied"),
        ("[::1", "PermissionDenied"),
        ("[localhost]", "PermissionDenied"),
        ("2130706433", "PermissionDenied"),
        ("a.proxy.example", "PermissionDenied"),
    ],
)
def test_an_administrator_calls_the_server_by_its_own_name(host: str | None, expected: str) -> None:
    headers = bearer(ADMIN) | ({} if host is None else {"Host": host})
    access = guarded(hosts=OURS)
    assert outcome(access, headers, admin=True) == expected
    assert outcome(access, headers) == "in"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://proxy.example:8501", "in"),
        ("https://Proxy.example:8501", "in"),
        ("http://proxy.example", "PermissionDenied"),
        ("http://proxy.example:3000", "PermissionDenied"),
        ("http://batcher.lan:8501", "PermissionDenied"),
        ("http://localhost:8501", "PermissionDenied"),
        ("http://evil.example", "PermissionDenied"),
        ("http://evil.example/proxy.example:8501", "PermissionDenied"),
        ("http://evil.example://proxy.example:8501", "PermissionDenied"),
        ("null", "PermissionDenied"),
        ("", "PermissionDenied"),
    ],
)
def test_a_page_that_administers_comes_from_the_server_itself(origin: str, expected: str) -> None:
    headers = bearer(ADMIN) | {"Host": "proxy.example:8501", "Origin": origin}
    assert outcome(guarded(hosts=OURS), headers, admin=True) == expected


def test_grpc_has_no_host_and_no_pages() -> None:
    access = guarded()
    assert outcome(access, bearer(ADMIN), admin=True, is_web=False) == "in"
    assert outcome(access, bearer(USE), admin=True, is_web=False) == "PermissionDenied"
    assert outcome(access, {}, admin=True, is_web=False) == "Unauthenticated"


# ------------------------------------------------------------------------------- over real sockets


async def status(session: aiohttp.ClientSession, method: str, target: str, **how: Any) -> int:
    async with session.request(method, target, **how) as response:
        return response.status


async def infer(server: ByHand, session: aiohttp.ClientSession, token: str) -> object:
    sent = asyncio.create_task(session.post(PREDICT, data=body(2.0), headers=bearer(token)))
    await until(lambda: server.executor.handed_over == 1)
    server.run_next()
    return await (await sent).json()


def test_with_tokens_only_probes_are_answered_without_one() -> None:
    async def main() -> None:
        async with (
            served_by_hand(access=guarded()) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            for probe in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
                assert await status(session, "GET", probe) == 200
            for method, target in [
                *(("GET", STATUS), ("GET", f"{STATUS}/metadata"), ("POST", PREDICT)),
                *(("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/nothing")),
                *(("GET", "/v2"), ("POST", "/v2/models/doubler/infer"), ("POST", LOAD)),
            ]:
                async with session.request(method, target) as refused:
                    assert (target, refused.status) == (target, 401)
                    assert refused.headers["WWW-Authenticate"] == "Bearer"
                    assert "Authorization: Bearer" in (await refused.json())["error"]
            assert server.executor.handed_over == 0
            for token in (USE, ADMIN):
                assert await infer(server, session, token) == {"predictions": [[4.0]]}
                assert await status(session, "GET", "/metrics", headers=bearer(token)) == 200

    asyncio.run(main())


def test_who_may_administer_and_who_not() -> None:
    async def main() -> None:
        async with (
            served_by_hand(access=guarded()) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            # This server was configured with no model: it lets in, and does not find one to load.
            expected = {ADMIN: 404, USE: 403, "unknown": 401}
            for token, code in expected.items():
                assert await status(session, "POST", LOAD, headers=bearer(token)) == code
            host, port = server.url.removeprefix("http://").split(":")
            for headers, code in [
                ({"Host": f"evil.example:{port}"}, 403),
                ({"Origin": "http://evil.example"}, 403),
                ({"Origin": f"http://{host}:{port}"}, 404),
            ]:
                told = headers | bearer(ADMIN)
                assert await status(session, "POST", LOAD, headers=told) == code

    asyncio.run(main())


def test_without_the_switch_nobody_administers_and_everybody_infers() -> None:
    async def main() -> None:
        async with served_by_hand() as server, aiohttp.ClientSession(server.url) as session:
            async with session.post(LOAD, headers=bearer(ADMIN)) as refused:
                assert refused.status == 403
                assert await refused.json() == {"error": "administration is switched off"}
            assert await infer(server, session, "unknown") == {"predictions": [[4.0]]}

    asyncio.run(main())


def test_a_client_that_tells_no_host_does_not_administer() -> None:
    async def main() -> None:
        async with served_by_hand(access=guarded()) as server:
            reader, writer = await server.connect()
            writer.write(f"POST {LOAD} HTTP/1.0\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 403")
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_every_administrative_call_leaves_an_entry() -> None:
    async def main() -> None:
        async with (
            served_by_hand(access=guarded()) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            with capture_logs() as entries:
                for token in (ADMIN, USE, "unknown", ""):
                    await status(session, "POST", f"{LOAD}?x=y", headers=bearer(token))
                await status(session, "POST", LOAD, headers=bearer(ADMIN), data=b"{")
                await status(session, "GET", STATUS, headers=bearer(ADMIN))
            assert entries == [
                {
                    "event": "administration",
                    "log_level": "info",
                    "token": token,
                    "operation": f"POST {LOAD}",
                    "model": "doubler",
                    "outcome": came,
                }
                for token, came in [
                    ("ops", "NOT_FOUND"),
                    ("ci", "PERMISSION_DENIED"),
                    ("", "UNAUTHENTICATED"),
                    ("", "UNAUTHENTICATED"),
                    ("ops", "INVALID_ARGUMENT"),
                ]
            ]
            assert ADMIN not in str(entries)

    asyncio.run(main())


def test_the_entry_tells_what_came_of_it() -> None:
    access = guarded()
    exchange = Exchange("POST", LOAD, CIMultiDict(bearer(ADMIN)), b"")

    def record(error: BaseException | None) -> str:
        ends = contextlib.suppress(Exception, asyncio.CancelledError)
        with capture_logs() as entries, ends, access.recorded(exchange, "doubler"):
            if error is not None:
                raise error
        (entry,) = entries
        return str(entry["outcome"])

    assert record(None) == "OK"
    assert record(asyncio.CancelledError()) == "CANCELLED"
    assert record(KeyError("a defect")) == "INTERNAL"
    assert record(PermissionDenied("no")) == "PERMISSION_DENIED"
    assert record(Unauthenticated("who")) == "UNAUTHENTICATED"


@pytest.mark.parametrize("target", [STATUS, "/v2/models/doubler/infer"])
@pytest.mark.parametrize("tokens", [(), (USE_KEPT,)], ids=["open", "tokens"])
def test_pages_of_other_origins_may_send_a_token_where_one_is_needed(
    target: str, tokens: tuple[Token, ...]
) -> None:
    async def main() -> None:
        front = Application(Config(cors=True, tokens=tokens)).front
        headers = CIMultiDict(Origin="https://page.example")
        for method in ("OPTIONS", "GET"):
            answer = await front.handle(Exchange(method, target, headers, b""))
            assert answer.headers is not None
            allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
            assert allowed.count("Authorization") == len(tokens)
            # What a browser asks first has no token; what it sends then has one.
            assert (answer.status == 200) == (method == "OPTIONS")

    asyncio.run(main())


def test_over_grpc_the_same_holds() -> None:
    async def main() -> None:
        async with served_by_hand(access=guarded()) as server:
            protocol = OipGrpc()

            async def code(method: str, token: str) -> int:
                headers = CIMultiDict(authorization=f"Bearer {token}")
                target = f"/inference.GRPCInferenceService/{method}"
                exchange = Exchange("POST", target, headers, b"", is_web=False)
                return (await server.front.handle(exchange, protocol)).status

            assert await code("ServerLive", "") == 0
            assert await code("ServerMetadata", "") == 16
            assert await code("ServerMetadata", USE) == 0
            assert await code("RepositoryModelLoad", USE) == 7
            assert await code("RepositoryModelLoad", "") == 16
            assert await code("RepositoryModelLoad", ADMIN) == 5

    asyncio.run(main())
