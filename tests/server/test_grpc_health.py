"""gRPC's health checks, asked by the stubs of grpcio-health-checking."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.protocols.wire import message
from server.serving import Phase
from tests.server.grpc_by_hand import GrpcByHand, grpc_by_hand

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

SERVICES = [
    "",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "PredictionService",
    "ModelService",
]


def stub(server: GrpcByHand) -> Any:
    return health_pb2_grpc.HealthStub(server.channel)


def about(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_healthy_while_the_server_is_ready(service: str) -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            told = []
            for phase in (Phase.STARTING, Phase.READY, Phase.DRAINING):
                server.behind.serving.phase = phase
                told.append((await stub(server).Check(about(service))).status)

            assert told == [NOT_SERVING, SERVING, NOT_SERVING]

    asyncio.run(main())


def test_an_unknown_service_is_not_found() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            with pytest.raises(grpc.aio.AioRpcError, match="no service 'other'") as refused:
                await stub(server).Check(about("other"))

            assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    asyncio.run(main())


def test_all_services_are_listed() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            ask = server.channel.unary_unary("/grpc.health.v1.Health/List")

            told = message("grpc.health.v1.HealthListResponse").FromString(await ask(b""))

            assert set(SERVICES) <= set(told.statuses)
            assert {each.status for each in told.statuses.values()} == {SERVING}

    asyncio.run(main())


def test_who_watches_is_told_of_every_change() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            watching = [stub(server).Watch(about()), stub(server).Watch(about("ModelService"))]
            assert [(await each.read()).status for each in watching] == [SERVING, SERVING]

            server.behind.serving.phase = Phase.DRAINING
            assert [(await each.read()).status for each in watching] == [NOT_SERVING] * 2

            # As long as nothing has changed for them, nothing is told.
            server.behind.serving.phase = Phase.STARTING
            server.behind.serving.phase = Phase.READY
            assert [(await each.read()).status for each in watching] == [SERVING, SERVING]

    asyncio.run(main())


def test_who_watches_an_unknown_service_is_told_so_and_stays() -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            watching = stub(server).Watch(about("other"))
            assert (await watching.read()).status == SERVICE_UNKNOWN
            server.behind.serving.phase = Phase.DRAINING

            await server.server.close(timeout=60.0)

            with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as ended:
                await watching.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(main())


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_bytes_that_are_no_message_are_an_invalid_argument(method: str) -> None:
    async def main() -> None:
        async with grpc_by_hand() as server:
            call = server.channel.unary_unary(f"/grpc.health.v1.Health/{method}")
            with pytest.raises(grpc.aio.AioRpcError, match="2 bytes") as refused:
                await call(b"\xff\xff")

            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(main())
