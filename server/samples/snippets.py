"""Sample requests over gRPC, in Python with the clients that are usual for it. Pure.

Written for tensorflow-serving-api and tritonclient.
"""

from server.protocols.oip_tensors import DATATYPES
from server.samples.values import CLASSIFY, PREDICT, Filled, NoForm, SampleRequest, Target, written
from server.signature import DEFAULT_SIGNATURE

_LISTS = {"float32": "float_list", "int64": "int64_list", "string": "bytes_list"}
"""Which list of a Feature has the values of a dtype."""


def tfserving_grpc(target: Target, request: SampleRequest) -> str:
    """Predict, Classify or Regress of PredictionService."""
    method, module, message = {
        PREDICT: ("Predict", "predict_pb2", "PredictRequest"),
        CLASSIFY: ("Classify", "classification_pb2", "ClassificationRequest"),
    }.get(request.verb, ("Regress", "regression_pb2", "RegressionRequest"))
    lines = ["import grpc"]
    if request.verb == PREDICT:
        lines.append("import tensorflow as tf")
    lines += [
        f"from tensorflow_serving.apis import {module}, prediction_service_pb2_grpc",
        "",
        f"request = {module}.{message}()",
        f"request.model_spec.name = {_text(target.name)}",
    ]
    if request.signature.name != DEFAULT_SIGNATURE:
        lines.append(f"request.model_spec.signature_name = {_text(request.signature.name)}")
    if request.verb == PREDICT:
        lines += [_put(name, tensor) for name, tensor in request.inputs.items()]
    else:
        lines.append("feature = request.input.example_list.examples.add().features.feature")
        lines += [_put_feature(name, tensor) for name, tensor in request.features.items()]
    lines += [
        f'channel = grpc.insecure_channel("{target.host}:{target.grpc_port}")',
        "stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)",
        f"print(stub.{method}(request))",
    ]
    return "\n".join(lines)


def _put(name: str, tensor: Filled) -> str:
    dtype = {"float16": "half"}.get(tensor.spec.dtype, tensor.spec.dtype)
    made = f"tf.make_tensor_proto({tensor.value!r}, tf.{dtype}, {list(tensor.shape)})"
    return f"request.inputs[{_text(name)}].CopyFrom({made})"


def _put_feature(name: str, tensor: Filled) -> str:
    (count,) = tensor.shape or (1,)
    values = f"[{tensor.value!r}]" + (f" * {count}" if count > 1 else "")
    return f"feature[{_text(name)}].{_LISTS[tensor.spec.dtype]}.value.extend({values})"


def oip_grpc(target: Target, request: SampleRequest) -> str:
    """ModelInfer of GRPCInferenceService."""
    signature = request.signature
    for specs in (signature.inputs, signature.outputs):
        for spec in specs.values():
            if spec.dtype not in DATATYPES:
                kind = "input" if specs is signature.inputs else "output"
                told = f"{kind} {spec.name!r} is {spec.dtype}"
                msg = f"{told}, which the protocol has no datatype for"
                raise NoForm(msg)
    lines = [
        "import numpy as np",
        "from tritonclient.grpc import InferenceServerClient, InferInput",
    ]
    if any(spec.dtype == "bfloat16" for spec in signature.inputs.values()):
        lines.append("from ml_dtypes import bfloat16")
    lines += ["", "inputs = []"]
    for tensor in request.inputs.values():
        shape = list(tensor.shape)
        datatype = DATATYPES[tensor.spec.dtype]
        array = f"np.full({shape}, {tensor.value!r}, {_dtype(tensor.spec.dtype)})"
        lines += [
            f"inputs.append(InferInput({_text(tensor.spec.name)}, {shape}, {_text(datatype)}))",
            f"inputs[-1].set_data_from_numpy({array})",
        ]
    lines.append(f'client = InferenceServerClient("{target.host}:{target.grpc_port}")')
    if signature.name == DEFAULT_SIGNATURE:
        lines.append(f"answer = client.infer({_text(target.name)}, inputs)")
    else:
        lines.append(f'parameters = {{"signature_name": {_text(signature.name)}}}')
        lines.append(f"answer = client.infer({_text(target.name)}, inputs, parameters=parameters)")
    lines += [f"print({_text(name)}, answer.as_numpy({_text(name)}))" for name in signature.outputs]
    return "\n".join(lines)


def _dtype(dtype: str) -> str:
    return {"string": "object", "bfloat16": "bfloat16"}.get(dtype, f"np.{dtype}")


def _text(text: str) -> str:
    return written(text, python=True)
