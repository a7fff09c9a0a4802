"""Whatever a body of the Open Inference Protocol holds, it decodes or is refused."""

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import InvalidArgument, Unimplemented
from server.exchange import Exchange
from server.inference import InferenceResponse, ModelAddress, ServedModel
from server.protocols.oip_http import OipHttp
from server.protocols.protocol import Infer
from server.signature import Array, Signature, Tensors, TensorSpec
from tests.server.oip_asking import ALL_RAW, INFLATE, LENGTH, body_of, decode, one_input

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

MODELS = [one_input((None, 2)), one_input(None, "string"), one_input((None, None), "float16")]


@fuzz
@given(
    st.sampled_from(MODELS),
    st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: b'{"inputs": [{' + tail),
    st.integers(0, 30),
)
def test_any_bytes_decode_or_are_refused(model: ServedModel, body: bytes, length: int) -> None:
    assert_tensors_or_told(model, body, length)


values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from("xy")
    | (st.sampled_from(["INT16", "BYTES", "FP16", "serving_default"]))
)
trees = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "name", "shape", "datatype", "data", "parameters", "binary_data_size"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {"name": st.just("x") | trees},
    optional={
        "shape": st.lists(st.integers(-1, 3), max_size=3) | trees,
        "datatype": st.sampled_from(["INT16", "BYTES", "FP16"]) | trees,
        "data": trees,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(0, 9)}),
    },
)
bodies = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | trees},
    optional={"id": trees, "outputs": st.lists(tensors, max_size=2) | trees, "parameters": trees},
)


@fuzz
@given(st.sampled_from(MODELS), bodies | trees, st.binary(max_size=12))
def test_any_json_decodes_or_is_refused(model: ServedModel, body: Any, raw: bytes) -> None:
    head = json.dumps(body).encode()
    assert_tensors_or_told(model, head + raw, len(head))


def assert_tensors_or_told(model: ServedModel, body: bytes, length: int) -> None:
    try:
        request = decode(model, body, length)
    except (InvalidArgument, Unimplemented):
        return
    (spec,) = request.signature.inputs.values()
    for name, array in request.inputs.items():
        assert name == "x"
        assert array.dtype == spec.numpy_dtype


arrays_of = st.sampled_from(
    [
        np.arange(6, dtype="int16").reshape(2, 3),
        np.array([[1.5], [-2.0]], "float16"),
        np.zeros((2, 0), "float64"),
        np.array([True, False]),
        np.array([b"", b"\xff\0"], object),
        np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    ]
)


@fuzz
@given(st.lists(arrays_of, min_size=1, max_size=3), st.sampled_from(["", "gzip", "deflate"]))
def test_raw_outputs_become_the_inputs_that_they_were(some: list[Array], encoding: str) -> None:
    """What is written as an answer, sent back as a request, is read as the same tensors."""
    sent: Tensors = {f"t{place}": array for place, array in enumerate(some)}
    names = {np.dtype(object): "string"}
    specs = {
        name: TensorSpec(name, names.get(array.dtype, array.dtype.name), None)
        for name, array in sent.items()
    }
    writes, reads = Signature("serving_default", {}, specs), Signature("serving_default", specs, {})
    model = ServedModel("m", 1, {"serving_default": writes}, "test", 8)
    body_of_none = json.dumps(body_of(parameters=ALL_RAW)).encode()
    exchange = Exchange("POST", "/v2/models/m/infer", {"Accept-Encoding": encoding}, body_of_none)
    request = OipHttp().decode(Infer(ModelAddress("m")), exchange, lambda _: model)
    answer = OipHttp().encode(request, InferenceResponse(sent))
    body = INFLATE[encoding](answer.body)
    length = int((answer.headers or {}).get(LENGTH, len(body)))
    head = body[:length].replace(b'"outputs"', b'"inputs"')
    model = ServedModel("m", 1, {"serving_default": reads}, "test", 8)
    back = decode(model, head + body[length:], len(head)).inputs
    assert list(back) == list(sent)
    for name, array in sent.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tolist() == array.tolist()
