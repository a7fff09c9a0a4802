"""gRPC of a real `batcher-server`: announced, drained on SIGTERM, absent where nobody wants it."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import tensorflow as tf
import tritonclient.grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from server.demo.scans import held_out
from server.protocols.wire import message
from tests.server.process import ServerProcess, run_to_end

ROOT = Path(__file__).parents[2]

CLIENTS = 64
ANSWERS_BEFORE_THE_SIGNAL = 300


def one_scan() -> predict_pb2.PredictRequest:
    """A request for the bundled model."""
    scans, _ = held_out()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(scans[:1]))
    return request


async def load_until_refused(server: ServerProcess) -> list[tuple[grpc.StatusCode, str]]:
    """How calls end; each client goes on until one does not end well."""
    request, ends = one_scan(), []
    stop = asyncio.Event()

    async def client(predict: Any) -> None:
        code = grpc.StatusCode.OK
        while code is grpc.StatusCode.OK:
            call = predict(request)
            code = await call.code()
            ends.append((code, await call.details()))
            if len(ends) == ANSWERS_BEFORE_THE_SIGNAL:
                stop.set()

    async with (
        grpc.aio.insecure_channel(server.grpc_address) as channel,
        asyncio.TaskGroup() as group,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        for _ in range(CLIENTS):
            group.create_task(client(predict))
        await stop.wait()
        server.process.send_signal(signal.SIGTERM)
    return ends


def test_no_call_is_lost_on_sigterm() -> None:
    with ServerProcess("--grpc-port", "0") as server:
        with grpc.insecure_channel(server.grpc_address) as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(watching).status == health_pb2.HealthCheckResponse.SERVING

            ends = asyncio.run(load_until_refused(server))

            assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.RpcError) as ended:
                next(watching)
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        _, log = server.process.communicate()
    assert server.process.returncode == 0, log
    assert f'"grpc://{server.grpc_address}"' in log
    assert all(line.startswith("{") for line in log.splitlines()), log
    assert ends.count((grpc.StatusCode.UNAVAILABLE, "the server is shutting down")) == CLIENTS
    assert ends.count((grpc.StatusCode.OK, "")) == len(ends) - CLIENTS


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, errors = run_to_end("--port", "0", "--grpc-port", port, "--log-level", "error")
    assert code == 2
    assert errors.count("\n") == 1, errors
    assert "cannot listen" in errors
    assert port in errors


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_server_without_grpc_says_how_to_get_it() -> None:
    ended = python(
        "import sys; sys.modules['grpc'] = None\n"
        "sys.argv[1:] = ['--port', '0', '--grpc-port', '0']\n"
        "from server.cli import main; main()"
    )
    assert ended.returncode == 2
    assert ended.stderr == ("batcher-server: gRPC is not installed: pip install 'batcher[grpc]'\n")


def test_a_server_that_nobody_asks_for_grpc_does_not_load_it() -> None:
    ended = python("import sys, server.lifecycle; print('grpc' in sys.modules)")
    assert ended.stdout == "False\n", ended.stderr


OURS = "import server.protocols.over_grpc"
THEIRS = "import tritonclient.grpc, grpc_health.v1.health_pb2"


@pytest.mark.parametrize("program", [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}"])
def test_the_stubs_of_clients_load_before_and_after_ours(program: str) -> None:
    ended = python(f"{program}\nprint('loaded')")
    assert ended.stdout == "loaded\n", ended.stderr


@pytest.mark.parametrize(
    "theirs",
    [
        predict_pb2.PredictRequest,
        tritonclient.grpc.service_pb2.ModelInferRequest,
        health_pb2.HealthCheckResponse,
    ],
)
def test_messages_of_clients_and_ours_are_of_different_classes(theirs: Any) -> None:
    ours = message(theirs.DESCRIPTOR.full_name)

    assert ours is not theirs
    assert ours.DESCRIPTOR.file.pool is not theirs.DESCRIPTOR.file.pool
