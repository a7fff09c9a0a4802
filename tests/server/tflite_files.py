"""Files of TensorFlow Lite: converted from small functions, or built tensor by tensor."""

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from server.models.notes import silence
from server.models.tensorflow_runtime import tf
from server.models.to_tflite import Rows, convert
from tests.server import saved_models
from tests.server.saved_models import Function

BUILTIN = schema.BuiltinOperator
FLOAT = schema.TensorType.FLOAT32


def converted(
    folder: Path, functions: dict[str, Function], how: str = "none", rows: Rows | None = None
) -> bytes:
    """A file with these signatures."""
    return convert(saved_models.save(folder, 1, functions) / "1", how, rows)


def without_signatures(function: Any, *specs: tuple[str, list[int | None]]) -> bytes:
    """A file as older converters wrote them; its inputs are named by its graph."""
    with silence():
        traced = tf.function(function, autograph=False).get_concrete_function(
            *[tf.TensorSpec(shape, tf.float32, name) for name, shape in specs]
        )
        content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert()
    return content


def with_missing_op(folder: Path, *, of_tensorflow: bool) -> bytes:
    """A file whose op is TensorFlow's own, or a stranger's."""
    lower: Function = (lambda x: {"y": tf.strings.lower(x)}, {"x": ("string", [None])})
    inverse: Function = (lambda x: {"y": tf.math.erfinv(x)}, {"x": ("float32", [None])})
    base = saved_models.save(folder, 1, {"serving_default": lower if of_tensorflow else inverse})
    with silence():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(base / "1"))
        if of_tensorflow:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
        converter.allow_custom_ops = True
        content: bytes = converter.convert()
    return content


def running_total(*, fits: bool = True) -> bytes:
    """y = the sum of the last 3 values of x, of which its state keeps 2; float [1, 1].

    A graph that does not fit has weights for 7 numbers a row.
    """
    options = schema.SVDFOptionsT()
    options.rank = 1
    tensors = [
        _tensor("x", [1, 1]),
        _tensor("feature", [1, 1] if fits else [1, 7], buffer=1),
        _tensor("time", [1, 3], buffer=2),
        _tensor("state", [1, 3], variable=True),
        _tensor("y", [1, 1]),
    ]
    operator = _operator([0, 1, 2, -1, 3], [4], schema.BuiltinOptions.SVDFOptions, options)
    return _file(BUILTIN.SVDF, tensors, operator, np.ones(1 if fits else 7), np.ones(3))


def calling_itself() -> bytes:
    """A graph whose one operation is to run itself, without an end: LiteRT dies of it."""
    options = schema.IfOptionsT()
    options.thenSubgraphIndex = options.elseSubgraphIndex = 0
    tensors = [_tensor("c", [], schema.TensorType.BOOL), _tensor("x", [1]), _tensor("y", [1])]
    operator = _operator([0, 0, 1], [2], schema.BuiltinOptions.IfOptions, options)
    return _file(BUILTIN.IF, tensors, operator)


def quantized_by_channel() -> bytes:
    """An input with a scale for each of its two numbers, which no converter writes."""
    tensors = [_tensor("x", [1, 2], schema.TensorType.INT8), _tensor("y", [2, 1])]
    tensors[0].quantization = schema.QuantizationParametersT()
    tensors[0].quantization.scale = [0.5, 0.25]
    tensors[0].quantization.zeroPoint = [0, 0]
    tensors[0].quantization.quantizedDimension = 1
    operator = _operator([0], [1], schema.BuiltinOptions.NONE, None)
    return _file(BUILTIN.DEQUANTIZE, tensors, operator)


def _tensor(
    name: str, shape: list[int], dtype: int = FLOAT, *, buffer: int = 0, variable: bool = False
) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, shape, dtype
    tensor.buffer, tensor.isVariable = buffer, variable
    return tensor


def _operator(inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _file(code: int, tensors: list[Any], operator: Any, *constants: Any) -> bytes:
    """A file of one graph with one operation; `constants` are its buffers from 1 on.

    Its inputs and outputs are those of the operation, but for constants and states.
    """
    taken = [
        i for i in operator.inputs if i >= 0 and not (tensors[i].buffer or tensors[i].isVariable)
    ]
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", tensors, [operator]
    graph.inputs, graph.outputs = list(dict.fromkeys(taken)), operator.outputs
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [graph]
    known = schema.OperatorCodeT()
    known.builtinCode = known.deprecatedBuiltinCode = code
    known.version = 1
    model.operatorCodes = [known]
    model.buffers = [schema.BufferT()]
    for constant in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(constant.astype(np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
