"""Any bytes, to every method over gRPC: an answer or a refusal, never a defect."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from structlog.testing import capture_logs

from server.errors import Code
from server.exchange import Exchange
from server.protocols.grpc_protocol import GrpcProtocol
from server.protocols.over_grpc import GRPC_PROTOCOLS
from server.protocols.wire import message
from tests.server.conftest import Served

fuzz = settings(derandomize=True, deadline=None, max_examples=40)

METHODS = [
    pytest.param(protocol, method, id=f"{protocol.service}.{method}")
    for protocol in GRPC_PROTOCOLS
    for method in protocol.methods
]

TENSOR = {
    "dtype": "DT_FLOAT",
    "tensor_shape": {"dim": [{"size": 2}, {"size": 1}]},
    "float_val": [1.0, 2.0],
}
EXAMPLES = {"example_list": {"examples": [b"", b""]}}


def made(name: str, **fields: Any) -> bytes:
    """A serialized message of ours."""
    serialized: bytes = message(f"tensorflow.serving.{name}")(**fields).SerializeToString()
    return serialized


def regress(signature: str) -> dict[str, Any]:
    """A task of a MultiInferenceRequest."""
    spec = {"name": "examples", "signature_name": signature}
    return {"model_spec": spec, "method_name": "tensorflow/serving/regress"}


GOOD = {
    "Predict": made("PredictRequest", model_spec={"name": "half_plus_two"}, inputs={"x": TENSOR}),
    "Classify": made(
        "ExamplesRequest", model_spec=regress("classify")["model_spec"], input=EXAMPLES
    ),
    "Regress": made("ExamplesRequest", model_spec=regress("regress")["model_spec"], input=EXAMPLES),
    "MultiInference": made(
        "MultiInferenceRequest", tasks=[regress("regress"), regress("regress_flat")], input=EXAMPLES
    ),
    "GetModelMetadata": made(
        "GetModelMetadataRequest",
        model_spec={"name": "half_plus_two"},
        metadata_field=["signature_def"],
    ),
    "GetModelStatus": made("RequestHead", model_spec={"name": "half_plus_two"}),
    "Check": b"",
    "List": b"",
    "Watch": b"",
}
"""A request to each method of ours that is answered, to be spoilt."""


def ask(served: Served, protocol: GrpcProtocol, method: str, body: bytes) -> int:
    """The status of an answer; a stream is not read on."""
    exchange = Exchange("POST", f"/{protocol.service}/{method}", CIMultiDict(), body)
    front = served.application.front
    return served.run(asyncio.wait_for(front.handle(exchange, protocol), timeout=60)).status


@pytest.mark.parametrize("method", GOOD)
def test_a_good_request_is_answered(served: Served, method: str) -> None:
    (protocol,) = [each for each in GRPC_PROTOCOLS if method in each.methods]

    assert ask(served, protocol, method, GOOD[method]) == 0


@pytest.mark.parametrize(("protocol", "method"), METHODS)
@fuzz
@given(noise=st.binary(max_size=64), data=st.data())
def test_any_bytes_are_answered_or_refused(
    served: Served, protocol: GrpcProtocol, method: str, noise: bytes, data: st.DataObject
) -> None:
    good = GOOD.get(method, b"")
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    with capture_logs() as logs:
        for body in (noise, good + noise, good[:start] + noise + good[end:]):
            assert ask(served, protocol, method, body) != Code.INTERNAL.grpc_status
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
