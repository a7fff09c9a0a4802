"""Whatever goes wrong, the answer holds nothing of what a tensor held, and no traceback."""

import asyncio
import base64
import gzip
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from server.access import Access
from server.app import Application
from server.config import Config, ModelConfig
from server.errors import Code
from server.exchange import Answer, Exchange
from server.protocols.over_grpc import GRPC_PROTOCOLS
from server.protocols.wire import message
from server.serving import Phase
from server.signature import Tensors
from server.tokens import make_token
from tests.server.by_hand import PREDICT, ByHand, body, served_by_hand, until
from tests.server.conftest import Served

NUMBER = 73219.625
WORD = "what-only-the-client-knows"
SECRETS = re.compile(rb"73219|what-only-the|" + re.escape(base64.b64encode(WORD.encode())[:12]))
TRACEBACK = re.compile(rb"Traceback|File \"|\.py\b|0x[0-9a-f]{6}")

TFS, OIP = "/v1/models", "/v2/models"
INFER = f"{OIP}/doubler/infer"


def assert_clean(answer: Answer) -> None:
    assert answer.status != 200
    assert answer.body
    assert not SECRETS.search(answer.body), answer.body
    assert not TRACEBACK.search(answer.body), answer.body


def npy(*values: object) -> bytes:
    """An array as `numpy.save` writes it."""
    stream = io.BytesIO()
    np.save(stream, np.array(values))
    return stream.getvalue()


def tensor(data: object, shape: Sequence[int], datatype: str = "FP32", name: str = "x") -> Any:
    """A request of the Open Inference Protocol for one input."""
    given = {"name": name, "datatype": datatype, "shape": list(shape), "data": data}
    return {"inputs": [given]}


def binary(declared: int, raw: bytes, datatype: str = "FP32") -> tuple[bytes, dict[str, str]]:
    """A request of the Open Inference Protocol with a raw tensor of so many declared bytes."""
    parameters = {"binary_data_size": declared}
    given = {"name": "x", "datatype": datatype, "shape": [1, 1], "parameters": parameters}
    head = json.dumps({"inputs": [given]}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


HALF, DTYPES, ODD = "half_plus_two", "every_dtype", "odd_ones"
WORDS, EXAMPLES = "words", "of_examples"

INVALID: Mapping[str, tuple[str, Any]] = {
    "rest: a string for a number": (f"{TFS}/{HALF}:predict", {"instances": [[WORD]]}),
    "rest: ragged": (f"{TFS}/{HALF}:predict", {"instances": [[NUMBER], [NUMBER, NUMBER]]}),
    "rest: too deep": (f"{TFS}/{HALF}:predict", {"instances": [[[NUMBER]]]}),
    "rest: cut off": (f"{TFS}/{HALF}:predict", f'{{"instances": [[{NUMBER}], ["{WORD}'.encode()),
    "rest: no JSON": (f"{TFS}/{HALF}:predict", f'{{"instances": [{NUMBER} {WORD}]}}'.encode()),
    "rest: more than JSON": (f"{TFS}/{HALF}:predict", f'{{"instances": [1.0]}}{WORD}'.encode()),
    "rest: no UTF-8": (f"{TFS}/{HALF}:predict", f'{{"instances": ["{WORD}'.encode() + b'\xff"]}'),
    "rest: not in the integer": (
        f"{TFS}/{DTYPES}:predict",
        {"signature_name": "int8", "instances": [[[int(NUMBER)]]]},
    ),
    "rest: a fraction for an integer": (
        f"{TFS}/{DTYPES}:predict",
        {"signature_name": "int32", "inputs": [[[NUMBER]]]},
    ),
    "rest: a number for a boolean": (
        f"{TFS}/{DTYPES}:predict",
        {"signature_name": "bool", "instances": [[[NUMBER]]]},
    ),
    "rest: refused by the model": (
        f"{TFS}/{ODD}:predict",
        {"signature_name": "no_negatives", "instances": [[-NUMBER, -NUMBER]]},
    ),
    "rest: a list of another length": (
        f"{TFS}/two_by_two:predict",
        {"inputs": {"a": [[NUMBER, 1.0]], "b": [[NUMBER, 1.0], [1.0, 1.0]]}},
    ),
    "rest: a number for a string": (f"{TFS}/{WORDS}:predict", {"instances": [NUMBER]}),
    "rest: no base64": (f"{TFS}/{WORDS}:predict", {"instances": [{"b64": WORD + "!"}]}),
    "rest: an example of the wrong kind": (
        f"{TFS}/{EXAMPLES}:classify",
        {"signature_name": "classify", "examples": [{"x": [WORD]}]},
    ),
    "rest: an example of mixed kinds": (
        f"{TFS}/{EXAMPLES}:regress",
        {"signature_name": "regress_x_to_y", "examples": [{"x": [NUMBER, WORD]}]},
    ),
    "oip: a string for a number": (f"{OIP}/{HALF}/infer", tensor([WORD], [1, 1])),
    "oip: too many": (f"{OIP}/{HALF}/infer", tensor([NUMBER] * 2, [1, 1])),
    "oip: another shape": (f"{OIP}/{HALF}/infer", tensor([NUMBER] * 2, [1, 2])),
    "oip: ragged": (f"{OIP}/{HALF}/infer", tensor([[NUMBER], [NUMBER, 1.0]], [2, 1])),
    "oip: another datatype": (f"{OIP}/{HALF}/infer", tensor([WORD], [1, 1], "BYTES")),
    "oip: a number for a string": (
        f"{OIP}/{WORDS}/infer",
        tensor([NUMBER], [1], "BYTES", "text"),
    ),
    "oip: no JSON": (f"{OIP}/{HALF}/infer", f'{{"inputs": [{NUMBER} {WORD}'.encode()),
    "oip: bytes left over": (f"{OIP}/{HALF}/infer", binary(4, WORD.encode())),
    "oip: bytes missing": (f"{OIP}/{HALF}/infer", binary(400, WORD.encode())),
    "plain: no npy": (
        f"{TFS}/{HALF}:predict",
        (b"\x93NUMPY\x01\x00" + WORD.encode(), {"Content-Type": "application/x-npy"}),
    ),
    "plain: strings": (
        f"{TFS}/{HALF}:predict",
        (npy(WORD), {"Content-Type": "application/x-npy"}),
    ),
    "plain: another shape": (
        f"{TFS}/{HALF}:predict",
        (npy(NUMBER, NUMBER), {"Content-Type": "application/x-npy"}),
    ),
    "plain: no zip": (
        f"{TFS}/{HALF}:predict",
        (WORD.encode(), {"Content-Type": "application/x-npz"}),
    ),
    "plain: half an element": (
        f"{TFS}/{HALF}:predict",
        (WORD.encode() + b"!", {"Content-Type": "application/octet-stream"}),
    ),
    "gzip: cut off": (
        f"{TFS}/{HALF}:predict",
        (gzip.compress(WORD.encode())[:-4], {"Content-Encoding": "gzip"}),
    ),
    "gzip: none": (f"{TFS}/{HALF}:predict", (WORD.encode(), {"Content-Encoding": "gzip"})),
}


@pytest.mark.parametrize("which", INVALID)
def test_a_wrong_input_is_told_without_what_it_held(served: Served, which: str) -> None:
    target, sent = INVALID[which]
    content, headers = sent if isinstance(sent, tuple) else (sent, {})
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert SECRETS.search(raw) or headers
    exchange = Exchange(
        "POST", target, CIMultiDict(headers), raw, headers.get("Content-Encoding", "")
    )
    with capture_logs() as entries:
        answer = served.run(served.application.front.handle(exchange))
    assert answer.status == 400
    assert_clean(answer)
    # A client's mistake is nothing to wake an operator for.
    assert entries == []


def of_tensorflow() -> Any:
    """A PredictRequest for `half_plus_two` whose floats do not fit its shape."""
    request = message("tensorflow.serving.PredictRequest")()
    request.model_spec.name = HALF
    sent = request.inputs["x"]
    sent.dtype = 1
    for size in (1, 3):
        sent.tensor_shape.dim.add().size = size
    sent.float_val.extend([NUMBER] * 2)
    return "tensorflow.serving.PredictionService", "Predict", request


def of_triton() -> Any:
    """A ModelInferRequest for `half_plus_two` whose raw bytes do not fit its shape."""
    request = message("inference.ModelInferRequest")(model_name=HALF)
    sent = request.inputs.add(name="x", datatype="FP32")
    sent.shape.extend([1, 1])
    request.raw_input_contents.append(WORD.encode())
    return "inference.GRPCInferenceService", "ModelInfer", request


def of_nonsense() -> Any:
    """A request whose bytes are no message."""

    class Nonsense:
        def SerializeToString(self) -> bytes:  # noqa: N802 - as protobuf's messages have it
            return WORD.encode()

    return "tensorflow.serving.PredictionService", "Predict", Nonsense()


@pytest.mark.parametrize("make", [of_tensorflow, of_triton, of_nonsense])
def test_over_grpc_a_wrong_input_is_told_without_what_it_held(served: Served, make: Any) -> None:
    service, method, request = make()
    (protocol,) = [each for each in GRPC_PROTOCOLS if each.service == service]
    exchange = Exchange(
        "POST", f"/{service}/{method}", CIMultiDict(), request.SerializeToString(), is_web=False
    )
    with capture_logs() as entries:
        answer = served.run(served.application.front.handle(exchange, protocol))
    assert answer.status == Code.INVALID_ARGUMENT.grpc_status
    assert_clean(answer)
    assert entries == []


# ------------------------------------------------------------------------------- every other error


def failing(signature: str, inputs: Tensors) -> Tensors:  # noqa: ARG001 - as models have it
    """A model with a defect that tells everything."""
    msg = f"cannot work with {inputs}"
    raise RuntimeError(msg)


async def post(server: ByHand, **headers: str) -> Answer:
    content = body(NUMBER)
    return await server.front.handle(Exchange("POST", PREDICT, CIMultiDict(headers), content))


async def internal(server: ByHand) -> Answer:
    server.model.run = failing  # type: ignore[method-assign]
    asked = asyncio.create_task(post(server))
    await until(lambda: server.executor.handed_over == 1)
    server.run_next()
    return await asked


async def defect(server: ByHand) -> Answer:
    server.serving.tracing = True
    server.front._tracer = None  # type: ignore[assignment]
    asked = asyncio.create_task(post(server))
    await until(lambda: server.executor.handed_over == 1)
    server.run_next()
    return await asked


async def late(server: ByHand) -> Answer:
    return await post(server, **{"X-Request-Timeout-Ms": "0.001"})


async def draining(server: ByHand) -> Answer:
    server.serving.phase = Phase.DRAINING
    return await post(server)


async def full(server: ByHand) -> Answer:
    running = asyncio.create_task(post(server))
    await until(lambda: server.executor.handed_over == 1)
    waiting = asyncio.create_task(post(server))
    await until(lambda: server.batcher.stats().queued_rows == 1)
    answer = await post(server)
    for each in (running, waiting):
        server.run_next()
        await each
    return answer


async def over_http(server: ByHand, content: bytes) -> Answer:
    async with aiohttp.ClientSession(server.url) as session:
        sent = io.BytesIO(content)
        async with session.post(
            PREDICT, data=sent, headers={"Content-Length": str(len(content))}
        ) as answer:
            return Answer(answer.status, await answer.read())


async def large(server: ByHand) -> Answer:
    return await over_http(server, body(*[NUMBER] * 1000))


async def encoded(server: ByHand) -> Answer:
    headers = CIMultiDict({"Content-Encoding": "br"})
    return await server.front.handle(Exchange("POST", INFER, headers, body(NUMBER), "br"))


async def bad_chunk(server: ByHand) -> Answer:
    reader, writer = await server.connect()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(f"{head}5\r\n12345\r\n{WORD}\r\n{NUMBER}\r\n".encode())
    told = await reader.read()
    writer.close()
    await writer.wait_closed()
    return Answer(int(told.split(b" ")[1]), told)


async def missing(server: ByHand) -> Answer:
    target = "/v1/models/nobody:predict"
    return await server.front.handle(Exchange("POST", target, CIMultiDict(), body(NUMBER)))


async def method(server: ByHand) -> Answer:
    return await server.front.handle(Exchange("PUT", INFER, CIMultiDict(), body(NUMBER)))


async def sequence(server: ByHand) -> Answer:
    content = json.dumps(tensor([NUMBER], [1, 1]) | {"parameters": {"sequence_id": 1}}).encode()
    return await server.front.handle(Exchange("POST", INFER, CIMultiDict(), content))


async def unauthenticated(server: ByHand) -> Answer:
    server.front._access = Access((make_token("ci")[1],))
    return await post(server, Authorization=f"Bearer {WORD}")


async def denied(server: ByHand) -> Answer:
    target = "/v2/repository/models/doubler/load"
    return await server.front.handle(Exchange("POST", target, CIMultiDict(), body(NUMBER)))


SCENES = {
    internal: Code.INTERNAL,
    defect: Code.INTERNAL,
    late: Code.DEADLINE_EXCEEDED,
    draining: Code.UNAVAILABLE,
    full: Code.UNAVAILABLE,
    large: Code.TOO_LARGE,
    encoded: Code.UNSUPPORTED_ENCODING,
    bad_chunk: Code.INVALID_ARGUMENT,
    missing: Code.NOT_FOUND,
    method: Code.METHOD_NOT_ALLOWED,
    unauthenticated: Code.UNAUTHENTICATED,
    denied: Code.PERMISSION_DENIED,
    sequence: Code.UNIMPLEMENTED,
}

OF_ADMINISTRATION = {Code.ABORTED, Code.FAILED_PRECONDITION}


def test_no_code_is_left_out() -> None:
    assert {*SCENES.values()} | OF_ADMINISTRATION == {*Code}


@pytest.mark.parametrize(
    ("scene", "code"), SCENES.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_every_error_is_told_without_what_was_sent(scene: Any, code: Code) -> None:
    async def main() -> None:
        async with served_by_hand(max_queue_size=1, max_body_size=4000) as server:
            answer = await scene(server)
            assert answer.status == code.http_status
            assert_clean(answer)

    with capture_logs():
        asyncio.run(main())


def test_a_change_that_fails_says_what_is_on_the_disk_only(
    models: dict[str, Path], tmp_path: Path
) -> None:
    secret, kept = make_token("ops")
    (tmp_path / "1").symlink_to(models[HALF] / "123")
    config = Config((ModelConfig("half", tmp_path),), admin=True, admin_tokens=(kept,))

    async def main() -> None:
        app = Application(config)
        app.open()
        await app.start()
        headers = CIMultiDict(Authorization=f"Bearer {secret}", Host="localhost")
        change = Exchange("POST", "/v2/repository/models/half/load", headers, b"")
        first, second = await asyncio.gather(*[app.front.handle(change) for _ in range(2)])
        assert (first.status, second.status) == (200, Code.ABORTED.http_status)
        assert_clean(second)
        (tmp_path / "1").unlink()
        failed = await app.front.handle(change)
        assert failed.status == Code.FAILED_PRECONDITION.http_status
        assert_clean(failed)
        await app.drain()
        app.close()

    asyncio.run(main())
