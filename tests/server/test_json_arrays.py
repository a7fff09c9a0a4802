"""Large lists of numbers become arrays, and nobody can tell by the values: only by the time."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from server.errors import DecodeError
from server.protocols import json_arrays
from server.protocols.strict_json import loads

fuzz = settings(derandomize=True, deadline=None, max_examples=150)


@pytest.fixture(autouse=True, scope="module")
def _everything_is_large() -> Iterator[None]:
    """Bodies of a few bytes are read as those of megabytes are, a few bytes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "LARGE", 3)
        patch.setattr(json_arrays, "SLICE", 5)
        yield


def as_lists(value: Any) -> Any:
    """A value with lists in the place of arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: as_lists(member) for key, member in value.items()}
    return [as_lists(member) for member in value] if isinstance(value, list) else value


def arrays_in(value: Any) -> list[NDArray[Any]]:
    """The arrays in a value."""
    if isinstance(value, np.ndarray):
        return [value]
    members = value.values() if isinstance(value, dict) else value
    return [a for m in members for a in arrays_in(m)] if isinstance(value, dict | list) else []


def told(body: bytes, *, arrays: bool) -> Any:
    """The value of a body, or what is wrong with it; NaN as a word, which equals itself."""
    try:
        value = as_lists(loads(body, arrays=arrays))
    except DecodeError as error:
        return str(error)
    return json.loads(json.dumps(value), parse_constant=str)


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ('{"instances": [[1, 2], [3, 4]]}', [(2, 2)]),
        ('{"instances":[[1.5],[2.5],[3.5]],"signature_name":"x"}', [(3, 1)]),
        ('{"inputs": {"a": [1, 2, 3], "b": [[[4]]]}, "c": [5, 6]}', [(3,), (1, 1, 1), (2,)]),
        ('{"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}', [(2,), (2,)]),
        ('{"inputs": [{"name": "x", "shape": [1, 4], "data": [1, 2, 3, 4]}]}', [(2,), (4,)]),
        ("[[1, 2, 3]]", [(1, 3)]),
        ('{\n  "a": [\n    [1,\n 2],\n    [3, 4]\n  ]\n}', [(2, 2)]),
        ('{"a": [NaN, -Infinity, 1], "b": "x"}', [(3,)]),
        ('\ufeff{"a": [1, 2]}', [(2,)]),
    ],
)
def test_regular_lists_of_numbers_become_arrays(body: str, shapes: list[tuple[int, ...]]) -> None:
    raw = body.encode()
    assert [array.shape for array in arrays_in(loads(raw, arrays=True))] == shapes
    assert told(raw, arrays=True) == told(raw, arrays=False)
    assert arrays_in(loads(raw)) == []


@pytest.mark.parametrize(
    "body",
    [
        '{"a": [[1, 2], [3]]}',
        '{"a": [1, [2]]}',
        '{"a": [[1], 2]}',
        '{"a": []}',
        '{"a": [[], []]}',
        '{"a": [[1], []]}',
        '{"a": [true, false]}',
        '{"a": [1, null]}',
        '{"a": [1, "2"]}',
        '{"a": [1, {"b": 2}]}',
        '{"a": [18446744073709551615, 1]}',
        '{"a": "\\u0000\\"0", "b": [1, 2, 3]}',
        f'{{"a": {"[" * 33}1{"]" * 33}}}',
        '{"a": [1, 2, 3], "a": [4, 5, 6]}',
    ],
)
def test_whatever_else_stays_as_it_is(body: str) -> None:
    assert arrays_in(loads(body.encode(), arrays=True)) == []
    assert told(body.encode(), arrays=True) == told(body.encode(), arrays=False)


@pytest.mark.parametrize(
    "body",
    [
        '{"a": [1, 2}',
        '{"a": [1, 2]',
        '{"a": [1 2]}',
        '{"a": [1][2]}',
        '{"a": [1,, 2]}',
        '{"a": [1, 2,]}',
        '{"a": [1, 2]]}',
        '{"a": [[1, 2]}',
        '{"a": [01, 2]}',
        '{"a": [1., 2]}',
        '{"a": [1e, 2]}',
        '{"a": [+1, 2]}',
        '{"a": [nan, 2]}',
        '{"a": [1, 2], b}',
        '{"a": [1, 2]} [3, 4]',
        "[1, 2] [3, 4]",
    ],
)
def test_what_is_no_json_is_told_as_ever(body: str) -> None:
    message = told(body.encode(), arrays=True)
    assert "not JSON" in message
    assert message == told(body.encode(), arrays=False)


def test_integers_and_floats_stay_apart() -> None:
    value = loads(
        b'{"i": [1, -2], "f": [1, 2.0], "e": [1e2], "n": [9223372036854775807]}', arrays=True
    )
    assert {name: array.dtype.name for name, array in value.items()} == {
        "i": "int64",
        "f": "float64",
        "e": "float64",
        "n": "int64",
    }
    assert value["n"].tolist() == [2**63 - 1]


numbers = st.integers(-(2**65), 2**65) | st.floats()
leaves = st.lists(numbers, min_size=1, max_size=6) | st.text(max_size=3) | numbers | st.none()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
layouts = st.sampled_from([(None, (",", ":")), (None, (", ", ": ")), (1, None), (3, None)])


def written(value: Any, layout: tuple[int | None, tuple[str, str] | None]) -> bytes:
    indent, separators = layout
    return json.dumps(value, indent=indent, separators=separators, ensure_ascii=False).encode()


@fuzz
@given(
    hnp.arrays(
        st.sampled_from(["int64", "float64", "uint8"]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=5),
    ),
    layouts,
)
def test_arrays_come_back_in_their_shape(array: NDArray[Any], layout: Any) -> None:
    value = loads(written({"a": array.tolist()}, layout), arrays=True)
    # With the least integer of all they stay lists: it may stand for a smaller one.
    read = np.asarray(value["a"])
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@fuzz
@given(st.dictionaries(st.text(max_size=2), trees, max_size=3) | trees, layouts)
def test_any_value_reads_the_same(value: Any, layout: Any) -> None:
    body = written(value, layout)
    assert told(body, arrays=True) == told(body, arrays=False)


@fuzz
@given(trees, layouts, st.data())
def test_any_spoilt_value_is_told_the_same(value: Any, layout: Any, data: st.DataObject) -> None:
    body = bytearray(written({"a": value}, layout))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place : place + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([b"", b"[", b"]", b",", b" ", b"1", b"}", b'"', b"e", b"-", b"N"])
    )
    assert told(bytes(body), arrays=True) == told(bytes(body), arrays=False)


def test_a_body_with_thousands_of_strings_is_left_to_the_parser() -> None:
    body = orjson.dumps({"a": [1, 2, 3], "b": ["x"] * 3000})
    assert arrays_in(loads(body, arrays=True)) == []
