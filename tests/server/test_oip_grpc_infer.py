"""ModelInfer of the Open Inference Protocol: contents, raw contents and everything wrong with them.

Messages are those that Triton's client brings, filled by hand as other clients fill them. The ids
name rows of the protocol note.
"""

import asyncio
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from multidict import CIMultiDict
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from server.errors import Code, InvalidArgument, Unimplemented
from server.exchange import Answer, Exchange
from server.inference import InferenceRequest, InferenceResponse, ModelAddress, VersionState
from server.protocols.oip_grpc import OipGrpc
from server.protocols.oip_grpc_calls import METHODS
from server.protocols.protocol import Call, Infer
from tests.server.by_hand import ByHand, served_by_hand, until
from tests.server.conftest import Served

OIP = OipGrpc()
HALF, TWO, DTYPES, ODD, WORDS = "half_plus_two", "two_by_two", "every_dtype", "odd_ones", "words"

TYPED = {
    "BOOL": ("bool_contents", [True, False]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "FP32": ("fp32_contents", [1.5, -0.25]),
    "FP64": ("fp64_contents", [1e300, -0.1]),
}
"""Datatypes -> the field of their typed contents, and values at their limits."""

SIGNATURE_OF = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}


def exchange(method: str, body: bytes) -> Exchange:
    return Exchange("POST", f"/inference.GRPCInferenceService/{method}", CIMultiDict(), body)


def ask(served: Served, request: Any, method: str = "ModelInfer") -> Answer:
    """A message, or any bytes, to the front."""
    body = request if isinstance(request, bytes) else request.SerializeToString()
    return served.run(served.application.front.handle(exchange(method, body), OIP))


def answered(served: Served, request: Any) -> Any:
    """The reply to a good request."""
    answer = ask(served, request)
    assert answer.status == 0, answer.body
    return service_pb2.ModelInferResponse.FromString(answer.body)


def assert_refused(answer: Answer, code: Code, *words: str) -> None:
    assert (answer.status, answer.body != b"") == (code.grpc_status, True), answer.body
    for word in words:
        assert word in answer.body.decode()


def tensor(
    name: str, datatype: str, shape: list[int], contents: Mapping[str, Any] | None = None
) -> Any:
    """An input; with typed contents if there are any."""
    return service_pb2.ModelInferRequest.InferInputTensor(
        name=name,
        datatype=datatype,
        shape=shape,
        contents=None if contents is None else service_pb2.InferTensorContents(**contents),
    )


def of(model: str, *inputs: Any, raw: list[bytes] | None = None, **more: Any) -> Any:
    """A request; `raw` are its raw contents, `signature` the parameter of that name."""
    signature = more.pop("signature", None)
    request = service_pb2.ModelInferRequest(
        model_name=model, inputs=inputs, raw_input_contents=raw or [], **more
    )
    if signature is not None:
        request.parameters["signature_name"].string_param = signature
    return request


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def x(values: list[float], shape: list[int] | None = None, datatype: str = "FP32") -> Any:
    """An input named x in typed contents, one column unless there is a shape."""
    return tensor("x", datatype, shape or [len(values), 1], {"fp32_contents": values})


def raw_x(shape: list[int], datatype: str = "FP32") -> Any:
    """An input named x whose contents are raw."""
    return tensor("x", datatype, shape)


def wanted(name: str, **parameters: Any) -> Any:
    """A requested output with parameters, each by the name of its field."""
    output = service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name)
    for key, (field, value) in parameters.items():
        setattr(output.parameters[key], field, value)
    return output


# ---------------------------------------------------------------------------------- good requests


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_are_answered_raw(served: Served, datatype: str) -> None:
    field, values = TYPED[datatype]
    signature = SIGNATURE_OF.get(datatype, datatype.lower())
    given = tensor("x", datatype, [1, 2], {field: values})
    told = answered(served, of(DTYPES, given, signature=signature))
    (output,) = told.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [1, 2])
    assert not output.HasField("contents")
    (raw,) = told.raw_output_contents
    assert np.frombuffer(raw, triton_to_np_dtype(datatype)).tolist() == values


@pytest.mark.parametrize("datatype", [*TYPED, "FP16"])
def test_raw_contents_come_back(served: Served, datatype: str) -> None:
    values = np.array([[1, 0], [1, 1]]).astype(triton_to_np_dtype(datatype))
    signature = SIGNATURE_OF.get(datatype, datatype.lower())
    request = of(DTYPES, raw_x([2, 2], datatype), raw=[values.tobytes()], signature=signature)
    told = answered(served, request)
    assert list(told.outputs[0].shape) == [2, 2]
    assert list(told.raw_output_contents) == [values.tobytes()]


def test_bfloat16_comes_back(served: Served) -> None:
    raw = np.array([[1.5, -2.0]], ml_dtypes.bfloat16).tobytes()
    told = answered(served, of(WORDS, raw_x([1, 2], "BF16"), raw=[raw], signature="bfloat16"))
    assert told.outputs[0].datatype == "BF16"
    assert list(told.raw_output_contents) == [raw]


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "typed"])
def test_strings_are_bytes_with_their_lengths(served: Served, *, is_raw: bool) -> None:
    texts = [b"", b"\xff\x00", b"a" * 300]
    raw = serialize_byte_tensor(np.array(texts, np.object_)).item()
    contents = None if is_raw else {"bytes_contents": texts}
    request = of(WORDS, tensor("text", "BYTES", [3], contents), raw=[raw] if is_raw else [])
    told = answered(served, request)
    by_name = dict(
        zip([output.name for output in told.outputs], told.raw_output_contents, strict=True)
    )
    assert by_name["text"] == raw
    assert np.frombuffer(by_name["length"], "<i4").tolist() == [0, 2, 300]


def test_outputs_of_every_half_are_raw(served: Served) -> None:
    given = tensor("x", "FP32", [1, 2], {"fp32_contents": [1, 2]})
    told = answered(served, of(WORDS, given, signature="halves"))
    sizes = {
        output.name: (output.datatype, len(raw))
        for output, raw in zip(told.outputs, told.raw_output_contents, strict=True)
    }
    assert sizes == {"full": ("FP32", 8), "half": ("FP16", 4), "brain": ("BF16", 4)}


def test_an_output_without_elements_is_empty_bytes(served: Served) -> None:
    given = tensor("x", "FP32", [2, 2], {"fp32_contents": [1, 2, 3, 4]})
    told = answered(served, of(WORDS, given, signature="nothing", outputs=[wanted("nothing")]))
    assert list(told.outputs[0].shape) == [2, 0]
    assert list(told.raw_output_contents) == [b""]


def test_the_answer_says_who_answered_and_to_what(served: Served) -> None:
    told = answered(served, of(HALF, x([1.0]), id="of mine"))
    assert (told.model_name, told.model_version, told.id) == (HALF, "123", "of mine")
    assert not told.parameters
    told = answered(served, of(HALF, x([1.0]), model_version="0123"))
    assert (told.model_version, told.id) == ("123", "")


def test_raw_entries_that_belong_to_no_input_are_ignored_as_in_triton(served: Served) -> None:
    request = of(HALF, raw_x([1, 1]), raw=[floats(1.0), floats(7.0)])
    assert list(answered(served, request).raw_output_contents) == [floats(2.5)]


def test_each_raw_entry_belongs_to_the_input_in_its_place(served: Served) -> None:
    a, b = tensor("a", "FP32", [1, 2]), tensor("b", "FP32", [1, 2])
    request = of(TWO, b, a, raw=[floats(3, 5), floats(1, 2)], outputs=[wanted("difference")])
    assert list(answered(served, request).raw_output_contents) == [floats(-2, -3)]


def test_a_scalar_has_no_dimensions(served: Served) -> None:
    request = of(ODD, raw_x([]), raw=[floats(4.0)], signature="scalar")
    told = answered(served, request)
    assert list(told.outputs[0].shape) == []
    assert list(told.raw_output_contents) == [floats(8.0)]


def test_binary_data_output_means_nothing_here(served: Served) -> None:
    request = of(HALF, x([1.0]), outputs=[wanted("y", binary_data=("bool_param", False))])
    request.parameters["binary_data_output"].bool_param = False
    assert list(answered(served, request).raw_output_contents) == [floats(2.5)]


def test_a_large_request_is_read_on_the_codec_thread_and_answers_the_same(served: Served) -> None:
    texts = [b"a" * 1000] * 200
    request = of(WORDS, tensor("text", "BYTES", [200], {"bytes_contents": texts}))
    assert (
        OIP.parsed_size(
            Infer(ModelAddress("m")), exchange("ModelInfer", request.SerializeToString())
        )
        > 2**16
    )
    told = answered(served, request)
    assert [list(output.shape) for output in told.outputs] == [[200], [200]]
    numbers = of(DTYPES, x([1.5] * 100_000, [1, 100_000]), signature="float32")
    assert (
        OIP.parsed_size(
            Infer(ModelAddress("m")), exchange("ModelInfer", numbers.SerializeToString())
        )
        > 2**16
    )
    assert answered(served, numbers).raw_output_contents[0] == floats(1.5) * 100_000


def decoded(served: Served, request: Any) -> InferenceRequest:
    """What the endpoint would get."""
    asked = exchange("ModelInfer", request.SerializeToString())
    operation = OIP.route(asked)
    assert isinstance(operation, Infer)
    return OIP.decode(operation, asked, served.application.front._repository.find)


@pytest.mark.parametrize("field", ["uint64_param", "int64_param"])
def test_priority_is_either_kind_of_integer(served: Served, field: str) -> None:
    request = of(HALF, x([1.0]))
    setattr(request.parameters["priority"], field, 1)
    assert decoded(served, request).priority < 0
    answered(served, request)


def test_only_strings_are_printed(served: Served) -> None:
    texts = tensor("text", "BYTES", [3], {"bytes_contents": [b"a"] * 3})
    request = decoded(served, of(WORDS, texts))
    outputs = {"text": np.array([b"a"] * 3, object), "length": np.array([1] * 3)}
    assert OIP.printed_size(request, InferenceResponse(outputs)) == 3


# --------------------------------------------------------------------------------- bad requests


def with_parameter(name: str, field: str | None, value: Any = None) -> Any:
    request = of(HALF, x([1.0]))
    if field is None:
        request.parameters[name].SetInParent()
    else:
        setattr(request.parameters[name], field, value)
    return request


def in_shared_memory() -> Any:
    request = of(HALF, raw_x([1, 1]))
    request.inputs[0].parameters["shared_memory_region"].string_param = "a"
    return request


TWO_INPUTS = [tensor("a", "FP32", [1, 2]), tensor("b", "FP32", [1, 2])]
TOO_LONG = struct.pack("<I", 100) + b"abc"
CUT_OFF = b"\x01\x00"

INVALID, MISSING, UNDONE = Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        # Who is asked.
        pytest.param(of("nobody", x([1])), MISSING, ["nobody"], id="unknown-model"),
        pytest.param(of("", x([1])), MISSING, [], id="no-model"),
        pytest.param(of(HALF, x([1]), model_version="124"), MISSING, ["124"], id="unknown-version"),
        pytest.param(
            of(HALF, x([1]), model_version="9" * 30), MISSING, ["999"], id="endless-version"
        ),
        pytest.param(
            of(HALF, x([1]), model_version="9" * 5000), INVALID, ["'999"], id="absurd-version"
        ),
        pytest.param(of(HALF, x([1]), model_version="abc"), INVALID, ["'abc'"], id="word-version"),
        pytest.param(of(HALF, x([1]), model_version="-1"), INVALID, ["'-1'"], id="minus-version"),
        pytest.param(of(HALF, x([1]), model_version="\u0661"), INVALID, [], id="foreign-digit"),
        pytest.param(
            of(HALF, x([1]), signature="other"), INVALID, ["'other'"], id="unknown-signature"
        ),
        # Both forms at once, or less than one.
        pytest.param(
            of(HALF, x([1]), raw=[floats(1)]), INVALID, ["'x'", "raw_input_contents"], id="mixed"
        ),
        pytest.param(
            of(TWO, *TWO_INPUTS, raw=[floats(1, 2)]),
            INVALID,
            ["'b'", "raw_input_contents", "1"],
            id="raw-missing",
        ),
        pytest.param(of(HALF, raw_x([1, 1])), INVALID, ["'x'", "0 elements"], id="no-contents"),
        pytest.param(of(HALF), INVALID, ["'x'"], id="no-inputs"),
        pytest.param(
            of(HALF, tensor("x", "FP32", [1, 1], {"fp64_contents": [1.0]})),
            INVALID,
            ["fp32_contents", "0 elements"],
            id="contents-of-another-type",
        ),
        # Sizes and shapes.
        pytest.param(of(HALF, x([1, 2], [1, 1])), INVALID, ["2", "1"], id="more-values"),
        pytest.param(of(HALF, x([1], [2, 1])), INVALID, ["1", "2"], id="fewer-values"),
        pytest.param(
            of(HALF, raw_x([2, 1]), raw=[floats(1)]), INVALID, ["4 bytes", "8"], id="raw-short"
        ),
        pytest.param(
            of(HALF, raw_x([1, 1]), raw=[floats(1, 2)]), INVALID, ["8 bytes", "4"], id="raw-long"
        ),
        pytest.param(of(HALF, x([1], [-1, 1])), INVALID, ["-1"], id="negative-dimension"),
        pytest.param(of(HALF, x([1], [2**40, 2**40])), INVALID, ["elements"], id="huge-shape"),
        pytest.param(of(HALF, x([1], [1] * 40)), INVALID, ["40 dimensions"], id="huge-rank"),
        pytest.param(of(HALF, x([], [0, 1])), INVALID, ["no rows"], id="no-rows"),
        pytest.param(of(HALF, x([1, 2], [1, 2])), INVALID, ["[-1,1]", "[1,2]"], id="inner-dim"),
        pytest.param(of(HALF, x([1], [1, 1, 1])), INVALID, ["[-1,1]", "[1,1,1]"], id="rank"),
        pytest.param(
            of(
                TWO,
                tensor("a", "FP32", [1, 2], {"fp32_contents": [1, 2]}),
                tensor("b", "FP32", [2, 2], {"fp32_contents": [1, 2, 3, 4]}),
            ),
            INVALID,
            ["'a': 1", "'b': 2"],
            id="rows-differ",
        ),
        # Names and datatypes.
        pytest.param(of(HALF, tensor("z", "FP32", [1, 1])), INVALID, ["'z'", "'x'"], id="name"),
        pytest.param(of(HALF, x([1]), x([1])), INVALID, ["'x'", "twice"], id="input-twice"),
        pytest.param(of(TWO, TWO_INPUTS[0], raw=[floats(1, 2)]), INVALID, ["'b'"], id="missing"),
        pytest.param(
            of(HALF, raw_x([1, 1], "FP64"), raw=[bytes(8)]), INVALID, ["FP32", "FP64"], id="dtype"
        ),
        pytest.param(of(HALF, raw_x([1, 1], "")), INVALID, ["FP32"], id="no-datatype"),
        pytest.param(
            of(DTYPES, raw_x([1, 1], "FP16"), signature="float16"),
            INVALID,
            ["FP16", "bytes"],
            id="half-typed",
        ),
        pytest.param(
            of(DTYPES, tensor("x", "INT8", [1, 1], {"int_contents": [128]}), signature="int8"),
            INVALID,
            ["int8", "127"],
            id="integer-too-large",
        ),
        pytest.param(
            of(DTYPES, tensor("x", "UINT8", [1, 1], {"uint_contents": [256]}), signature="uint8"),
            INVALID,
            ["uint8", "255"],
            id="unsigned-too-large",
        ),
        pytest.param(
            of(WORDS, tensor("x", "COMPLEX64", [1]), signature="imaginary"),
            INVALID,
            ["complex64"],
            id="no-datatype-for-the-input",
        ),
        # Strings.
        pytest.param(
            of(WORDS, tensor("text", "BYTES", [1]), raw=[TOO_LONG]), INVALID, ["100"], id="string"
        ),
        pytest.param(
            of(WORDS, tensor("text", "BYTES", [1]), raw=[CUT_OFF]), INVALID, ["length"], id="length"
        ),
        pytest.param(
            of(WORDS, tensor("text", "BYTES", [2]), raw=[bytes(4)]),
            INVALID,
            ["1 elements", "2"],
            id="fewer-strings",
        ),
        pytest.param(
            of(WORDS, tensor("text", "BYTES", [1]), raw=[bytes(8)]),
            INVALID,
            ["more than 1"],
            id="more-strings",
        ),
        pytest.param(
            of(WORDS, tensor("text", "BYTES", [2], {"bytes_contents": [b"a"]})),
            INVALID,
            ["1 elements", "2"],
            id="fewer-typed-strings",
        ),
        # Outputs.
        pytest.param(
            of(HALF, x([1]), outputs=[wanted("z")]), INVALID, ["'z'", "'y'"], id="unknown-output"
        ),
        pytest.param(
            of(HALF, x([1]), outputs=[wanted("y"), wanted("y")]),
            INVALID,
            ["twice"],
            id="output-twice",
        ),
        pytest.param(
            of(HALF, x([1]), outputs=[wanted("y", classification=("int64_param", -1))]),
            INVALID,
            ["classification"],
            id="negative-classification",
        ),
        pytest.param(
            of(HALF, x([1]), outputs=[wanted("y", classification=("string_param", "2"))]),
            INVALID,
            ["classification"],
            id="word-classification",
        ),
        pytest.param(
            of(HALF, x([1]), outputs=[wanted("y", shared_memory_region=("string_param", "a"))]),
            UNDONE,
            ["shared memory"],
            id="output-in-shared-memory",
        ),
        pytest.param(in_shared_memory(), UNDONE, ["shared memory"], id="input-in-shared-memory"),
        # Parameters.
        pytest.param(
            with_parameter("sequence_id", "int64_param", 1), UNDONE, ["sequence"], id="sequence"
        ),
        pytest.param(
            with_parameter("sequence_id", "string_param", "a"), UNDONE, ["sequence"], id="sequences"
        ),
        pytest.param(
            with_parameter("priority", "string_param", "1"), INVALID, ["priority"], id="priority"
        ),
        pytest.param(
            with_parameter("timeout", "int64_param", -1), INVALID, ["timeout"], id="timeout"
        ),
        pytest.param(with_parameter("empty", None), INVALID, ["empty"], id="empty-parameter"),
        pytest.param(
            with_parameter("triton_x", "bool_param", True), INVALID, ["reserved"], id="reserved"
        ),
        # Bytes that are no message.
        pytest.param(b"\xff\xff", INVALID, ["ModelInferRequest"], id="no-message"),
        pytest.param(b"\x0a\x02\xff\xfe", INVALID, ["ModelInferRequest"], id="no-utf-8"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(
    served: Served, request_: Any, code: Code, words: list[str]
) -> None:
    assert_refused(ask(served, request_), code, *words)


def test_what_the_graph_refuses_is_the_clients_mistake(served: Served) -> None:
    given = tensor("x", "FP32", [1, 2], {"fp32_contents": [-1, 1]})
    assert_refused(ask(served, of(ODD, given, signature="no_negatives")), INVALID)


def test_an_output_without_a_datatype_is_told_unless_another_one_is_asked_for(
    served: Served,
) -> None:
    given = tensor("text", "BYTES", [1], {"bytes_contents": [b"a"]})
    assert_refused(
        ask(served, of(WORDS, given, signature="imaginary")), INVALID, "'whole'", "complex64"
    )


def test_classes_of_what_has_none_are_refused(served: Served) -> None:
    given = tensor("x", "FP32", [1, 3], {"fp32_contents": [1, 2, 3]})
    outputs = [wanted("ids", classification=("int64_param", 1))]
    answer = ask(served, of(WORDS, given, signature="scores", outputs=outputs))
    assert_refused(answer, INVALID, "'ids'", "classification")


@pytest.mark.parametrize("method", sorted(OIP.methods))
def test_no_method_takes_bytes_that_are_no_message(served: Served, method: str) -> None:
    code = UNDONE if method == "ModelStreamInfer" else INVALID
    assert_refused(ask(served, b"\xff\xff", method), code)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("RepositoryIndex", service_pb2.RepositoryIndexRequest(repository_name="a")),
        ("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(repository_name="a")),
        ("RepositoryModelUnload", service_pb2.RepositoryModelUnloadRequest(repository_name="a")),
    ],
)
def test_repositories_have_no_names(served: Served, method: str, message: Any) -> None:
    call = METHODS[method].call(served.application.front._serving, message)
    with pytest.raises(Unimplemented, match="repository_name"):
        served.run(call)


def test_unloading_dependents_is_a_yes_or_no(served: Served) -> None:
    message = service_pb2.RepositoryModelUnloadRequest(model_name=HALF)
    message.parameters["unload_dependents"].int64_param = 1
    call = METHODS["RepositoryModelUnload"].call(served.application.front._serving, message)
    with pytest.raises(InvalidArgument, match="unload_dependents"):
        served.run(call)


def test_the_index_tells_only_who_is_ready_if_asked_so() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            server.front._repository.set_state("gone", VersionState(1, "END"))
            for ready, names in ((False, {"doubler", "gone"}), (True, {"doubler"})):
                body = service_pb2.RepositoryIndexRequest(ready=ready).SerializeToString()
                answer = await server.front.handle(exchange("RepositoryIndex", body), OIP)
                told = service_pb2.RepositoryIndexResponse.FromString(answer.body)
                assert {each.name for each in told.models} == names

    asyncio.run(main())


def test_calls_say_which_model_they_are_about() -> None:
    body = service_pb2.ModelReadyRequest(name=HALF).SerializeToString()
    operation = OIP.route(exchange("ModelReady", body))
    assert isinstance(operation, Call)
    assert operation.model == HALF


# ------------------------------------------------------------------------------------ under load


async def infer(server: ByHand, *values: float) -> Answer:
    body = of("doubler", x(list(values))).SerializeToString()
    return await server.front.handle(exchange("ModelInfer", body), OIP)


def test_a_full_queue_is_unavailable_and_its_requests_are_answered() -> None:
    async def main() -> None:
        async with served_by_hand(max_queue_size=1) as server:
            running = asyncio.create_task(infer(server, 1))
            await until(lambda: server.executor.handed_over == 1)
            waiting = asyncio.create_task(infer(server, 2))
            await until(lambda: server.batcher.stats().queued_rows == 1)
            assert_refused(await infer(server, 3), Code.UNAVAILABLE, "queue is full")
            server.run_next()
            assert (await running).status == 0
            server.run_next()
            told = service_pb2.ModelInferResponse.FromString((await waiting).body)
            assert list(told.raw_output_contents) == [floats(4)]

    asyncio.run(main())
