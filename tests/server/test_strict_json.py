"""The JSON of the protocols: as strict as RFC 8259 but for NaN and the infinities; floats short."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from server.errors import DecodeError
from server.protocols.json_arrays import LARGE
from server.protocols.strict_json import MANY, MAX_NESTING, dumps, loads

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

WRITABLE = ["bool", "float32", "float64"] + [
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
]
TOKENS = ["NaN", "-NaN", "Inf", "-Inf", "Infinity", "-Infinity"]

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["NaN", 'a"NaN', "[Inf", "\\", '\\"', "-Infinity,"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts
finite = scalars | st.floats(allow_nan=False, allow_infinity=False)
with_tokens = scalars | st.floats()


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON values of such leaves."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


def same(one: Any, other: Any) -> bool:
    """Equal in types and values; NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


@fuzz
@given(
    values(finite) | values(with_tokens), st.sampled_from([True, False]), st.sampled_from([None, 1])
)
def test_what_json_writes_is_read_as_json_reads_it(
    value: Any, ensure_ascii: object, indent: int | None
) -> None:
    written = json.dumps(value, ensure_ascii=bool(ensure_ascii), indent=indent)
    assert same(loads(written.encode()), value)


@fuzz
@given(st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_a_value_or_a_decode_error(body: bytes) -> None:
    try:
        value = loads(body)
    except DecodeError:
        return
    assert same(loads(json.dumps(value).encode()), value)


@fuzz
@given(st.lists(st.sampled_from([*'[]{},:"\\01-.eEu \n', "true", "null", *TOKENS]), max_size=12))
def test_pieces_of_json_are_a_value_or_a_decode_error(pieces: list[str]) -> None:
    body = "".join(pieces)
    try:
        value = loads(body.encode())
    except DecodeError:
        return
    # What is accepted, `json` reads alike, once the tokens it does not know are spelled its way.
    if "-NaN" not in body and "Inf" not in body.replace("Infinity", ""):
        assert json.dumps(json.loads(body)) == json.dumps(value)


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_read_anywhere_a_value_may_stand(token: str) -> None:
    number = {"N": math.nan, "I": math.inf}[token.lstrip("-")[0]] * (-1 if token[0] == "-" else 1)
    text = f'"\\"{token}\\\\"'
    body = f'{{"a": {token}, {text}: [{token},{text}, {token} ]}}'.encode()
    words = f'"{token}\\'
    assert same(loads(token.encode()), number)
    assert same(loads(body), {"a": number, words: [number, words, number]})


@pytest.mark.parametrize(
    "body",
    [
        *["nan", "Nan", "inf", "infinity", "+NaN", "+Infinity", "--NaN", "- NaN", "1NaN", "NaN1"],
        *[
            "0NaN",
            "NaN.5",
            "NaNe1",
            "-1Inf",
            "1.5Infinity",
            "1e5NaN",
            "NaNNaN",
            "NaN NaN",
            "InfInf",
        ],
        *["Infinit", "NaNnull", "Infinity.0", "NaN-1", '"a"NaN', 'NaN"a"', "{NaN: 1}", "[NaN"],
        *['{NaN"a": 1}', "NaN]"],
    ],
)
def test_what_only_resembles_a_token_is_refused(body: str) -> None:
    with pytest.raises(DecodeError):
        loads(body.encode())
    with pytest.raises(DecodeError):
        loads(f"[NaN, {body}]".encode())


@pytest.mark.parametrize("beside", ["1", "NaN"])
@pytest.mark.parametrize(
    "body",
    [
        *["1.", ".5", "01", "+1", "0x1", "1e", "-", "[1,]", "{,}", '{"a":1,}', '{"a"}', "{1: 2}"],
        *["'a'", '"a', '"\n"', '"\\x"', '"\\u12"', "/* a */ 1", "1 // a", "True", "None", ","],
        *['"\\ud800"', '"\\udc00"', '"\\ud800\\u0041"', "1e400", "-1e400", "9" * 400],
    ],
)
def test_what_rfc_8259_has_not_is_refused_with_and_without_tokens(body: str, beside: str) -> None:
    with pytest.raises(DecodeError, match="is not JSON"):
        loads(f"[{beside}, {body}]".encode())


@pytest.mark.parametrize("body", [b"", b" ", b"\n\t\r ", b"\xef\xbb\xbf", b"\xef\xbb\xbf "])
def test_an_empty_body_is_told_as_such(body: bytes) -> None:
    with pytest.raises(DecodeError, match="empty"):
        loads(body)


@pytest.mark.parametrize("body", [b"\xff", b'"\xff"', b'["\xc3\x28", NaN]', b'"\xed\xa0\x80"'])
def test_bytes_that_are_not_utf8_are_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        loads(body)


@pytest.mark.parametrize("after", [b"1", b"{}", b"x", b",", b"]", b"\x00", b"\xef\xbb\xbf", b"NaN"])
@pytest.mark.parametrize("value", [b"{}", b"[1]", b"[NaN]", b'"a"'])
def test_bytes_after_the_value_are_refused(value: bytes, after: bytes) -> None:
    with pytest.raises(DecodeError):
        loads(value + b" " + after)
    assert loads(value + b" \n\t\r ") == pytest.approx(loads(value), nan_ok=True)


def test_one_byte_order_mark_is_skipped() -> None:
    assert loads(b"\xef\xbb\xbf[1]") == [1]
    assert same(loads(b"\xef\xbb\xbf[NaN]"), [math.nan])
    with pytest.raises(DecodeError):
        loads(b"\xef\xbb\xbf\xef\xbb\xbf[1]")


@pytest.mark.parametrize("beside", ["0", "NaN"])
@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9007199254740993", 2**53 + 1),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("9" * 300, 1e300),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("1.0", 1.0),
        ("1E2", 100.0),
    ],
)
def test_numbers_keep_type_and_value_up_to_64_bits(
    digits: str, expected: float, beside: str
) -> None:
    assert same(loads(f"[{beside}, {digits}]".encode())[1], expected)


def test_in_large_bodies_too_an_integer_below_64_bits_is_none() -> None:
    # A float that rounds to the least integer of 64 bits is not that integer.
    least = -(2**63)
    numbers = ["5"] * LARGE
    for number, types in [(least, {int}), (least - 1, {int, float}), (-(10**19), {int, float})]:
        numbers[-1] = str(number)
        read = loads(f"[{','.join(numbers)}]".encode(), arrays=True)
        assert {type(value) for value in read} == types


def nested(depth: int, opening: bytes, inside: bytes, closing: bytes) -> bytes:
    return opening * depth + inside + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_thousand_levels_are_read_and_more_than_the_limit_are_refused(
    opening: bytes, closing: bytes
) -> None:
    value = loads(nested(1000, opening, b"1", closing))
    for _ in range(1000):
        (value,) = value.values() if isinstance(value, dict) else value
    assert value == 1
    for depth in (MAX_NESTING + 1, 100_000):
        with pytest.raises(DecodeError, match=f"deeper than {MAX_NESTING}"):
            loads(nested(depth, opening, b"1", closing))


@pytest.mark.parametrize("depth", [*range(900, 1030, 10), 100_000])
def test_depth_beside_a_token_is_read_or_refused_but_nothing_else(depth: int) -> None:
    try:
        value = loads(nested(depth, b"[", b"NaN", b"]"))
    except DecodeError:
        assert depth > 900
        return
    for _ in range(depth):
        (value,) = value
    assert math.isnan(value)


@pytest.mark.parametrize("token", [b"", b"NaN "])
@pytest.mark.parametrize("piece", [b'\\"', b'"', b'"\\', b'["', b'\\\\"', b'"a\\"'])
def test_half_a_megabyte_of_quotes_is_refused_without_searching_it_again_and_again(
    token: bytes, piece: bytes
) -> None:
    # Quadratic, this would take an hour.
    with pytest.raises(DecodeError):
        loads(b"x" + token + piece * 250_000)


def test_an_error_tells_the_byte_where_it_is() -> None:
    with pytest.raises(DecodeError, match=r"at byte 4$"):
        loads(b"[1, x]")
    with pytest.raises(DecodeError, match=r"at byte 21$"):
        loads(b"[NaN, -Inf, Infinity,x]")


@pytest.mark.parametrize("dtype", WRITABLE)
@fuzz
@given(data=st.data())
def test_what_is_written_reads_back_equal(dtype: str, data: st.DataObject) -> None:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    array: NDArray[Any] = data.draw(hnp.arrays(dtype, shapes))
    back = np.array(json.loads(dumps(array)), dtype)
    # Lists cannot tell what is inside of nothing.
    assert back.shape == array.shape or array.size == 0
    np.testing.assert_array_equal(back.reshape(array.shape), array)


@fuzz
@given(hnp.arrays("float32", hnp.array_shapes(max_dims=3, max_side=5)))
def test_views_that_are_not_contiguous_are_written_as_what_they_show(array: NDArray[Any]) -> None:
    for view in (
        array.T,
        array[::-1],
        array[::2],
        array[..., ::2],
        np.broadcast_to(array[:1], array.shape),
    ):
        written = np.array(json.loads(dumps(view)), "float32")
        np.testing.assert_array_equal(written, view)


@fuzz
@given(st.floats(width=32))
def test_a_float32_has_the_fewest_digits_that_bring_it_back(number: float) -> None:
    single = np.float32(number)
    for array in (np.array(single), np.array([single]), np.array([[single, np.nan]], "float32")):
        first = json.loads(dumps(array).split(b",")[0].strip(b"[]"))
        np.testing.assert_array_equal(np.float32(first), single)
        if math.isfinite(number):
            assert first == float(np.format_float_scientific(single, unique=True))


@pytest.mark.parametrize(
    ("array", "written"),
    [
        (np.array([0.2, 0.1], "float32"), b"[0.2,0.1]"),
        (np.array(0.2, "float32"), b"0.2"),
        (np.array([3, -0.0], "float64"), b"[3.0,-0.0]"),
        (np.array(3, "int8"), b"3"),
        (np.array(True), b"true"),
        (np.array(np.nan), b"NaN"),
        (np.array(-np.inf, "float32"), b"-Infinity"),
        (
            np.array([[np.nan, 0.2], [np.inf, -np.inf]], "float32"),
            b"[[NaN,0.2],[Infinity,-Infinity]]",
        ),
        (np.zeros((0, 3)), b"[]"),
        (np.zeros((2, 0)), b"[[],[]]"),
        (np.array([2**64 - 1], "uint64"), b"[18446744073709551615]"),
    ],
)
def test_these_are_written_so(array: NDArray[Any], written: bytes) -> None:
    assert dumps(array) == written


@pytest.mark.parametrize("begins", ['{\n  "a":[', '  {\t\t"a":[', '{\r\n"a":[', "[  "])
@pytest.mark.parametrize("count", [100, 5_000, 100_000])
def test_many_short_numbers_may_follow_a_beginning_full_of_spaces(begins: str, count: int) -> None:
    """orjson expects such a body to be mostly spaces, and has too little memory for it then."""
    ends = "]" if begins.startswith("[") else "]}"
    whole = begins + ",".join(["1"] * count) + ends
    assert loads(whole.encode()) == json.loads(whole)
    broken = begins + ",".join(["1"] * count) + ",x" + ends
    with pytest.raises(DecodeError, match=f"at byte {broken.index('x')}$"):
        loads(broken.encode())
    with_token = begins + ",".join(["1"] * count) + ",NaN" + ends
    assert json.dumps(loads(with_token.encode())) == json.dumps(json.loads(with_token))


@pytest.mark.parametrize(
    "shape",
    [(MANY + 1,), (1, MANY + 1), (2, MANY + 1), (MANY + 1, 1), (3, MANY // 2, 2), (1, 1, 3, MANY)],
)
def test_arrays_of_many_elements_are_written_like_those_of_few(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7
    array.flat[-1] = np.nan
    written = dumps(array)
    assert b" " not in written
    np.testing.assert_array_equal(np.array(json.loads(written), np.float32), array)
