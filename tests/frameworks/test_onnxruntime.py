"""ONNX Runtime: the guide's recipe, strings, and what a session refuses."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

runtime: Any = pytest.importorskip(
    "onnxruntime", reason="has its own environment: .ci/frameworks/run"
)

from onnx import TensorProto, helper

from server.model import InputRejected
from server.models.callables import function_of
from server.models.returned import checked
from tests.guide import outputs, write

ROWS = np.random.default_rng(0).random((20, 4)).astype("float32")


def graph(nodes: list[Any], takes: list[Any], gives: list[Any], *weights: Any) -> bytes:
    made = helper.make_graph(nodes, "graph", takes, gives, list(weights))
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(made, opset_imports=opset, ir_version=10)
    return bytes(model.SerializeToString())


def weights(values: list[list[float]]) -> Any:
    flat = [value for row in values for value in row]
    return helper.make_tensor("w", TensorProto.FLOAT, [len(values), len(values[0])], flat)


def classifier() -> bytes:
    """Softmax of rows of 4 by a matrix [4, 3]."""
    return graph(
        [
            helper.make_node("MatMul", ["flowers", "w"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        [helper.make_tensor_value_info("flowers", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 3])],
        weights([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]),
    )


def test_a_session_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flowers.onnx").write_bytes(classifier())
    answered = outputs(write("flowers", tmp_path), ROWS.tolist())
    (direct,) = importlib.import_module("flowers").session.run(None, {"flowers": ROWS})
    np.testing.assert_allclose(answered, direct, rtol=1e-5)


def test_strings_and_ranks_that_are_not_known() -> None:
    infos = [
        helper.make_tensor_value_info("text", TensorProto.STRING, [None]),
        helper.make_tensor_value_info("any", TensorProto.INT64, None),
    ]
    given = [
        helper.make_tensor_value_info("same", TensorProto.STRING, [None]),
        helper.make_tensor_value_info("all", TensorProto.INT64, None),
    ]
    nodes = [
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("Identity", ["any"], ["all"]),
    ]
    function = function_of("f", runtime.InferenceSession(graph(nodes, infos, given)), "m:session")
    signature = function.signature
    assert [str(spec) for spec in signature.inputs.values()] == ["string[-1]", "int64 of any rank"]
    assert signature.alone
    inputs = {"text": np.array(["é".encode(), b""], object), "any": np.ones((1, 2), "int64")}
    answered = checked(function.call(inputs), signature, None)
    assert answered["same"].tolist() == ["é".encode(), b""]
    assert answered["all"].tolist() == [[1, 1]]


def test_what_a_graph_refuses_is_the_clients_mistake() -> None:
    session = runtime.InferenceSession(
        graph(
            [helper.make_node("Gather", ["w", "place"], ["row"])],
            [helper.make_tensor_value_info("place", TensorProto.INT64, ["rows"])],
            [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["rows", 2])],
            weights([[1, 2], [3, 4]]),
        )
    )
    function = function_of("f", session, "m:session")
    (row,) = function.call({"place": np.array([1])})
    assert row.tolist() == [[3.0, 4.0]]
    with pytest.raises(InputRejected, match=r"^InvalidArgument, by ONNX Runtime$"):
        function.call({"place": np.array([99])})
