"""Strings over TensorFlow Serving's REST API: text and base64, in and out."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import DecodeError, InvalidArgument
from server.protocols.tfserving_strings import dumps_strings, is_base64, to_bytes, to_strings
from server.signature import TensorSpec
from tests.server.conftest import Served
from tests.server.rest_asking import SHAPES, assert_refused, of_signature, predict

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

SPEC = TensorSpec("x", "string", None)
AMONG_ROWS = '"instances"'


def sent(served: Served, values: str, form: str = "instances") -> tuple[int, Any]:
    """What the signature says that returns strings of any rank."""
    return predict(served, SHAPES, of_signature("string", form, values))


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        ("aGVsbA==", b"hell"),
        ("aGVsbA", b"hell"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("AAA=", b"\0\0"),
        ("", b""),
    ],
)
def test_base64_may_leave_its_padding_out(text: str, held: bytes) -> None:
    assert to_bytes({"b64": text}, "x") == held


@pytest.mark.parametrize(
    "text",
    [
        *["aGVsbG8==", "aGVsbA=", "aGVsbA===", "a", "aGVsb", "=", "====", "aGVs=bG8="],
        *[
            "aGVsbG8=aGVs",
            "-_-_",
            "aGVs bG8=",
            " aGVsbG8=",
            "aGVsbG8=\n",
            "\u00e9",
            "aGVsbG8\u0660",
        ],
    ],
)
def test_what_is_not_quite_base64_is_refused(served: Served, text: str) -> None:
    said = sent(served, json.dumps([[{"b64": "aGVsbG8="}, {"b64": text}]]))
    assert_refused(said, 400, "\"instances\"[0][1]: 'b64' is not base64")


@pytest.mark.parametrize(
    "element",
    ["1", "1.5", "true", "null", "{}", '{"b65": "aGVsbG8="}', '{"b64": 1}', '{"b64": "", "x": 1}'],
)
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_what_is_no_string_is_refused_and_its_place_told(
    served: Served, element: str, form: str
) -> None:
    said = sent(served, f'[["a", "b"], ["c", {element}]]', form)
    assert_refused(said, 400, "[1][1]", "string", "got ")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ('["a", ["b"]]', ["one depth"]),
        ('[["a"], "b"]', ["one depth"]),
        ('[["a"], {"b64": ""}]', ["one depth"]),
        ('[["a"], ["b", "c"]]', ["one length"]),
        ('[["a"], [["b"]]]', ["one depth"]),
        ('[["a"], []]', ["one length"]),
        ('[["a"], 1]', ["[1]", "an integer"]),
        ('[["a", "b"], [null]]', ["one length"]),
    ],
)
def test_lists_that_are_no_tensor_are_refused(
    served: Served, values: str, words: list[str]
) -> None:
    assert_refused(sent(served, values), 400, *words)


def test_an_object_of_base64_is_a_value_and_any_other_is_a_row(served: Served) -> None:
    assert sent(served, '[{"b64": "aA=="}, "i"]') == (200, {"predictions": ["h", "i"]})
    assert sent(served, '[{"x": {"b64": "aA=="}}, {"x": "i"}]') == (
        200,
        {"predictions": ["h", "i"]},
    )
    assert sent(served, '{"x": {"b64": "aA=="}}', "inputs") == (200, {"outputs": "h"})
    assert_refused(sent(served, '["i", {"x": "h"}]'), 400, "[1]", "an object")


@pytest.mark.parametrize("value", ["", "\0", "a\0", '"\\', "\u2028\U0001f600", "b64"])
def test_text_comes_back_as_it_went_in(served: Served, value: str) -> None:
    assert sent(served, json.dumps([value])) == (200, {"predictions": [value]})


def test_bytes_that_are_no_text_are_told_how_they_could_be_written(served: Served) -> None:
    body = json.dumps([["ok", {"b64": base64.b64encode(b"\xff\xfe31337").decode()}]])
    status, said = sent(served, body)
    assert_refused((status, said), 400, "output 'y'[0][1]", "not UTF-8", "'_bytes'")
    assert "31337" not in said["error"]


def test_a_name_in_bytes_means_base64_on_the_way_out_only() -> None:
    held = np.array([b"\xff", b"a"], object)
    assert dumps_strings("y_bytes", held) == b'[{"b64":"/w=="},{"b64":"YQ=="}]'
    assert dumps_strings("bytes_y", held[1:]) == b'["a"]'
    assert to_strings("a", TensorSpec("x_bytes", "string", None), AMONG_ROWS)[()] == b"a"


def test_rows_of_several_outputs_hold_single_strings(served: Served) -> None:
    _, said = predict(served, SHAPES, of_signature("bytes", "instances", '["h"]'))
    assert said == {"predictions": [{"text": "h", "text_bytes": {"b64": "aA=="}}]}


def test_strings_wait_in_one_batch_with_those_of_others(served: Served) -> None:
    many = [f"string {number}" for number in range(20)]
    _, said = predict(served, SHAPES, of_signature("bytes", "inputs", json.dumps(many)))
    assert said["outputs"]["text"] == many


leaves = st.text(max_size=3) | st.binary(max_size=4).map(
    lambda held: {"b64": base64.b64encode(held).decode()}
)
others = st.none() | st.integers() | st.floats() | st.booleans() | st.just({"b64": "a"})
shapes = st.lists(st.integers(0, 3), max_size=3)


def held_by(leaf: Any) -> bytes:
    return base64.b64decode(leaf["b64"]) if is_base64(leaf) else leaf.encode()


@fuzz
@given(shapes, st.data())
def test_lists_of_one_shape_become_that_tensor(shape: list[int], data: st.DataObject) -> None:
    size = int(np.prod(shape))
    leaf = data.draw(st.lists(leaves, min_size=size, max_size=size))
    values = np.empty(size, object)
    values[:] = leaf
    array = to_strings(values.reshape(shape).tolist() if shape else leaf[0], SPEC, AMONG_ROWS)
    assert [held_by(value) for value in leaf] == array.ravel().tolist()
    # Lists cannot tell what is inside of nothing.
    assert array.shape == tuple(shape) or not size


@fuzz
@given(st.recursive(leaves | others, lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_any_lists_are_strings_or_told(values: Any) -> None:
    try:
        array = to_strings(values, SPEC, AMONG_ROWS)
    except DecodeError:
        return
    assert array.dtype == object
    assert {type(value) for value in array.ravel().tolist()} <= {bytes}


@fuzz
@given(st.lists(st.binary(max_size=4), min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same(strings: list[bytes]) -> None:
    array = np.empty(len(strings), object)
    array[:] = strings
    back = to_strings(json.loads(dumps_strings("y_bytes", array)), SPEC, AMONG_ROWS)
    assert back.tolist() == strings
    try:
        written = dumps_strings("y", array)
    except InvalidArgument:
        assert not b"".join(strings).isascii()
        return
    assert to_strings(json.loads(written), SPEC, AMONG_ROWS).tolist() == strings
