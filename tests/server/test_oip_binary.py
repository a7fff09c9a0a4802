"""The binary tensor extension of the Open Inference Protocol over HTTP.

The ids name sections and rows of the protocol note.
"""

import json
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from server.errors import InvalidArgument
from server.exchange import Exchange
from server.front import LARGE
from server.inference import ModelAddress
from server.protocols.oip_http import OipHttp
from server.protocols.oip_tensors import DATATYPES, to_raw
from server.protocols.protocol import Infer
from server.signature import Array
from tests.server.conftest import Served
from tests.server.oip_asking import (
    ALL_RAW,
    DTYPES,
    HALF,
    LENGTH,
    ONE,
    TWO,
    WORDS,
    ask_raw,
    assert_refused,
    body_of,
    decode,
    one_input,
    raw_x,
    read,
)

# ----------------------------------------------------------------------------------- 3, binary


SAMPLES: dict[str, Any] = {
    "bool": [True, False],
    "float16": [0.5, -65504],
    "bfloat16": [0.5, -3e38],
    "string": [b"", b"\0\xffa"],
} | {
    dtype: [0, 100] for dtype in DATATYPES if dtype.startswith(("int", "uint", "float3", "float6"))
}


@pytest.mark.parametrize("padding", range(4), ids=lambda n: f"shifted-by-{n}")
@pytest.mark.parametrize("dtype", sorted(SAMPLES))
def test_every_datatype_goes_in_and_out_raw(served: Served, dtype: str, padding: int) -> None:
    """Wherever in the body its bytes begin: not all of these places are aligned."""
    datatype = DATATYPES[dtype]
    model, name, output = DTYPES, "x", "y"
    shape: tuple[int, ...] = (2, 1)
    parameters: dict[str, Any] = ALL_RAW | {"signature_name": dtype, "padding": "p" * padding}
    if dtype == "string":
        model, name, output, shape = WORDS, "text", "text", (2,)
        parameters["signature_name"] = "serving_default"
    elif dtype == "bfloat16":
        model = WORDS
    element = {"string": object, "bfloat16": ml_dtypes.bfloat16}.get(dtype, dtype)
    array: Array = np.array(SAMPLES[dtype], element).reshape(shape)
    raw = to_raw(array)
    body = body_of(raw_x(len(raw), shape, datatype) | {"name": name}, parameters=parameters)
    told, arrays = read(ask_raw(served, model, body, raw))
    assert (told[output]["datatype"], tuple(told[output]["shape"])) == (datatype, shape)
    assert arrays[output].dtype == array.dtype
    assert arrays[output].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("parameters", "asked", "raw"),
    [
        pytest.param({}, None, {"same": False, "nothing": False}, id="3-json-by-default"),
        pytest.param(ALL_RAW, None, {"same": True, "nothing": True}, id="3-all-binary"),
        pytest.param(
            {"binary_data_output": False}, None, {"same": False, "nothing": False}, id="3-none"
        ),
        pytest.param(ALL_RAW, [["same", None]], {"same": True}, id="3-all-of-the-named"),
        pytest.param(
            ALL_RAW,
            [["nothing", None], ["same", False]],
            {"nothing": True, "same": False},
            id="3-output-wins-false",
        ),
        pytest.param(
            {},
            [["nothing", None], ["same", True]],
            {"nothing": False, "same": True},
            id="3-output-wins-true",
        ),
    ],
)
def test_an_output_is_raw_if_it_was_asked_for(
    served: Served, parameters: Any, asked: Any, raw: dict[str, bool]
) -> None:
    body = body_of(raw_x(16, [2, 2]), parameters=parameters | {"signature_name": "nothing"})
    if asked:
        body["outputs"] = [
            {"name": name} | ({} if wish is None else {"parameters": {"binary_data": wish}})
            for name, wish in asked
        ]
    answer = ask_raw(served, WORDS, body, struct.pack("<4f", 1, 2, 3, 4))
    told, arrays = read(answer)
    assert {name: "parameters" in output for name, output in told.items()} == raw
    same = arrays["same"].tolist() if raw["same"] else told["same"]["data"]
    assert same == ([[1, 2], [3, 4]] if raw["same"] else [1, 2, 3, 4])
    if "nothing" in raw:
        assert told["nothing"]["shape"] == [2, 0]
        assert "nothing" in arrays or told["nothing"]["data"] == []
    octets = "application/octet-stream" if raw["same"] else "application/json"
    assert answer.content_type == octets


def test_if_every_raw_output_is_empty_the_answer_is_json(served: Served) -> None:
    asked = [{"name": "nothing", "parameters": {"binary_data": True}}]
    body = body_of(raw_x(16, [2, 2]), parameters={"signature_name": "nothing"}, outputs=asked)
    answer = ask_raw(served, WORDS, body, b"\0" * 16)
    assert answer.content_type == "application/json"
    assert LENGTH not in (answer.headers or {})
    assert json.loads(answer.body)["outputs"] == [
        {
            "name": "nothing",
            "datatype": "FP32",
            "shape": [2, 0],
            "parameters": {"binary_data_size": 0},
        }
    ]


def test_inputs_may_mix_json_and_raw(served: Served) -> None:
    row = {"shape": [1, 2], "datatype": "FP32"}
    data, raw = {"data": [1, 2]}, {"parameters": {"binary_data_size": 8}}
    bodies = [
        body_of({"name": "a"} | row | data, {"name": "b"} | row | raw),
        body_of({"name": "b"} | row | raw, {"name": "a"} | row | data),
    ]
    for body in bodies:
        told, _ = read(ask_raw(served, TWO, body, struct.pack("<2f", 10, 20)))
        assert told["sum"]["data"] == [11.0, 22.0]
        assert told["difference"]["data"] == [-9.0, -18.0]


def test_raw_inputs_follow_in_the_order_of_the_inputs(served: Served) -> None:
    row = {"shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    body = body_of({"name": "b"} | row, {"name": "a"} | row)
    told, _ = read(ask_raw(served, TWO, body, struct.pack("<4f", 10, 20, 1, 2)))
    assert told["difference"]["data"] == [-9.0, -18.0]


@pytest.mark.parametrize(
    "length", [None, "full", "0full"], ids=["3-absent", "3-whole", "3-whole-with-zeros"]
)
def test_the_whole_body_may_be_json(served: Served, length: str | None) -> None:
    body = b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}'
    headers = {} if length is None else {LENGTH: length.replace("full", str(len(body)))}
    told, _ = read(served.ask("POST", f"{HALF}/infer", body, headers))
    assert told["y"]["data"] == [2.5]


JSON = body_of({"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]})


@pytest.mark.parametrize(
    ("length", "words"),
    [
        pytest.param("abc", "'abc'", id="3-not-a-number"),
        pytest.param("", "''", id="3-empty"),
        pytest.param("-1", "'-1'", id="3-negative"),
        pytest.param("1.5", "'1.5'", id="3-float"),
        pytest.param("+5", "'+5'", id="3-sign"),
        pytest.param("٣", "'٣'", id="3-digits-of-others"),
        pytest.param("10000", "'10000'", id="3-more-than-the-body"),
        pytest.param(str(2**31), str(2**31), id="3-more-than-int32"),
        pytest.param("9" * 5000, "9" * 64, id="3-very-long"),
        pytest.param("5", "not JSON", id="3-inside-the-json"),
    ],
)
def test_a_wrong_length_is_refused(served: Served, length: str, words: str) -> None:
    assert_refused(ask_raw(served, HALF, JSON, length=length), 400, words)


@pytest.mark.parametrize(
    ("body", "raw", "words"),
    [
        pytest.param(
            body_of(raw_x(4)), b"", ["'x' has 4 bytes, only 0 are left"], id="3-fewer-bytes"
        ),
        pytest.param(
            body_of(raw_x(4)), ONE + b"z", ["5 bytes follow", "take 4"], id="3-more-bytes"
        ),
        pytest.param(JSON, ONE, ["4 bytes follow", "take 0"], id="3-bytes-for-nobody"),
        pytest.param(
            body_of(raw_x(3)), ONE[:3], ["3 bytes, expected 4"], id="3-size-not-of-the-shape"
        ),
        pytest.param(
            body_of(raw_x(8)), ONE * 2, ["8 bytes, expected 4"], id="3-size-more-than-the-shape"
        ),
        pytest.param(body_of(raw_x(4, [2, 1])), ONE, ["4 bytes, expected 8"], id="3-shape-of-more"),
        pytest.param(
            body_of(raw_x(4, [2**38, 1])), ONE, ["expected 1099511627776"], id="3-large-shape"
        ),
        pytest.param(body_of(raw_x(4, [2**40, 1])), ONE, ["elements or more"], id="3-huge-shape"),
        pytest.param(
            body_of(raw_x("4")), ONE, ["'binary_data_size'", "a string"], id="3-size-string"
        ),
        pytest.param(body_of(raw_x(-4)), ONE, ["'binary_data_size'", "-4"], id="3-size-negative"),
        pytest.param(body_of(raw_x(4.0)), ONE, ["'binary_data_size'"], id="3-size-float"),
        pytest.param(body_of(raw_x(True)), ONE, ["'binary_data_size'"], id="3-size-boolean"),
        pytest.param(
            body_of(raw_x(2**64)), ONE, ["'binary_data_size'"], id="3-size-beyond-64-bits"
        ),
        pytest.param(body_of(raw_x(2**62)), ONE, ["only 4 are left"], id="3-size-huge"),
        pytest.param(body_of(raw_x(4) | {"data": [1]}), ONE, ["both"], id="3-both"),
        pytest.param(body_of(raw_x(4) | {"parameters": {}}), ONE, ["neither"], id="3-neither"),
        pytest.param(
            body_of(raw_x(4), outputs=[{"name": "y", "parameters": {"binary_data": 1}}]),
            ONE,
            ["'binary_data' must be a boolean"],
            id="3-binary-data-number",
        ),
    ],
)
def test_bytes_that_do_not_add_up_are_refused(
    served: Served, body: Any, raw: bytes, words: list[str]
) -> None:
    assert_refused(ask_raw(served, HALF, body, raw), 400, *words)


@pytest.mark.parametrize(
    ("raw", "shape", "words"),
    [
        pytest.param(b"\2\0\0\0a", [1], ["2 bytes, only 1"], id="3-past-the-end"),
        pytest.param(b"\1\0\0\0a\1\0", [2], ["element 1 is cut off"], id="3-prefix-cut"),
        pytest.param(b"\1\0\0\0a", [2], ["1 elements, expected 2"], id="3-fewer"),
        pytest.param(b"\1\0\0\0a" * 2, [1], ["more than 1 elements"], id="3-more"),
    ],
)
def test_strings_that_do_not_add_up_are_refused(
    served: Served, raw: bytes, shape: list[int], words: list[str]
) -> None:
    body = body_of(raw_x(len(raw), shape, "BYTES") | {"name": "text"})
    assert_refused(ask_raw(served, WORDS, body, raw), 400, *words)


def test_many_strings_are_read_beside_the_loop(served: Served) -> None:
    raw = b"\1\0\0\0a" * 16_000
    body = body_of(raw_x(len(raw), [16_000], "BYTES") | {"name": "text"})
    head = json.dumps(body).encode()
    exchange = Exchange("POST", f"{WORDS}/infer", {LENGTH: str(len(head))}, head + raw)
    assert OipHttp().parsed_size(Infer(ModelAddress("m")), exchange) == len(exchange.body) > LARGE
    asked = [{"name": "length", "parameters": {"binary_data": True}}]
    _, arrays = read(ask_raw(served, WORDS, body | {"outputs": asked}, raw))
    assert arrays["length"].tolist() == [1] * 16_000


@pytest.mark.parametrize(
    ("head", "length", "size"),
    [
        pytest.param(b'{"a": 1}', "8", 8, id="json-only"),
        pytest.param(b'{"a": "FP32"}', "13", 13, id="numbers"),
        pytest.param(b'{"a": "BYTES"}', "14", 114, id="strings"),
        pytest.param(b'{"a": "\\u0042YTES"}', "19", 119, id="strings-in-hiding"),
        pytest.param(b"{}", "999", 0, id="a-wrong-length-costs-nothing"),
        pytest.param(b"", "0", 0, id="raw"),
    ],
)
def test_what_is_text_to_parse(head: bytes, length: str, size: int) -> None:
    exchange = Exchange("POST", "/v2/models/m/infer", {LENGTH: length}, head + b"\0" * 100)
    assert OipHttp().parsed_size(Infer(ModelAddress("m")), exchange) == size


# ----------------------------------------------------------------- 3, raw: the only input's bytes


def test_a_raw_request_is_one_row_and_all_outputs_are_binary(served: Served) -> None:
    told, arrays = read(ask_raw(served, HALF, b"", ONE, length=0))
    assert told["y"]["shape"] == [1, 1]
    assert arrays["y"].tolist() == [[2.5]]


def test_a_raw_string_has_its_length_on_the_way_out_only(served: Served) -> None:
    answer = ask_raw(served, WORDS, b"", b"hello", length=0)
    told, arrays = read(answer)
    assert told["text"]["parameters"] == {"binary_data_size": 9}
    assert answer.body.endswith(b"\5\0\0\0hello")
    assert arrays["text"].tolist() == [b"hello"]
    assert arrays["length"].tolist() == [5]


def test_a_raw_request_for_a_model_of_two_inputs_is_refused(served: Served) -> None:
    assert_refused(ask_raw(served, TWO, b"", ONE, length=0), 400, "one input")


@pytest.mark.parametrize("raw", [b"", ONE[:3], ONE * 2])
def test_a_raw_request_of_other_bytes_than_a_row_is_refused(served: Served, raw: bytes) -> None:
    assert_refused(ask_raw(served, HALF, b"", raw, length=0), 400, "'x'")


@pytest.mark.parametrize(
    ("shape", "dtype", "raw", "expected"),
    [
        pytest.param((None, 2), "int16", b"\1\0\2\0", [[1, 2]], id="3-a-row"),
        pytest.param((None, None), "int16", b"\1\0\2\0", [[1, 2]], id="3-variable"),
        pytest.param((None, 2, None), "uint8", b"\1\2\3\4", [[[1, 2], [3, 4]]], id="3-variable-2"),
        pytest.param((None, None), "uint8", b"", [[]], id="3-variable-of-none"),
        pytest.param((2,), "int16", b"\1\0\2\0", [1, 2], id="3-without-batch-dimension"),
        pytest.param((), "int16", b"\1\0", 1, id="3-scalar"),
        pytest.param((None,), "string", b"\1\2", [b"\1\2"], id="3-string"),
        pytest.param((None, 1), "string", b"", [[b""]], id="3-string-of-rank-2"),
        pytest.param((None, None), "string", b"a", [[b"a"]], id="3-string-variable"),
    ],
)
def test_the_shape_of_a_raw_request_is_the_models(
    shape: tuple[int | None, ...], dtype: str, raw: bytes, expected: Any
) -> None:
    assert decode(one_input(shape, dtype), raw, 0).inputs["x"].tolist() == expected


@pytest.mark.parametrize(
    ("shape", "dtype", "raw", "words"),
    [
        pytest.param((None, None, None), "int16", b"\1\0", "one dimension open", id="3-two-open"),
        pytest.param(None, "int16", b"\1\0", "one dimension open", id="3-any-rank"),
        pytest.param((None, 2), "int16", b"\1\0", "1 elements for its row", id="3-too-few"),
        pytest.param((None, 2, None), "int16", b"\1\0" * 3, "3 elements", id="3-indivisible"),
        pytest.param((None, 2), "int16", b"\1\0\2\0\3", "5 bytes, expected 4", id="3-half-element"),
        pytest.param((None, 0, None), "int16", b"\1\0", "1 elements", id="3-no-room"),
        pytest.param((None, 2), "string", b"a", "1 elements", id="3-string-not-of-shape-1"),
        pytest.param((None,), "complex64", b"\0" * 8, "no datatype", id="complex"),
    ],
)
def test_a_raw_request_that_leaves_its_shape_open_is_refused(
    shape: tuple[int | None, ...] | None, dtype: str, raw: bytes, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words):
        decode(one_input(shape, dtype), raw, 0)


# --------------------------------------------------------------------------- 9, what clients send


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        pytest.param(
            b'{"inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","parameters":'
            b'{"binary_data_size":16}},{"name":"b","shape":[2,2],"datatype":"FP32","parameters":'
            b'{"binary_data_size":16}}],"parameters":{"binary_data_output":true}}',
            {},
            id="9-tritonclient",
        ),
        pytest.param(
            b'{"id":"","inputs":[{"name":"a","shape":[2,2],"datatype":"FP32","parameters":'
            b'{"binary_data_size":16}},{"name":"b","shape":[2,2],"datatype":"FP32","parameters":'
            b'{"binary_data_size":16}}],"outputs":[{"name":"difference","parameters":'
            b'{"binary_data":true}},{"name":"sum","parameters":{"binary_data":true}}]}',
            {"Content-Type": "application/octet-stream", "Accept": "*/*"},
            id="9-perf-analyzer",
        ),
    ],
)
def test_what_clients_send_by_themselves(
    served: Served, head: bytes, headers: dict[str, str]
) -> None:
    raw = struct.pack("<8f", 1, 2, 3, 4, 10, 20, 30, 40)
    told, arrays = read(ask_raw(served, TWO, head, raw, headers=headers))
    assert list(told) == ["difference", "sum"]
    assert arrays["sum"].tolist() == [[11, 22], [33, 44]]
    assert arrays["difference"].tolist() == [[-9, -18], [-27, -36]]
