"""The adapter of gRPC: statuses, deadlines, cancellation, limits, and the end."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from server.adapters.grpc_server import GrpcServer
from server.errors import InvalidArgument
from server.exchange import Answer, Exchange
from server.protocols.grpc_protocol import GrpcProtocol
from server.protocols.over_grpc import GRPC_PROTOCOLS
from server.protocols.protocol import Call, Serving
from server.serving import Phase
from tests.server.by_hand import until
from tests.server.grpc_by_hand import GrpcByHand, doubled, grpc_by_hand, values

CLIENTS = 64


async def answered(server: GrpcByHand, *calls: Any) -> list[Any]:
    """The answers to calls, with the model running whatever has come."""
    waiting = asyncio.gather(*calls)
    while not waiting.done():
        await until(lambda: waiting.done() or bool(server.behind.executor.handed_over))
        if not waiting.done():
            server.behind.run_next()
    return await waiting


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call is expected to end in."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def trailers(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Trailing metadata by name."""
    return dict(error.trailing_metadata() or ())


# ---------------------------------------------------------------------------- one call at a time


def test_callers_share_a_batch() -> None:
    async def main() -> None:
        async with grpc_by_hand(max_queue_size=CLIENTS) as server:
            behind = server.behind
            first = server.predict(doubled(0.0))
            await until(lambda: bool(behind.executor.handed_over))
            others = [server.predict(doubled(float(n))) for n in range(1, CLIENTS)]
            await until(lambda: behind.batcher.stats().queued_rows == CLIENTS - 1)
            answers = await answered(server, first, *others)

            assert [values(answer) for answer in answers] == [[2.0 * n] for n in range(CLIENTS)]
            assert [len(seen) for seen in behind.model.seen] == [1, *[8] * 7, 7]

    asyncio.run(main())


def test_the_times_and_the_id_come_back_as_trailing_metadata() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            metadata = (("x-request-id", "abc"), ("trace-bin", b"\x00"))
            call = server.predict(doubled(1.0), metadata=metadata)
            await answered(server, call)
            told = dict(await call.trailing_metadata())

            assert told["x-request-id"] == "abc"
            assert told["server-timing"].startswith("queue;dur=")

    asyncio.run(main())


@pytest.mark.parametrize(
    "method",
    [
        "/tensorflow.serving.PredictionService/PredictStreamed",
        "/tensorflow.serving.SessionService/SessionRun",
        "/other.Service/Method",
    ],
)
def test_unknown_methods_and_services_are_unimplemented(method: str) -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            error = await refused(server.channel.unary_unary(method)(b""))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(main())


def test_a_failing_model_is_an_internal_error() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            server.behind.model.run = _fail  # type: ignore[assignment, method-assign]
            with capture_logs() as logs:
                error = await refused(answered(server, server.predict(doubled(1.0))))

            assert error.code() is grpc.StatusCode.INTERNAL
            assert error.details() == "the model failed: ZeroDivisionError"
            assert [entry["event"] for entry in logs] == ["inference failed"]

    asyncio.run(main())


def _fail(*_: object) -> Any:
    raise ZeroDivisionError


# ------------------------------------------------------------------------------ until when


async def queue_behind_a_batch(server: GrpcByHand) -> Any:
    """A call whose batch the model has been handed, so that whatever comes now waits."""
    first = server.predict(doubled(1.0))
    await until(lambda: bool(server.behind.executor.handed_over))
    return first


def test_a_call_that_is_cancelled_takes_its_rows_out_of_the_queue() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            stats = server.behind.batcher.stats
            first = await queue_behind_a_batch(server)
            given_up, third = server.predict(doubled(2.0)), server.predict(doubled(3.0))
            await until(lambda: stats().queued_rows == 2)

            given_up.cancel()
            await until(lambda: stats().queued_rows == 1)

            assert [values(answer) for answer in await answered(server, first, third)] == [[2], [6]]
            assert server.behind.model.seen == [[1.0], [3.0]]

    asyncio.run(main())


def test_a_call_whose_client_disconnects_takes_its_rows_out_of_the_queue() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            stats = server.behind.batcher.stats
            first = await queue_behind_a_batch(server)
            async with grpc.aio.insecure_channel(server.address) as channel:
                call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
                call(doubled(2.0).SerializeToString())
                await until(lambda: stats().queued_rows == 1)
            await until(lambda: stats().queued_rows == 0)

            await answered(server, first)
            assert server.behind.model.seen == [[1.0]]

    asyncio.run(main())


def test_a_call_whose_deadline_passes_takes_its_rows_out_of_the_queue() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            first = await queue_behind_a_batch(server)

            error = await refused(server.predict(doubled(2.0), timeout=0.2))

            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: server.behind.batcher.stats().queued_rows == 0)
            await answered(server, first)
            assert server.behind.model.seen == [[1.0]]

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_the_shorter_of_deadline_and_metadata_wins(timeout: float | None) -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            metadata = (("x-request-timeout-ms", "1"),)
            call = server.predict(doubled(2.0), metadata=metadata, timeout=timeout)

            error = await refused(call)

            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            told = re.search(r"within its (\S+) s", str(error.details()))
            assert told is not None
            assert float(told[1]) <= 0.001

    asyncio.run(main())


# ------------------------------------------------------------------------------------ limits


def test_a_full_queue_is_unavailable_and_says_when_to_come_again() -> None:
    async def main() -> None:
        async with grpc_by_hand(max_batch_size=1, max_queue_size=1) as server:
            first = await queue_behind_a_batch(server)
            second = server.predict(doubled(2.0))
            await until(lambda: server.behind.batcher.stats().queued_rows == 1)

            error = await refused(server.predict(doubled(3.0)))

            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert "full" in str(error.details())
            assert int(trailers(error)["retry-after"]) >= 1
            await answered(server, first, second)

    asyncio.run(main())


ROWS_OF_LIMIT = 1000 // 4


@pytest.mark.parametrize(
    "compression",
    [grpc.Compression.NoCompression, grpc.Compression.Deflate, grpc.Compression.Gzip],
)
def test_a_message_beyond_the_limit_is_refused_also_when_it_comes_compressed(
    compression: grpc.Compression,
) -> None:
    async def main() -> None:
        async with grpc_by_hand(max_body_size=1000) as server:
            error = await refused(
                server.predict(doubled(*[0.0] * ROWS_OF_LIMIT), compression=compression)
            )

            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


@pytest.mark.parametrize("compression", [grpc.Compression.Deflate, grpc.Compression.Gzip])
def test_compressed_messages_are_read(compression: grpc.Compression) -> None:
    async def main() -> None:
        async with grpc_by_hand(max_body_size=1000, max_queue_size=ROWS_OF_LIMIT) as server:
            rows = [1.0] * (ROWS_OF_LIMIT - 50)
            call = server.predict(doubled(*rows), compression=compression)
            (answer,) = await answered(server, call)

            assert values(answer) == [2.0 for _ in rows]

    asyncio.run(main())


# ----------------------------------------------------------------------------------- streams


class Echo(GrpcProtocol):
    """Sends messages back: `Repeat` does it for each of a stream, and then byte by byte."""

    name = "echo"
    service = "test.Echo"
    streams = ("Repeat",)

    def __init__(self) -> None:
        self.methods = {"Repeat": self._repeat, "Defect": self._defect}

    def _repeat(self, exchange: Exchange) -> Call:
        if not exchange.body:
            msg = "there is nothing to repeat"
            raise InvalidArgument(msg)

        async def run(_: Serving) -> Answer:
            return Answer(0, exchange.body, more=_each(exchange.body))

        return Call(run)

    def _defect(self, _: Exchange) -> Call:
        raise ZeroDivisionError


async def _each(body: bytes) -> AsyncGenerator[bytes, None]:
    for place in range(len(body)):
        yield body[place : place + 1]


REPEAT = "/test.Echo/Repeat"


def test_each_message_of_a_stream_is_answered_in_turn() -> None:
    async def main() -> None:
        async with grpc_by_hand(Echo()) as server:
            stream = server.channel.stream_stream(REPEAT)(iter([b"ab", b"c"]))

            assert [message async for message in stream] == [b"ab", b"a", b"b", b"c", b"c"]
            assert await stream.code() is grpc.StatusCode.OK

    asyncio.run(main())


def test_the_first_error_ends_a_stream() -> None:
    async def main() -> None:
        async with grpc_by_hand(Echo()) as server:
            stream = server.channel.stream_stream(REPEAT)(iter([b"a", b"", b"b"]))

            assert [await stream.read(), await stream.read()] == [b"a", b"a"]
            assert (await refused(stream.read())).code() is grpc.StatusCode.INVALID_ARGUMENT
            assert await stream.details() == "there is nothing to repeat"

    asyncio.run(main())


def test_a_client_that_leaves_a_stream_is_forgotten() -> None:
    async def main() -> None:
        async with grpc_by_hand(Echo()) as server:
            stream = server.channel.stream_stream(REPEAT)()
            await stream.write(b"a")
            assert await stream.read() == b"a"
            assert len(server.server._streaming) == 1

            stream.cancel()

            await until(lambda: not server.server._streaming)

    asyncio.run(main())


def test_a_defect_is_an_internal_error_and_a_log_entry() -> None:
    async def main() -> None:
        async with grpc_by_hand(Echo()) as server:
            with capture_logs() as logs:
                error = await refused(server.channel.unary_unary("/test.Echo/Defect")(b""))

            assert error.code() is grpc.StatusCode.INTERNAL
            assert "ZeroDivisionError" not in str(error.details())
            assert [entry["target"] for entry in logs] == ["/test.Echo/Defect"]

    asyncio.run(main())


# ----------------------------------------------------------------------------------- the end


def test_a_server_that_drains_refuses_and_finishes_what_it_has() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            accepted = await queue_behind_a_batch(server)
            server.behind.serving.phase = Phase.DRAINING

            error = await refused(server.predict(doubled(2.0)))

            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details() == "the server is shutting down"
            (answer,) = await answered(server, accepted)
            assert values(answer) == [2.0]

    asyncio.run(main())


def test_closing_waits_for_answers_under_way_and_ends_streams() -> None:
    async def main() -> None:
        async with grpc_by_hand(Echo()) as server:
            accepted = await queue_behind_a_batch(server)
            stream = server.channel.stream_stream(REPEAT)()
            await stream.write(b"a")
            assert [await stream.read(), await stream.read()] == [b"a", b"a"]

            closing = asyncio.create_task(server.server.close(timeout=60.0))
            ended = await refused(stream.read())
            assert ended.code() is grpc.StatusCode.UNAVAILABLE
            assert ended.details() == "the server is shutting down"
            assert not closing.done()

            (answer,) = await answered(server, accepted)
            assert values(answer) == [2.0]
            await closing

    asyncio.run(main())


def test_a_server_that_was_never_opened_is_closed() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            await GrpcServer(server.behind.front).close(timeout=1.0)

    asyncio.run(main())


def test_a_port_that_is_taken_is_told() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            host, _, port = server.address.rpartition(":")
            with pytest.raises(OSError, match=port):
                await GrpcServer(server.behind.front).open(host, int(port))

    asyncio.run(main())


def test_an_address_of_ipv6_is_written_with_brackets() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            other = GrpcServer(server.behind.front)
            address = await other.open("::1", 0)
            assert address.startswith("grpc://[::1]:")

            target = address.removeprefix("grpc://")
            async with grpc.aio.insecure_channel(target) as channel:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                assert await check(b"") == b"\x08\x01"
            await other.close(timeout=1.0)

    asyncio.run(main())


def test_the_services_have_different_names_and_methods_that_they_take() -> None:
    targets = [f"/{each.service}/{method}" for each in GRPC_PROTOCOLS for method in each.methods]

    assert len(set(targets)) == len(targets)
    for target in targets:
        taken = [each for each in GRPC_PROTOCOLS if each.takes(Exchange("POST", target, {}, b""))]
        assert len(taken) == 1
    unknown = Exchange("POST", "/other.Service/Check", {}, b"")
    assert not any(each.takes(unknown) or each.paths([]) for each in GRPC_PROTOCOLS)
