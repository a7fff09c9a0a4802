"""Classification and regression: which signatures do it, and what their outputs must be."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import DecodeError, InvalidArgument
from server.protocols.tfserving_examples import (
    check_classifies,
    check_regresses,
    classifications,
    examples_input,
    examples_tensor,
    regressions,
)
from server.protocols.tfserving_features import read_examples, write_classes, write_values
from server.protocols.wire import message
from server.signature import Shape, Signature, Tensors, TensorSpec
from tests.server.conftest import Served
from tests.server.rest_asking import EXAMPLES, FEATURES, ask, assert_refused

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

Example = message("tensorflow.Example")


def signature(*outputs: str, dtype: str = "string", shape: Shape | None = (None,)) -> Signature:
    """From examples to these outputs."""
    inputs = {"inputs": TensorSpec("inputs", dtype, shape)}
    return Signature("s", inputs, {name: TensorSpec(name, "float32", None) for name in outputs})


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def strings(*values: bytes) -> np.ndarray[Any, Any]:
    """One row of them."""
    return np.array([values], object)


@pytest.mark.parametrize("shape", [(None,), (3,), None])
def test_examples_are_one_list_of_strings(shape: Shape | None) -> None:
    assert examples_input(signature("outputs", shape=shape)).name == "inputs"


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (None,)), ("string", ()), ("string", (None, 1))]
)
def test_anything_else_is_no_input_for_examples(dtype: str, shape: Shape) -> None:
    with pytest.raises(InvalidArgument, match="takes no examples"):
        examples_input(signature("outputs", dtype=dtype, shape=shape))


def test_the_input_for_examples_has_one_name() -> None:
    spec = TensorSpec("x", "string", (None,))
    for inputs in ({}, {"x": spec}, {"inputs": spec, "x": spec}):
        with pytest.raises(InvalidArgument, match="its only input must be 'inputs'"):
            examples_input(Signature("s", inputs, {}))


@pytest.mark.parametrize(
    "outputs", [("classes",), ("scores",), ("classes", "scores"), ("scores", "embedding")]
)
def test_classes_and_scores_classify(outputs: tuple[str, ...]) -> None:
    check_classifies(signature(*outputs))


@pytest.mark.parametrize(
    "outputs", [(), ("outputs",), ("a", "b"), ("classes", "scores", "embedding")]
)
def test_other_outputs_do_not_classify(outputs: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match="does not classify"):
        check_classifies(signature(*outputs))


@pytest.mark.parametrize("outputs", [(), ("scores",), ("outputs", "more")])
def test_only_outputs_alone_regress(outputs: tuple[str, ...]) -> None:
    check_regresses(signature("outputs"))
    with pytest.raises(InvalidArgument, match="does not regress"):
        check_regresses(signature(*outputs))


def test_a_class_without_label_or_score_has_an_empty_one() -> None:
    labels, scores = strings(b"a", b"b"), floats(1, 2)
    both = signature("classes", "scores")
    assert classifications(both, {"classes": labels, "scores": scores}) == [[(b"a", 0), (b"b", 1)]]
    assert classifications(signature("classes"), {"classes": labels}) == [[(b"a", 0), (b"b", 0)]]
    assert classifications(signature("scores"), {"scores": scores}) == [[(b"", 0), (b"", 1)]]


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"scores": floats(2)}, r"'scores' .* is float32\[2\]"),
        ({"scores": floats(2, 1, 1)}, r"expected float32\[examples,classes\]"),
        ({"scores": floats(2, 1).astype("float64")}, "is float64"),
        ({"scores": floats(3, 1)}, "a row for each of the 2 examples"),
        ({"classes": floats(2, 1)}, r"expected string\[examples,classes\]"),
        ({"classes": strings(b"a"), "scores": floats(1, 1)}, "a row for each"),
        ({"classes": strings(b"a", b"b").repeat(2, 0), "scores": floats(2, 1)}, "disagrees"),
    ],
)
def test_outputs_that_are_no_classification_are_told(outputs: Tensors, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        classifications(signature(*outputs), outputs, 2)


def test_one_value_an_example_is_a_regression() -> None:
    for shape in ((2,), (2, 1)):
        assert regressions(signature("outputs"), {"outputs": floats(*shape)}, 2) == [0.0, 1.0]


@pytest.mark.parametrize(
    "values", [floats(2, 2), floats(2, 1, 1), floats(), floats(3), floats(2).astype("float64")]
)
def test_outputs_that_are_no_regression_are_told(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InvalidArgument, match="'outputs'"):
        regressions(signature("outputs"), {"outputs": values}, 2)


def test_examples_are_a_tensor_of_bytes_however_long_they_are() -> None:
    tensor = examples_tensor([b"a\0", b""])
    assert tensor.dtype == object
    assert tensor.tolist() == [b"a\0", b""]
    with pytest.raises(InvalidArgument, match="no examples"):
        examples_tensor([])


# ---------------------------------------------------------------------------- in and out of JSON


def only_example(body: dict[str, Any]) -> Any:
    (serialized,) = read_examples(body)
    return Example.FromString(serialized).features.feature


@pytest.mark.parametrize(
    ("content", "kind", "held"),
    [
        (1.5, "float_list", [1.5]),
        ([1.5, float("inf"), 1e39], "float_list", [1.5, float("inf"), float("inf")]),
        (-(2**63), "int64_list", [-(2**63)]),
        ([True, 2, False], "int64_list", [1, 2, 0]),
        ("\u00fc", "bytes_list", [b"\xc3\xbc"]),
        ([{"b64": "/w"}, "a"], "bytes_list", [b"\xff", b"a"]),
        ([], None, None),
    ],
)
def test_literals_tell_the_kind_of_a_feature(content: Any, kind: str | None, held: Any) -> None:
    feature = only_example({"examples": [{"x": content}]})["x"]
    assert feature.WhichOneof("kind") == kind
    assert kind is None or list(getattr(feature, kind).value) == held


def test_an_object_of_base64_is_an_example_with_a_feature_of_that_name() -> None:
    features = only_example({"examples": [{"b64": "aGVsbG8="}]})
    assert list(features["b64"].bytes_list.value) == [b"aGVsbG8="]


def test_what_an_example_says_goes_before_its_context() -> None:
    features = only_example({"context": {"x": 1, "y": 2}, "examples": [{"x": 3}]})
    assert {name: list(f.int64_list.value) for name, f in features.items()} == {"x": [3], "y": [2]}


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
values = scalars | st.lists(scalars, max_size=3) | st.just({"b64": "aA"}) | st.just({"b64": "a"})
examples = st.dictionaries(st.text(max_size=2), values, max_size=3)


@fuzz
@given(
    st.fixed_dictionaries(
        {}, optional={"examples": st.lists(examples | values) | values, "context": examples}
    )
)
def test_any_body_is_examples_or_told(body: dict[str, Any]) -> None:
    try:
        serialized = read_examples(body)
    except InvalidArgument:
        return
    assert len(serialized) == len(body["examples"])
    for one, told in zip(serialized, body["examples"], strict=True):
        assert set(told) <= set(Example.FromString(one).features.feature)


def test_classes_and_values_are_written_with_the_digits_they_need() -> None:
    labels, scores = strings(b"a", b'"'), np.array([[0.2, 9000000]], "float32")
    written = write_classes(
        signature("classes", "scores"), {"classes": labels, "scores": scores}, 1
    )
    assert written == b'{"results":[[["a",0.2],["\\"",9e+06]]]}'
    assert write_values(signature("outputs"), {"outputs": scores[0]}, 2) == (
        b'{"results":[0.2,9e+06]}'
    )


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_each_example_has_its_own_classes(rows: int, columns: int) -> None:
    scores = floats(rows, columns)
    written = write_classes(signature("scores"), {"scores": scores}, rows)
    expected = [[["", float(score)] for score in row] for row in scores]
    assert json.loads(written) == {"results": expected}


def test_a_label_that_is_no_text_is_told(served: Served) -> None:
    body = '{"signature_name": "no_text", "examples": [{"x": 1.0}]}'
    said = ask(served, "POST", f"{EXAMPLES}:classify", body)
    assert_refused(said, 400, "a class is not UTF-8")


@pytest.mark.parametrize(("examples", "status"), [("[{}, {}]", 400), ('[{"x": 1.5}]', 200)])
def test_a_value_for_all_examples_is_no_regression_of_several(
    served: Served, examples: str, status: int
) -> None:
    more = examples.replace("{}", '{"x": 1.0}')
    body = f'{{"signature_name": "lonely", "examples": {more}}}'
    assert ask(served, "POST", f"{FEATURES}:regress", body)[0] == status


@pytest.mark.parametrize(
    "body", [{}, {"examples": 1}, {"examples": [1]}, {"examples": [{"x": {}}]}]
)
def test_bodies_without_examples_are_decode_errors(body: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        read_examples(body)
