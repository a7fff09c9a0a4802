"""TensorFlow Serving's predict over HTTP: the numbered cases of the protocol note, as tables."""

import json
from typing import Any

import pytest

from tests.server.conftest import Served

HALF = "/v1/models/half_plus_two"
TWO = "/v1/models/two_by_two"
DTYPES = "/v1/models/every_dtype"
ODD = "/v1/models/odd_ones"

Said = tuple[int, Any]


def predict(served: Served, model: str, body: str | bytes) -> Said:
    """Status and parsed body of a predict."""
    raw = body.encode() if isinstance(body, str) else body
    answer = served.ask("POST", f"{model}:predict", raw)
    assert answer.content_type == "application/json"
    return answer.status, json.loads(answer.body)


def assert_refused(said: Said, status: int, *words: str) -> None:
    """One object with one key, whose text has these words."""
    assert said[0] == status
    assert list(said[1]) == ["error"]
    for word in words:
        assert word in said[1]["error"]


def of_dtype(dtype: str, form: str, values: str) -> str:
    """A body for one of the identity signatures."""
    return f'{{"signature_name": "{dtype}", "{form}": {values}}}'


def rows(instances: str, more: str = "") -> str:
    return f'{{"instances": {instances}{more}}}'


def columns(inputs: str) -> str:
    return f'{{"inputs": {inputs}}}'


X = '{"a": [1, 2], "b": [10, 20]}'


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        pytest.param(HALF, rows("[1.0, 2.0, 5.0]"), {"predictions": [2.5, 3.0, 4.5]}, id="1"),
        pytest.param(HALF, columns("[3.0, 4.0]"), {"outputs": [3.5, 4.0]}, id="3"),
        pytest.param(
            HALF, rows('[{"x": [1.0]}, {"x": [2.0]}]'), {"predictions": [[2.5], [3.0]]}, id="4"
        ),
        pytest.param(
            HALF,
            rows("[1.0]", ', "signature_name": "serving_default"'),
            {"predictions": [2.5]},
            id="5",
        ),
        pytest.param(HALF, rows("[1.0]", ', "signature_name": ""'), {"predictions": [2.5]}, id="6"),
        pytest.param(
            DTYPES,
            of_dtype("int32", "instances", "[[1, 2], [3, 4], [5, 6]]"),
            {"predictions": [[1, 2], [3, 4], [5, 6]]},
            id="9",
        ),
        pytest.param(
            DTYPES,
            of_dtype("int32", "inputs", '{"x": [[1, 2], [3, 4], [5, 6]]}'),
            {"outputs": [[1, 2], [3, 4], [5, 6]]},
            id="10-named",
        ),
        pytest.param(
            DTYPES,
            of_dtype("int32", "inputs", "[[1, 2], [3, 4], [5, 6]]"),
            {"outputs": [[1, 2], [3, 4], [5, 6]]},
            id="10-bare",
        ),
        pytest.param(HALF, rows("[1]", ', "nested": [[[]]]'), {"predictions": [2.5]}, id="11"),
        pytest.param(
            DTYPES,
            of_dtype("float32", "instances", "[[1, 2.0, 3, 4, 5.003, 0.007, 0.0]]"),
            {"predictions": [[1.0, 2.0, 3.0, 4.0, 5.003, 0.007, 0.0]]},
            id="12",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float64", "instances", "[[1.0, 2, 3, 4, 0.662, 0, 0.0]]"),
            {"predictions": [[1.0, 2.0, 3.0, 4.0, 0.662, 0.0, 0.0]]},
            id="13",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float32", "instances", "[[1435774380, 1435774380.0]]"),
            {"predictions": [[1435774300.0, 1435774300.0]]},
            id="14",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float32", "instances", "[[1.7976931348623157e308, -1.7976931348623157e308]]"),
            {"predictions": [[float("inf"), float("-inf")]]},
            id="15",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float32", "instances", "[[2.2250738585072014e-308]]"),
            {"predictions": [[0.0]]},
            id="16",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float64", "instances", "[[Infinity, -Infinity, Inf, -Inf]]"),
            {"predictions": [[float("inf"), float("-inf"), float("inf"), float("-inf")]]},
            id="17",
        ),
        pytest.param(
            TWO,
            rows(f"[{X}, {X}]"),
            {"predictions": [{"difference": [-9.0, -18.0], "sum": [11.0, 22.0]}] * 2},
            id="23",
        ),
        pytest.param(
            TWO,
            columns('{"a": [[1, 2]], "b": [[3, 5]], "c": "ignored"}'),
            {"outputs": {"difference": [[-2.0, -3.0]], "sum": [[4.0, 7.0]]}},
            id="43",
        ),
        pytest.param(
            ODD,
            '{"signature_name": "scalar", "inputs": 5.0}',
            {"outputs": 10.0},
            id="45",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float32", "inputs", "[[], []]"),
            {"outputs": [[], []]},
            id="46-columns",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float32", "instances", "[[], []]"),
            {"predictions": [[], []]},
            id="46-rows",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float32", "instances", "[[NaN, Infinity, 3, -Infinity]]"),
            None,
            id="53",
        ),
        pytest.param(
            TWO,
            rows(f"[{X}]"),
            {"predictions": [{"difference": [-9.0, -18.0], "sum": [11.0, 22.0]}]},
            id="54-rows",
        ),
        pytest.param(
            TWO,
            columns('{"a": [[1, 2], [5, 5]], "b": [[10, 20], [1, 2]]}'),
            {"outputs": {"difference": [[-9.0, -18.0], [4.0, 3.0]], "sum": [[11.0, 22.0], [6, 7]]}},
            id="54-columns",
        ),
        pytest.param(
            ODD,
            '{"signature_name": "total", "inputs": [[1, 2], [3, 4]]}',
            {"outputs": 10.0},
            id="56",
        ),
        pytest.param(
            f"{HALF}/versions/123", rows("[1.0]"), {"predictions": [2.5]}, id="60-version"
        ),
        pytest.param(
            f"{HALF}/versions/000123", rows("[1.0]"), {"predictions": [2.5]}, id="60-leading-zeros"
        ),
    ],
)
def test_these_are_answered(served: Served, model: str, body: str, expected: Any) -> None:
    status, said = predict(served, model, body)
    assert status == 200, said
    if expected is not None:
        assert said == expected
    else:
        first, *rest = said["predictions"][0]
        assert first != first  # noqa: PLR0124 - only NaN does
        assert rest == [float("inf"), 3.0, float("-inf")]


INT = ("int32", "instances")


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        pytest.param(HALF, rows("[1.0]", ', "signature_name": "nope"'), ["'nope'"], id="7"),
        pytest.param(HALF, rows("[1.0]", ', "signature_name": 100'), ["must be a string"], id="8"),
        pytest.param(
            HALF, rows("[1.0]", ', "signature_name": null'), ["must be a string"], id="8-null"
        ),
        pytest.param(
            HALF, rows("[1.0]", ', "signature_name": [[["x"]]]'), ["must be a string"], id="8-list"
        ),
        pytest.param(HALF, "", ["empty"], id="24"),
        pytest.param(HALF, " \n", ["empty"], id="24-blank"),
        pytest.param(HALF, "instances = [1, 2]", ["not JSON"], id="25"),
        pytest.param(HALF, "[1.0]", ["object", "a list"], id="26-list"),
        pytest.param(HALF, '"x"', ["object", "a string"], id="26-string"),
        pytest.param(HALF, "1.0", ["object", "number"], id="26-number"),
        pytest.param(HALF, "null", ["object", "null"], id="26-null"),
        pytest.param(HALF, '{"instances": [1.0], "inputs": [1.0]}', ["both"], id="27"),
        pytest.param(HALF, "{}", ["neither"], id="28"),
        pytest.param(HALF, rows("{}"), ["must be a list"], id="29-object"),
        pytest.param(HALF, rows("1.0"), ["must be a list"], id="29-scalar"),
        pytest.param(HALF, rows("null"), ["must be a list"], id="29-null"),
        pytest.param(HALF, rows("[]"), ["no values"], id="30"),
        pytest.param(DTYPES, of_dtype(*INT, "[[1, 2], [3, 4], [5, 6, 7]]"), ["length"], id="31"),
        pytest.param(DTYPES, of_dtype(*INT, "[[1, 2], [3, 4], [[5, 6]]]"), ["depth"], id="32"),
        pytest.param(DTYPES, of_dtype(*INT, "[1, [1]]"), ["depth"], id="33"),
        pytest.param(
            DTYPES, of_dtype(*INT, '[[1, 2], ["a", "b"]]'), ["[1][0]", "int32", "a string"], id="34"
        ),
        pytest.param(HALF, rows('["x", "y"]'), ["[0]", "float32", "a string"], id="35"),
        pytest.param(
            TWO,
            rows('[{"a": [1, 2], "b": [1, 2]}, {"a": [[1, 2]], "b": [1, 2]}]'),
            ["'a'"],
            id="36",
        ),
        pytest.param(
            TWO, rows('[{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "b": [1]}]'), ["'b'"], id="37"
        ),
        pytest.param(TWO, rows(f"[{X}, [1, 2]]"), ["[1]", "a list"], id="38"),
        pytest.param(HALF, rows('[[1.0], {"x": [2.0]}]'), ["[1]", "an object"], id="39"),
        pytest.param(TWO, rows("[[1, 2], [3, 4]]"), ["list of objects"], id="40"),
        pytest.param(TWO, rows('[{"a": [1, 2]}]'), ["[0]", "expected 'a', 'b'"], id="41-missing"),
        pytest.param(
            TWO, rows(f'[{X}, {{"a": [1, 2], "b": [1, 2], "c": 1}}]'), ["[1]", "'c'"], id="41-more"
        ),
        pytest.param(TWO, columns('{"a": [[1, 2]]}'), ["lacks 'b'"], id="42"),
        pytest.param(TWO, columns("[[1, 2]]"), ["must be an object"], id="44"),
        pytest.param(HALF, columns("[[1], 2]"), ["depth"], id="47-level"),
        pytest.param(HALF, columns("[[1, 2], [3]]"), ["length"], id="47-size"),
        pytest.param(HALF, columns("null"), ["float32", "null"], id="48-null"),
        pytest.param(HALF, columns("[null]"), ["[0]", "float32", "null"], id="48-null-inside"),
        pytest.param(HALF, columns("[true]"), ["[0]", "float32", "a boolean"], id="48-true"),
        pytest.param(HALF, columns('["1"]'), ["[0]", "float32", "a string"], id="48-string"),
        pytest.param(
            ODD, '{"signature_name": "total", "instances": [[1, 2]]}', ["scalar", "'y'"], id="55"
        ),
        pytest.param(DTYPES, of_dtype("float16", "instances", "[[1]]"), ["float16"], id="59"),
        pytest.param(f"{HALF}/labels/stable", rows("[1.0]"), ["'stable'"], id="63"),
        pytest.param(
            "/v1/models/nobody/labels/stable", rows("[1.0]"), ["'stable'"], id="63-nobody"
        ),
        pytest.param(f"{HALF}/versions/{2**64 - 1}", rows("[1.0]"), [str(2**64 - 1)], id="65"),
        pytest.param(f"{HALF}/versions/{2**63}", rows("[1.0]"), [str(2**63)], id="65-int64"),
        pytest.param(f"{HALF}/versions/{'9' * 5000}", rows("[1.0]"), ["larger than"], id="65-long"),
        pytest.param(TWO, columns('{"a": [[1, 2, 3]], "b": [[1, 2]]}'), ["[-1,2]"], id="83"),
    ],
)
def test_these_are_refused_as_invalid(
    served: Served, model: str, body: str, words: list[str]
) -> None:
    assert_refused(predict(served, model, body), 400, *words)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param("/v1/models/nobody", "nobody", id="61"),
        pytest.param("/v1/models/nobody/versions/123", "nobody version 123", id="61-version"),
        pytest.param(f"{HALF}/versions/124", "half_plus_two version 124", id="62"),
        pytest.param(f"{HALF}/versions/{2**63 - 1}", str(2**63 - 1), id="62-largest"),
    ],
)
def test_who_is_not_here_is_not_found(served: Served, model: str, told: str) -> None:
    assert_refused(predict(served, model, rows("[1.0]")), 404, told)


def test_broken_json_for_an_unknown_model_is_told_first(served: Served) -> None:
    assert_refused(predict(served, "/v1/models/nobody", "{"), 400, "not JSON")


def test_a_dtype_without_json_form_in_columns_is_unimplemented(served: Served) -> None:
    assert_refused(predict(served, DTYPES, of_dtype("float16", "inputs", "[[1]]")), 501, "float16")


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        pytest.param(HALF, rows("[[1.0, 2.0], [3.0, 4.0]]"), ["[-1,1]", "[2,2]"], id="2-inner-dim"),
        pytest.param(HALF, rows("[[[1.0]]]"), ["[-1,1]", "[1,1,1]"], id="rank-too-high"),
        pytest.param(TWO, columns('{"a": [1, 2], "b": [1, 2]}'), ["[-1,2]", "[2]"], id="rank-low"),
        pytest.param(HALF, columns("[]"), ["no rows"], id="46-no-rows"),
        pytest.param(TWO, columns('{"a": [], "b": []}'), ["[-1,2]", "[0]"], id="46-no-rows-of-two"),
        pytest.param(
            DTYPES, of_dtype("int32", "instances", "[[2147483648]]"), ["int32"], id="wrap"
        ),
        pytest.param(DTYPES, of_dtype("uint8", "instances", "[[256]]"), ["uint8"], id="wrap-byte"),
        pytest.param(HALF, rows("[1.0]") + "x", ["not JSON"], id="bytes-after-the-value"),
        pytest.param(HALF, rows("[1.0]") * 2, ["not JSON"], id="value-after-the-value"),
        pytest.param(
            HALF,
            rows("[1.0]", f', "nested": {"[" * 500_000}{"]" * 500_000}'),
            ["nests deeper"],
            id="11-nesting",
        ),
        pytest.param(
            TWO,
            columns('{"a": [[1, 2], [3, 4]], "b": [[1, 2]]}'),
            ["agree on the number of rows", "'a': 2", "'b': 1"],
            id="84-broadcast",
        ),
        pytest.param(HALF, columns("5.0"), ["[-1,1]", "[]"], id="85-scalar"),
    ],
)
def test_decided_differences_are_refused(
    served: Served, model: str, body: str, words: list[str]
) -> None:
    assert_refused(predict(served, model, body), 400, *words)
