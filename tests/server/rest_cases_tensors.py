"""The numbered cases of TensorFlow Serving's REST API that are about tensors: 1 to 59, 83 to 87."""

import json

import numpy as np

from tests.server.rest_asking import (
    DTYPES,
    HALF,
    ODD,
    SHAPES,
    TWO,
    columns,
    no,
    rows,
    yes,
)
from tests.server.rest_asking import (
    of_signature as on,
)

CUBE = np.arange(12).reshape(2, 3, 2).tolist()
HELLO, WORLD = '{"b64": "aGVsbG8="}', '{"b64": "d29ybGQ="}'
X = '{"a": [1, 2], "b": [10, 20]}'
FOUR = '{"a": [%s, 2], "b": %s, "c": "%s", "d": true}'
MIXED = '{"int_tensor": [1, 2, 3], "str_tensor": ["foo", "bar"], "bin_tensor": ' + HELLO + "}"
NESTED = f', "nested": {"[" * 500_000}{"]" * 500_000}'
OF_TWO_ROWS = '{"a": [[1, 2], [3, 4]], "b": [[1, 2]]}'


TENSORS_IN = [
    yes("1", HALF, rows("[1.0, 2.0, 5.0]"), {"predictions": [2.5, 3.0, 4.5]}),
    no("2-ours-inner-dims", HALF, rows("[[1.0, 2.0], [3.0, 4.0]]"), "[-1,1]", "[2,2]"),
    yes("3", HALF, columns("[3.0, 4.0]"), {"outputs": [3.5, 4.0]}),
    yes("4", HALF, rows('[{"x": [1.0]}, {"x": [2.0]}]'), {"predictions": [[2.5], [3.0]]}),
    yes("5", HALF, on("serving_default", "instances", "[1.0]"), {"predictions": [2.5]}),
    yes("6", HALF, on("", "instances", "[1.0]"), {"predictions": [2.5]}),
    no("7", HALF, on("nope", "instances", "[1.0]"), "'nope'", "'serving_default'"),
    no("8", HALF, rows("[1.0]", ', "signature_name": 100'), "must be a string"),
    no("8-null", HALF, rows("[1.0]", ', "signature_name": null'), "must be a string"),
    no("8-list", HALF, rows("[1.0]", ', "signature_name": [[["x"]]]'), "must be a string"),
    yes("9", SHAPES, on("int32", "instances", "[[1,2],[3,4]]"), {"predictions": [[1, 2], [3, 4]]}),
    yes(
        "10",
        SHAPES,
        on("int32", "inputs", '{"x": [[[1,2],[3,4]]]}'),
        b'{"outputs":[[[1,2],[3,4]]]}',
    ),
    yes(
        "10-bare", SHAPES, on("int32", "inputs", "[[[1,2],[3,4]]]"), b'{"outputs":[[[1,2],[3,4]]]}'
    ),
    yes("11", HALF, rows("[1]", ', "nested": [[[]]]'), {"predictions": [2.5]}),
    no("11-ours-depth", HALF, rows("[1]", NESTED), "nests deeper"),
    yes(
        "12",
        SHAPES,
        on("float32", "instances", "[1, 2.0, 3, 4, 5.003, 0.007, 0.0]"),
        b'{"predictions":[1.0,2.0,3.0,4.0,5.003,0.007,0.0]}',
    ),
    yes(
        "13",
        SHAPES,
        on("float64", "instances", "[1.0, 2, 3, 4, 0.662, 0, 0.0]"),
        b'{"predictions":[1.0,2.0,3.0,4.0,0.662,0.0,0.0]}',
    ),
    yes(
        "14",
        SHAPES,
        on("float32", "instances", "[1435774380, 1435774380.0]"),
        {"predictions": [1435774300.0] * 2},  # reads back as 1435774336
    ),
    yes(
        "15",
        SHAPES,
        on("float32", "instances", "[1.7976931348623157e308, -1.7976931348623157e308]"),
        b'{"predictions":[Infinity,-Infinity]}',
    ),
    yes(
        "16",
        SHAPES,
        on("float32", "instances", "[2.2250738585072014e-308, -2.2250738585072014e-308]"),
        b'{"predictions":[0.0,-0.0]}',
    ),
    yes(
        "17",
        SHAPES,
        on("float64", "instances", "[[NaN, Infinity], [-Infinity, 1]]"),
        b'{"predictions":[[NaN,Infinity],[-Infinity,1.0]]}',
    ),
    yes(
        "18",
        SHAPES,
        on("string", "instances", f"[{HELLO}, {WORLD}]"),
        {"predictions": ["hello", "world"]},
    ),
    yes(
        "19",
        SHAPES,
        on("string", "instances", f"[[{HELLO}], [{WORLD}]]"),
        {"predictions": [["hello"], ["world"]]},
    ),
    yes(
        "20",
        SHAPES,
        on("string", "instances", f'[{{"x": [[{HELLO}], [{WORLD}]]}}]'),
        {"predictions": [[["hello"], ["world"]]]},
    ),
    yes("21", SHAPES, on("string", "inputs", HELLO), {"outputs": "hello"}),
    no("21-ours-batchable", SHAPES, on("bytes", "inputs", HELLO), "string[-1]", "[]"),
    yes(
        "22",
        SHAPES,
        on("mixed", "inputs", MIXED),
        {"outputs": {"int_tensor": [1, 2, 3], "str_tensor": ["foo", "bar"], "bin_tensor": "hello"}},
    ),
    yes(
        "23",
        SHAPES,
        on("four", "instances", f"[{FOUR % (1, 5, 'foo')}, {FOUR % (3, 6, 'bar')}]"),
        {
            "predictions": [
                {"a": [1, 2], "b": 5, "c": "foo", "d": True},
                {"a": [3, 2], "b": 6, "c": "bar", "d": True},
            ]
        },
    ),
]

BODIES = [
    no("24", HALF, "", "empty"),
    no("24-blank", HALF, " \n", "empty"),
    no("25", HALF, "instances = [1, 2]", "not JSON"),
    no("26-list", HALF, "[1.0]", "object", "a list"),
    no("26-string", HALF, '"x"', "object", "a string"),
    no("26-number", HALF, "1.0", "object", "number"),
    no("26-null", HALF, "null", "object", "null"),
    no("27", HALF, '{"instances": [1.0], "inputs": [1.0]}', "both"),
    no("28", HALF, "{}", "neither"),
    no("29-object", HALF, rows("{}"), "must be a list"),
    no("29-scalar", HALF, rows("1.0"), "must be a list"),
    no("29-null", HALF, rows("null"), "must be a list"),
    no("30", HALF, rows("[]"), "no values"),
    no("31", SHAPES, on("int32", "instances", "[[1,2],[3,4],[5,6,7]]"), "length"),
    no("32", SHAPES, on("int32", "instances", "[[1,2],[3,4],[[5,6]]]"), "depth"),
    no("33", SHAPES, on("int32", "instances", "[1, [1]]"), "depth"),
    no("34", SHAPES, on("int32", "instances", '[[1,2],["a","b"]]'), "[1][0]", "int32", "a string"),
    no("35", HALF, rows('["x", "y"]'), "[0]", "float32", "a string"),
    no("36", TWO, rows('[{"a": [1, 2], "b": [1, 2]}, {"a": [[1, 2]], "b": [1, 2]}]'), "'a'"),
    no("37", TWO, rows('[{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "b": [1]}]'), "'b'"),
    no("38", TWO, rows(f"[{X}, [1, 2]]"), "[1]", "an object", "a list"),
    no("39", HALF, rows('[[1.0], {"x": [2.0]}]'), "[1]", "an object"),
    no("40", TWO, rows("[[1, 2], [3, 4]]"), "list of objects"),
    no("41-missing", TWO, rows('[{"a": [1, 2]}]'), "[0]", "expected 'a', 'b'"),
    no("41-more", TWO, rows(f'[{X}, {{"a": [1, 2], "b": [1, 2], "c": 1}}]'), "[1]", "'c'"),
    no("42", TWO, columns('{"a": [[1, 2]]}'), "lacks 'b'"),
    yes(
        "43",
        TWO,
        columns('{"a": [[1, 2]], "b": [[3, 5]], "c": "ignored"}'),
        {"outputs": {"difference": [[-2.0, -3.0]], "sum": [[4.0, 7.0]]}},
    ),
    no("44", TWO, columns("[[1, 2]]"), "must be an object"),
    yes("45", ODD, on("scalar", "inputs", "5.0"), {"outputs": 10.0}),
    no("46-ours-no-rows", HALF, columns("[]"), "no rows"),
    no("46-ours-no-rows-of-any-rank", SHAPES, on("float32", "inputs", "[]"), "no rows"),
    yes("46-columns", DTYPES, on("float32", "inputs", "[[], []]"), {"outputs": [[], []]}),
    yes("46-rows", DTYPES, on("float32", "instances", "[[], []]"), {"predictions": [[], []]}),
    no("47-level", HALF, columns("[[1], 2]"), "depth"),
    no("47-size", HALF, columns("[[1, 2], [3]]"), "length"),
    no("48-null", HALF, columns("null"), "float32", "null"),
    no("48-null-inside", HALF, columns("[null]"), "[0]", "float32", "null"),
    no("48-true", HALF, columns("[true]"), "[0]", "float32", "a boolean"),
    no("48-string", HALF, columns('["1"]'), "[0]", "float32", "a string"),
]

FLOATS = "[9000000, 999999, 0.5, 0.0003, 0.00003, 555557.5]"
NO_FORM = "no JSON form"

TENSORS_OUT = [
    yes("49-rows", SHAPES, on("int32", "instances", json.dumps(CUBE)), {"predictions": CUBE}),
    yes("49-columns", SHAPES, on("int32", "inputs", json.dumps(CUBE)), {"outputs": CUBE}),
    yes("50", SHAPES, on("int32", "instances", "[1,2,3,4,5]"), b'{"predictions":[1,2,3,4,5]}'),
    yes(
        "51-rows",
        SHAPES,
        on("bytes", "instances", '["hello", "\\u00fc"]'),
        {
            "predictions": [
                {"text": "hello", "text_bytes": {"b64": "aGVsbG8="}},
                {"text": "\u00fc", "text_bytes": {"b64": "w7w="}},
            ]
        },
    ),
    yes(
        "51-columns",
        SHAPES,
        on("bytes", "inputs", '["hello"]'),
        {"outputs": {"text": ["hello"], "text_bytes": [{"b64": "aGVsbG8="}]}},
    ),
    yes(
        "52",
        SHAPES,
        on("float32", "instances", FLOATS),
        b'{"predictions":[9e+06,999999.0,0.5,0.0003,3e-05,555557.5]}',
    ),
    yes(
        "53",
        SHAPES,
        on("float32", "instances", "[NaN, Infinity, 3, -Infinity]"),
        b'{"predictions":[NaN,Infinity,3.0,-Infinity]}',
    ),
    yes(
        "54-rows",
        TWO,
        rows(f"[{X}, {X}]"),
        {"predictions": [{"difference": [-9.0, -18.0], "sum": [11.0, 22.0]}] * 2},
    ),
    yes(
        "54-columns",
        TWO,
        columns('{"a": [[1, 2], [5, 5]], "b": [[10, 20], [1, 2]]}'),
        {"outputs": {"difference": [[-9.0, -18.0], [4.0, 3.0]], "sum": [[11.0, 22.0], [6, 7]]}},
    ),
    no("55", ODD, on("total", "instances", "[[1, 2]]"), "scalar", "'y'"),
    yes("56", ODD, on("total", "inputs", "[[1, 2], [3, 4]]"), {"outputs": 10.0}),
    no("57", SHAPES, on("uneven", "instances", "[1]"), "disagree", "'two': [2]", "'three': [3]"),
    yes(
        "57-columns",
        SHAPES,
        on("uneven", "inputs", "[1]"),
        {"outputs": {"two": [1.0, 2.0], "three": [1.0, 2.0, 3.0]}},
    ),
    yes("58", SHAPES, on("no_rows", "instances", "[1]"), {"predictions": []}),
    no("59-complex", SHAPES, on("complex64", "instances", "[1]"), "complex64", NO_FORM),
    no("59-half", SHAPES, on("half", "inputs", "[1]"), "float16", NO_FORM),
]

BATCHING = [
    no(
        "83-ours-before-the-graph",
        TWO,
        columns('{"a": [[1,2,3]], "b": [[1,2]]}'),
        "[-1,2]",
        "[1,3]",
    ),
    no(
        "83",
        SHAPES,
        on("add", "inputs", '{"a": [[1,2,3]], "b": [[1,2]]}'),
        "the model refused the input",
    ),
    no("84-ours-as-batched", TWO, columns(OF_TWO_ROWS), "agree", "'a': 2", "'b': 1"),
    no("85-ours-as-batched", HALF, columns("5.0"), "[-1,1]", "[]"),
    yes("86-ours-runs-alone", ODD, on("total", "inputs", "[[1, 2]]"), {"outputs": 3.0}),
    yes(
        "87-runs-alone",
        ODD,
        on("mean", "inputs", "[[1, 2], [3, 4]]"),
        {"outputs": [[-1, -1], [1, 1]]},
    ),
]
