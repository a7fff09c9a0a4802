"""Whatever a body holds, decoding gives tensors of the declared dtypes or an error to tell."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from server.errors import InvalidArgument, ServingError, Unimplemented
from server.exchange import Exchange
from server.inference import (
    InferenceRequest,
    InferenceResponse,
    ModelAddress,
    ServedModel,
)
from server.protocols.protocol import Infer
from server.protocols.tfserving_rest import TensorFlowServingRest
from server.signature import Signature, TensorSpec

fuzz = settings(derandomize=True, deadline=None, max_examples=40)

READABLE = ["bool", "float32", "float64"] + [
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
]
CODEC = TensorFlowServingRest()
FORMS = {"instances": "predictions", "inputs": "outputs"}


def signature(*dtypes: str) -> Signature:
    """Inputs named a, b, c ... of these dtypes and any rank."""
    specs = {
        name: TensorSpec(name, dtype, None) for name, dtype in zip("abc", dtypes, strict=False)
    }
    return Signature("serving_default", specs, specs)


def decode(body: bytes, *dtypes: str) -> InferenceRequest:
    """The request in a body for a model of one signature."""
    model = ServedModel("m", 1, {"serving_default": signature(*dtypes)}, "test", 8)
    exchange = Exchange("POST", "/v1/models/m:predict", {}, body)
    # As adapters have it: numbers become infinities without a warning.
    with np.errstate(over="ignore"):
        return CODEC.decode(Infer(ModelAddress("m"), "predict"), exchange, lambda _: model)


def decode_examples(body: bytes, verb: str) -> InferenceRequest:
    """The request in a body for a model that classifies and regresses."""
    specs = {name: TensorSpec(name, "string", (None,)) for name in ("inputs", "outputs", "classes")}
    inputs = {"inputs": specs["inputs"]}
    output = {"classify": "classes", "regress": "outputs"}[verb]
    signatures = {"serving_default": Signature("s", inputs, {output: specs[output]})}
    model = ServedModel("m", 1, signatures, "test", 8)
    exchange = Exchange("POST", f"/v1/models/m:{verb}", {}, body)
    return CODEC.decode(Infer(ModelAddress("m"), verb), exchange, lambda _: model)


def assert_tensors_or_told(body: bytes, *dtypes: str) -> None:
    """Tensors exactly of the declared dtypes, or what a client is told."""
    try:
        request = decode(body, *dtypes)
    except (InvalidArgument, Unimplemented):
        return
    assert list(request.inputs) == list("abc"[: len(dtypes)])
    for array, dtype in zip(request.inputs.values(), dtypes, strict=True):
        assert array.dtype == ("object" if dtype == "string" else dtype)


some_dtypes = st.lists(st.sampled_from([*READABLE, "float16", "string"]), min_size=1, max_size=2)
numbers = st.integers(-300, 300) | st.integers(-(2**65), 2**65) | st.floats() | st.booleans()
leaves = numbers | st.none() | st.text(max_size=3) | st.just({"b64": "aA=="})
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "instances": trees,
        "inputs": trees,
        "signature_name": st.sampled_from(["serving_default", "", "nope", 1, None]),
        "nested": trees,
    },
)


@fuzz
@given(st.binary() | st.binary().map(lambda tail: b'{"instances": [' + tail), some_dtypes)
def test_any_bytes(body: bytes, dtypes: list[str]) -> None:
    assert_tensors_or_told(body, *dtypes)


@fuzz
@given(trees | bodies, some_dtypes)
def test_any_json(body: Any, dtypes: list[str]) -> None:
    assert_tensors_or_told(json.dumps(body).encode(), *dtypes)


@pytest.mark.parametrize("verb", ["classify", "regress"])
@fuzz
@given(
    st.binary()
    | st.binary().map(lambda tail: b'{"examples": [{"x": ' + tail)
    | (trees | bodies | st.fixed_dictionaries({"examples": trees, "context": trees})).map(
        lambda body: json.dumps(body).encode()
    )
)
def test_any_bytes_of_examples(verb: str, body: bytes) -> None:
    try:
        request = decode_examples(body, verb)
    except InvalidArgument:
        return
    assert request.form == verb
    assert {type(example) for example in request.inputs["inputs"].tolist()} == {bytes}


@fuzz
@given(
    st.lists(st.lists(numbers | st.none(), max_size=3) | numbers, min_size=1, max_size=4),
    st.sampled_from(READABLE),
    st.sampled_from(list(FORMS)),
)
def test_only_elements_of_the_very_type_become_a_tensor(
    elements: list[Any], dtype: str, form: str
) -> None:
    """What comes out equals what went in, element by element; so nothing was converted or lost."""
    try:
        request = decode(json.dumps({form: elements}).encode(), dtype)
    except ServingError:
        return
    array = request.inputs["a"]
    flat = [value for part in elements for value in (part if isinstance(part, list) else [part])]
    others: dict[str, set[type]] = {"b": {bool}, "f": {int, float}}
    allowed = others.get(array.dtype.kind, {int})
    assert {type(value) for value in flat} <= allowed
    with np.errstate(over="ignore"):
        # Python's own numbers, as the dtype holds them; OverflowError if it cannot.
        expected = np.array([array.dtype.type(value) for value in flat], dtype)
    np.testing.assert_array_equal(array.ravel(), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", READABLE)
@fuzz
@given(data=st.data())
def test_what_is_encoded_decodes_to_the_same(dtype: str, form: str, data: st.DataObject) -> None:
    shape = hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)
    array: NDArray[Any] = data.draw(hnp.arrays(dtype, shape))
    request = InferenceRequest(ServedModel("m", 1, {}, "test", 8), signature(dtype), {}, form)
    answer = CODEC.encode(request, InferenceResponse({"a": array}))
    back = decode(answer.body.replace(FORMS[form].encode(), form.encode()), dtype).inputs["a"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("form", FORMS)
@fuzz
@given(
    st.sampled_from(READABLE),
    st.sampled_from(READABLE),
    st.integers(1, 4),
    st.data(),
)
def test_several_tensors_decode_to_the_same(
    form: str, one: str, other: str, rows: int, data: st.DataObject
) -> None:
    tensors = {
        "a": data.draw(hnp.arrays(one, (rows, 2))),
        "b": data.draw(hnp.arrays(other, (rows,))),
    }
    request = InferenceRequest(ServedModel("m", 1, {}, "test", 8), signature(one, other), {}, form)
    answer = CODEC.encode(request, InferenceResponse(tensors))
    back = decode(answer.body.replace(FORMS[form].encode(), form.encode()), one, other).inputs
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def encoded(form: str, **outputs: NDArray[Any]) -> bytes:
    request = InferenceRequest(ServedModel("m", 1, {}, "test", 8), signature(), {}, form)
    return CODEC.encode(request, InferenceResponse(outputs)).body


def test_49_and_50_integers_of_any_rank() -> None:
    cube = np.arange(12, dtype="int32").reshape(2, 3, 2)
    assert json.loads(encoded("instances", y=cube)) == {"predictions": cube.tolist()}
    assert json.loads(encoded("inputs", y=cube)) == {"outputs": cube.tolist()}
    assert encoded("instances", y=np.arange(1, 6, dtype="int32")) == b'{"predictions":[1,2,3,4,5]}'


@pytest.mark.parametrize("other", [1, 0])
def test_57_outputs_that_disagree_on_rows_have_no_row_form(other: int) -> None:
    with pytest.raises(ServingError, match="disagree on the number of rows"):
        encoded("instances", y=np.zeros(2), z=np.zeros(other))
    assert json.loads(encoded("inputs", y=np.zeros(2), z=np.zeros(other)))["outputs"]["y"] == [0, 0]


def test_58_no_rows_are_an_empty_list() -> None:
    assert encoded("instances", y=np.zeros((0, 2))) == b'{"predictions":[]}'
    assert encoded("instances", y=np.zeros(0), z=np.zeros(0)) == b'{"predictions":[]}'


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float16", "bfloat16"])
@pytest.mark.parametrize("form", FORMS)
def test_59_outputs_without_json_form_are_refused(dtype: str, form: str) -> None:
    with pytest.raises(ServingError, match=r"'y'.*no JSON form"):
        encoded(form, y=np.zeros(2, dtype))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_large_to_write_is_told(form: str) -> None:
    request = InferenceRequest(ServedModel("m", 1, {}, "test", 8), signature(), {}, form)
    numbers = InferenceResponse({"y": np.zeros((2, 3)), "z": np.zeros(4)})
    assert CODEC.printed_size(request, numbers) == 10
    long = np.array([b"a" * 6400, b""], object)
    assert CODEC.printed_size(request, InferenceResponse({"y": long})) == 102
