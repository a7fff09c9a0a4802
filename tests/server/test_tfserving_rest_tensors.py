"""What tensors are over the wire: strict types, exact numbers, shapes, and what errors may tell."""

import json
import math

import numpy as np
import pytest

from server.front import LARGE
from tests.server.conftest import Served
from tests.server.rest_asking import (
    DTYPES,
    HALF,
    ODD,
    TWO,
    assert_refused,
    columns,
    of_signature,
    predict,
    rows,
)

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float32", "float64"]
FORMS = [("instances", "predictions"), ("inputs", "outputs")]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(("form", "key"), FORMS)
def test_the_extremes_of_an_integer_come_back_exact(
    served: Served, dtype: str, form: str, key: str
) -> None:
    limits = np.iinfo(dtype)
    values = [[int(limits.min), int(limits.max), 1]]
    assert predict(served, DTYPES, of_signature(dtype, form, json.dumps(values))) == (
        200,
        {key: values},
    )


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("beyond", ["min", "max"])
def test_an_integer_beyond_its_dtype_is_refused(served: Served, dtype: str, beyond: str) -> None:
    limits = np.iinfo(dtype)
    value = int(limits.min) - 1 if beyond == "min" else int(limits.max) + 1
    said = predict(served, DTYPES, of_signature(dtype, "instances", f"[[0, {value}]]"))
    assert_refused(said, 400, dtype)


def test_300_is_no_byte(served: Served) -> None:
    said = predict(served, DTYPES, of_signature("uint8", "instances", "[[300]]"))
    assert_refused(said, 400, "uint8", "0 to 255")


@pytest.mark.parametrize("value", [2**63 + 1, 2**64 - 1])
def test_a_uint64_above_int64_is_exact_beside_a_small_one(served: Served, value: int) -> None:
    said = predict(served, DTYPES, of_signature("uint64", "instances", f"[[1, {value}]]"))
    assert said == (200, {"predictions": [[1, value]]})


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
@pytest.mark.parametrize(
    ("element", "kind"), [('"1"', "a string"), ("null", "null"), ("{}", "an object")]
)
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_no_dtype_takes_strings_null_or_objects(
    served: Served, dtype: str, element: str, kind: str, form: str
) -> None:
    good = "true" if dtype == "bool" else "1"
    body = of_signature(dtype, form, f"[[{good}, {good}], [{good}, {element}]]")
    assert_refused(predict(served, DTYPES, body), 400, "[1][1]", dtype, kind)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
@pytest.mark.parametrize("boolean", ["true", "false"])
def test_booleans_are_no_numbers(served: Served, dtype: str, boolean: str) -> None:
    mixed = of_signature(dtype, "instances", f"[[1, {boolean}]]")
    alone = of_signature(dtype, "instances", f"[[{boolean}]]")
    assert_refused(predict(served, DTYPES, mixed), 400, "[0][1]", "a boolean")
    assert_refused(predict(served, DTYPES, alone), 400, "[0][0]", "a boolean")


@pytest.mark.parametrize("number", ["0", "1", "1.0", "NaN"])
def test_numbers_are_no_booleans(served: Served, number: str) -> None:
    body = of_signature("bool", "instances", f"[[true, {number}]]")
    assert_refused(predict(served, DTYPES, body), 400, "[0][1]", "bool")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("number", ["1.0", "1e2", "0.5", "1E0", "NaN", "Infinity"])
def test_an_integer_has_neither_point_nor_exponent(served: Served, dtype: str, number: str) -> None:
    body = of_signature(dtype, "instances", f"[[1], [{number}]]")
    assert_refused(predict(served, DTYPES, body), 400, "[1][0]", dtype, "floating-point")


def test_booleans_come_back(served: Served) -> None:
    said = predict(
        served, DTYPES, of_signature("bool", "instances", "[[true, false], [false, true]]")
    )
    assert said == (200, {"predictions": [[True, False], [False, True]]})


def test_a_long_string_among_numbers_costs_no_more_than_its_bytes(served: Served) -> None:
    # NumPy would make each of the elements as wide as the string: 80 GB.
    elements = ["1"] * 20_000 + ['"' + "a" * 1_000_000 + '"']
    said = predict(served, HALF, rows(f"[{','.join(elements)}]"))
    assert_refused(said, 400, "[20000]", "a string")


@pytest.mark.parametrize("key", ['"a\\"b"', '"\\u0022"', '""'])
def test_quotes_in_unknown_keys_do_not_hide_strings(served: Served, key: str) -> None:
    said = predict(served, HALF, rows('[1, "2"]', f", {key}: 1"))
    assert_refused(said, 400, "[1]", "a string")


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_are_written_with_the_digits_they_need(served: Served, dtype: str) -> None:
    body = of_signature(dtype, "instances", "[[0.2, 0.1, 3, 1e-7, 16777216]]").encode()
    answer = served.ask("POST", f"{DTYPES}:predict", body)
    assert answer.body == b'{"predictions":[[0.2,0.1,3.0,1e-07,16777216.0]]}'


def test_17_and_53_tokens_go_in_and_out(served: Served) -> None:
    body = of_signature(
        "float32", "instances", "[[NaN, -NaN, Inf, -Inf, Infinity, -Infinity, 0.2]]"
    )
    answer = served.ask("POST", f"{DTYPES}:predict", body.encode())
    assert answer.body == (b'{"predictions":[[NaN,NaN,Infinity,-Infinity,Infinity,-Infinity,0.2]]}')


@pytest.mark.parametrize("glued", ["1NaN", "--NaN", "NaN.5", "1Infinity", "+Inf", "nan", "Nan"])
def test_what_only_resembles_a_token_is_not_json(served: Served, glued: str) -> None:
    assert_refused(predict(served, HALF, rows(f"[{glued}]")), 400, "not JSON")


def test_nan_in_rows_of_several_outputs(served: Served) -> None:
    body = rows('[{"a": [NaN, 0.2], "b": [0, 0]}]').encode()
    answer = served.ask("POST", f"{TWO}:predict", body)
    for output in (b'"difference":[NaN,0.2]', b'"sum":[NaN,0.2]'):
        assert output in answer.body


@pytest.mark.parametrize(("form", "key"), FORMS)
@pytest.mark.parametrize("count", [8, 9, 16, 17, 100])
def test_more_rows_than_a_batch_are_put_together_in_order(
    served: Served, form: str, key: str, count: int
) -> None:
    said = predict(served, HALF, json.dumps({form: list(range(count))}))
    assert said == (200, {key: [number / 2 + 2 for number in range(count)]})


def test_more_rows_than_a_batch_of_several_tensors(served: Served) -> None:
    a = [[float(n), float(n + 1)] for n in range(21)]
    b = [[float(10 * n), 0.5] for n in range(21)]
    _, said = predict(served, TWO, json.dumps({"inputs": {"a": a, "b": b}}))
    assert said["outputs"]["sum"] == (np.array(a) + np.array(b)).tolist()
    assert said["outputs"]["difference"] == (np.array(a) - np.array(b)).tolist()


def test_rows_of_different_width_do_not_meet_in_a_batch(served: Served) -> None:
    narrow = of_signature("int32", "instances", json.dumps([[n] for n in range(20)]))
    wide = of_signature("int32", "instances", json.dumps([[n, n] for n in range(20)]))
    assert predict(served, DTYPES, narrow)[1]["predictions"] == [[n] for n in range(20)]
    assert predict(served, DTYPES, wide)[1]["predictions"] == [[n, n] for n in range(20)]


@pytest.mark.parametrize(
    ("signature", "values", "outputs"),
    [
        ("scalar", "4", 8.0),
        ("static", "[1, 2, 3]", [2.0, 4.0, 6.0]),
        ("total", "[[1, 2], [3, 4]]", 10.0),
        ("mean", "[[1, 2], [3, 4]]", [[-1.0, -1.0], [1.0, 1.0]]),
        ("lengths", "[[1, 2]]", [[2.0, 4.0]]),
        ("no_negatives", "[[1, 2]]", [[1.0, 2.0]]),
    ],
)
def test_signatures_of_every_kind_are_answered_right(
    served: Served, signature: str, values: str, outputs: object
) -> None:
    body = f'{{"signature_name": "{signature}", "inputs": {values}}}'
    assert predict(served, ODD, body) == (200, {"outputs": outputs})


def test_a_signature_whose_rows_influence_each_other_is_not_cut_up(served: Served) -> None:
    values = [[float(n), 0.0] for n in range(20)]
    _, said = predict(served, ODD, json.dumps({"signature_name": "mean", "inputs": values}))
    assert said["outputs"] == [[n - 9.5, 0.0] for n in range(20)]


@pytest.mark.parametrize("rows_of_it", ["[[1, 2]]", "[[1, 2], [3, 4], [5, 6], [7, 8]]"])
def test_a_static_signature_takes_its_own_number_of_rows_only(
    served: Served, rows_of_it: str
) -> None:
    body = f'{{"signature_name": "static", "inputs": {rows_of_it}}}'
    assert_refused(predict(served, ODD, body), 400, "float32[3]")


def test_a_model_that_refuses_its_input_is_told_as_the_clients_mistake(served: Served) -> None:
    body = '{"signature_name": "no_negatives", "instances": [[-31337, 2]]}'
    status, said = predict(served, ODD, body)
    assert_refused((status, said), 400, "the model refused the input", "InvalidArgument")
    assert "31337" not in said["error"]
    assert "\n" not in said["error"]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (HALF, rows('[31337, "secret31337"]')),
        (HALF, rows("[[31337], [31337, 31337]]")),
        (HALF, rows("[[31337, 31337]]")),
        (HALF, rows("[31337") + "]"),
        (TWO, columns('{"a": [[31337, 1]], "b": [[1, 31337], [2, 3]]}')),
        (DTYPES, of_signature("uint8", "instances", "[[31337]]")),
        (DTYPES, of_signature("int32", "instances", "[[31337.5]]")),
        (DTYPES, of_signature("bool", "instances", "[[31337]]")),
        (ODD, '{"signature_name": "total", "instances": [[31337, 2]]}'),
        (ODD, '{"signature_name": "no_negatives", "instances": [[-31337, 2]]}'),
    ],
)
def test_errors_never_tell_what_tensors_hold(served: Served, model: str, body: str) -> None:
    status, said = predict(served, model, body)
    assert status == 400
    assert "31337" not in said["error"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (rows('[1, 2, "3"]'), '"instances"[2]:'),
        (rows('[[1], ["2"]]'), '"instances"[1][0]:'),
        (rows('[{"x": [1]}, {"x": ["2"]}]'), '"instances"[1][0]:'),
        (rows('[{"x": [1]}, 2]'), '"instances"[1] '),
        (rows('[{"x": [1]}, {"y": [1]}]'), '"instances"[1] '),
        (columns('[1, "2"]'), "\"inputs\" 'x'[1]:"),
        (columns('{"x": [[1], [null]]}'), "\"inputs\" 'x'[1][0]:"),
        (columns('"1"'), "\"inputs\" 'x':"),
    ],
)
def test_an_error_tells_the_place(served: Served, body: str, place: str) -> None:
    status, said = predict(served, HALF, body)
    assert status == 400
    assert said["error"].startswith(place)


def test_trailing_ones_left_out_are_taken_away_again(served: Served) -> None:
    assert predict(served, HALF, rows("[1, 2]"))[1] == {"predictions": [2.5, 3.0]}
    assert predict(served, HALF, rows("[[1], [2]]"))[1] == {"predictions": [[2.5], [3.0]]}
    assert predict(served, HALF, columns('{"x": [1, 2]}'))[1] == {"outputs": [2.5, 3.0]}


def test_a_float32_overflows_to_infinity_and_a_float64_does_not(served: Served) -> None:
    _, single = predict(served, DTYPES, of_signature("float32", "instances", "[[1e39]]"))
    _, double = predict(served, DTYPES, of_signature("float64", "instances", "[[1e39]]"))
    assert math.isinf(single["predictions"][0][0])
    assert double == {"predictions": [[1e39]]}


def test_numbers_overflow_in_large_bodies_too(served: Served) -> None:
    body = of_signature("float32", "instances", json.dumps([[1e39] * 20_000]))
    assert len(body) > LARGE
    status, said = predict(served, DTYPES, body)
    assert status == 200
    assert set(said["predictions"][0]) == {math.inf}


def test_an_unknown_signature_is_told_the_known_ones(served: Served) -> None:
    said = predict(served, TWO, '{"signature_name": "nope", "instances": [1]}')
    assert_refused(said, 400, "'nope'", "'serving_default'", "'two_by_two'")
