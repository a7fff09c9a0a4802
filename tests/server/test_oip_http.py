"""The Open Inference Protocol over HTTP: inference in JSON, errors and parameters, as tables.

The ids name sections and rows of the protocol note.
"""

import asyncio
import json
import math
from typing import Any

import aiohttp
import pytest

from tests.server.by_hand import served_by_hand, until
from tests.server.conftest import Served
from tests.server.oip_asking import DTYPES, HALF, ODD, TWO, WORDS, assert_refused, infer, outputs


def x(shape: Any, data: Any, datatype: Any = "FP32", **more: Any) -> dict[str, Any]:
    """An input named x."""
    return {"name": "x", "shape": shape, "datatype": datatype, "data": data} | more


def of(*inputs: Any, **more: Any) -> dict[str, Any]:
    """A body."""
    return {"inputs": list(inputs)} | more


def of_dtype(dtype: str, tensor: dict[str, Any]) -> dict[str, Any]:
    """A body for one of the identity signatures."""
    return of(tensor, parameters={"signature_name": dtype})


# --------------------------------------------------------------------------------- 2, inference


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        pytest.param(HALF, of(x([3, 1], [1, 2, 5])), {"y": [2.5, 3.0, 4.5]}, id="2-flat"),
        pytest.param(HALF, of(x([2, 1], [[1.0], [2]])), {"y": [2.5, 3.0]}, id="2-nested"),
        pytest.param(HALF, of(x([2, 1], [[1, 2]])), {"y": [2.5, 3.0]}, id="2-nested-otherwise"),
        pytest.param(HALF, of(x([2], [1, 2])), {"y": [2.5, 3.0]}, id="trailing-1-left-out"),
        pytest.param(
            TWO,
            of(
                {"name": "b", "shape": [1, 2], "datatype": "FP32", "data": [10, 20]},
                {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]},
            ),
            {"difference": [-9.0, -18.0], "sum": [11.0, 22.0]},
            id="2-two-inputs",
        ),
        pytest.param(
            DTYPES,
            of_dtype("bool", x([1, 2], [True, False], "BOOL")),
            {"y": [True, False]},
            id="2-BOOL",
        ),
        *[
            pytest.param(
                DTYPES,
                of_dtype(name.lower(), x([2, 1], [[low], [high]], name)),
                {"y": [low, high]},
                id=f"2-{name}",
            )
            for bits in (8, 16, 32, 64)
            for name, low, high in [
                (f"INT{bits}", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
                (f"UINT{bits}", 0, 2**bits - 1),
            ]
        ],
        pytest.param(
            DTYPES, of_dtype("float32", x([1, 2], [0.1, 3])), {"y": [0.1, 3.0]}, id="2-FP32"
        ),
        pytest.param(
            DTYPES, of_dtype("float64", x([1, 2], [0.1, 3], "FP64")), {"y": [0.1, 3.0]}, id="2-FP64"
        ),
        pytest.param(
            DTYPES,
            of_dtype("float64", x([1, 2], [math.inf, -math.inf], "FP64")),
            {"y": [math.inf, -math.inf]},
            id="2-infinity",
        ),
        pytest.param(
            DTYPES, of_dtype("float32", x([1, 1], [1e39])), {"y": [math.inf]}, id="2-FP32-too-large"
        ),
        pytest.param(
            WORDS,
            of({"name": "text", "shape": [3], "datatype": "BYTES", "data": ["a", "", "äö"]}),
            {"text": ["a", "", "äö"], "length": [1, 0, 4]},
            id="2-BYTES",
        ),
        pytest.param(
            ODD,
            of(x([], [5]), parameters={"signature_name": "scalar"}),
            {"y": [10.0]},
            id="2-scalar",
        ),
        pytest.param(
            ODD,
            of(x([2, 2], [1, 2, 3, 4]), parameters={"signature_name": "total"}),
            {"y": [10.0]},
            id="2-runs-alone",
        ),
    ],
)
def test_values_come_back(served: Served, model: str, body: Any, expected: Any) -> None:
    told = outputs(infer(served, model, body))
    assert {name: output["data"] for name, output in told.items()} == expected


def test_nan_is_written_bare(served: Served) -> None:
    body = b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [NaN]}]}'
    assert b'"data":[NaN]' in infer(served, HALF, body).body


@pytest.mark.parametrize("asked", [None, []], ids=["2-outputs-absent", "2-outputs-empty"])
def test_all_outputs_come_if_none_is_named(served: Served, asked: Any) -> None:
    row = {"shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    body = of({"name": "a"} | row, {"name": "b"} | row)
    if asked is not None:
        body["outputs"] = asked
    assert json.loads(infer(served, TWO, body).body) == {
        "model_name": "two_by_two",
        "model_version": "1",
        "outputs": [
            {"name": "difference", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0]},
            {"name": "sum", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]},
        ],
    }


def test_outputs_come_in_the_order_in_which_they_are_named(served: Served) -> None:
    row = {"shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    inputs = [{"name": "a"} | row, {"name": "b"} | row]
    asked = [{"name": "sum"}, {"name": "difference", "parameters": {}}]
    assert list(outputs(infer(served, TWO, of(*inputs, outputs=asked)))) == ["sum", "difference"]
    assert list(outputs(infer(served, TWO, of(*inputs, outputs=asked[:1])))) == ["sum"]


@pytest.mark.parametrize(
    ("told", "echoed"),
    [
        pytest.param({"id": "a-1"}, {"id": "a-1"}, id="2-id"),
        pytest.param({"id": 'ä "'}, {"id": 'ä "'}, id="2-id-quoted"),
        pytest.param({"id": ""}, {}, id="2-id-empty"),
        pytest.param({}, {}, id="2-id-absent"),
    ],
)
def test_the_id_is_echoed(served: Served, told: Any, echoed: Any) -> None:
    answer = json.loads(infer(served, HALF, of(x([1, 1], [1]), **told)).body)
    assert {key: value for key, value in answer.items() if key == "id"} == echoed


def test_json_is_json_whatever_it_is_called(served: Served) -> None:
    for label in ("application/octet-stream", "text/plain", "application/json; charset=utf-8"):
        answer = infer(served, HALF, of(x([1, 1], [1])), **{"Content-Type": label})
        assert outputs(answer)["y"]["data"] == [2.5]


# ------------------------------------------------------------------------------------ 5, errors


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        pytest.param(HALF, b"", ["empty"], id="5-empty"),
        pytest.param(HALF, b"{", ["not JSON"], id="5-broken-json"),
        pytest.param(HALF, b"{}x", ["not JSON"], id="5-bytes-after-json"),
        pytest.param(HALF, b"\xff", ["not JSON"], id="5-not-utf-8"),
        pytest.param(HALF, [], ["object", "a list"], id="5-list"),
        pytest.param(HALF, {}, ["lacks 'inputs'"], id="5-no-inputs"),
        pytest.param(HALF, {"inputs": {}}, ["'inputs' must be a list"], id="5-inputs-object"),
        pytest.param(HALF, {"inputs": None}, ["'inputs' must be a list"], id="5-inputs-null"),
        pytest.param(HALF, of(), ["takes the inputs 'x'", "none"], id="5-inputs-empty"),
        pytest.param(HALF, of(1), ["inputs[0] must be an object"], id="5-input-number"),
        pytest.param(HALF, of({}), ["inputs[0] lacks 'name'"], id="5-no-name"),
        pytest.param(HALF, of({"name": 1}), ["'name' must be a string"], id="5-name-number"),
        pytest.param(HALF, of({"name": "x"}), ["lacks 'datatype'"], id="5-no-datatype"),
        pytest.param(
            HALF, of({"name": "x", "datatype": "FP32"}), ["lacks 'shape'"], id="5-no-shape"
        ),
        pytest.param(
            HALF,
            of({"name": "x", "datatype": "FP32", "shape": [1, 1]}),
            ["'x'", "neither"],
            id="3-neither",
        ),
        pytest.param(
            HALF,
            of(x([1, 1], [1], parameters={"binary_data_size": 4})),
            ["'x'", "both"],
            id="3-both",
        ),
        pytest.param(HALF, of(x([1, 1], [1], 5)), ["'datatype' must be"], id="5-datatype-number"),
        pytest.param(HALF, of(x([1, 1], [1], "FP64")), ["FP32", "'FP64'"], id="5-other-datatype"),
        pytest.param(HALF, of(x([1, 1], [1], "FLOAT")), ["'FLOAT'"], id="5-unknown-datatype"),
        pytest.param(HALF, of(x(1, [1])), ["'shape' must be a list"], id="5-shape-number"),
        pytest.param(HALF, of(x([1, 1.0], [1])), ["shape[1]"], id="2-shape-float"),
        pytest.param(HALF, of(x(["1", 1], [1])), ["shape[0]"], id="2-shape-string"),
        pytest.param(HALF, of(x([1, -1], [1])), ["not -1"], id="5-negative-dim"),
        pytest.param(HALF, of(x([2**40, 1], [1])), ["elements or more"], id="5-huge-shape"),
        pytest.param(HALF, of(x([2**39, 1], [1])), ["1 elements"], id="5-large-shape"),
        pytest.param(HALF, of(x([1, 2], [1, 2])), ["[-1,1]", "[1,2]"], id="5-other-shape"),
        pytest.param(HALF, of(x([1, 1, 1], [1])), ["[-1,1]", "[1,1,1]"], id="5-other-rank"),
        pytest.param(HALF, of(x([0, 1], [])), ["no rows"], id="5-no-rows"),
        pytest.param(HALF, of(x([2, 1], [1])), ["1 elements, expected 2"], id="5-too-few"),
        pytest.param(HALF, of(x([1, 1], [1, 2])), ["2 elements, expected 1"], id="5-too-many"),
        pytest.param(HALF, of(x([1, 1], ["1"])), ["a string, expected FP32"], id="5-wrong-type"),
        pytest.param(HALF, of(x([1, 1], [None])), ["null"], id="5-null"),
        pytest.param(HALF, of(x([1, 1], 1)), ["must be a list"], id="5-bare-data"),
        pytest.param(
            HALF, of(x([1, 1], [1], parameters=1)), ["'parameters' must be"], id="5-parameters"
        ),
        pytest.param(HALF, of(x([1, 1], [1]), id=5), ["'id' must be a string"], id="5-id-number"),
        pytest.param(HALF, of(x([1, 1], [1]), id=None), ["'id' must be"], id="5-id-null"),
        pytest.param(HALF, of(x([1, 1], [1]), outputs={}), ["'outputs'"], id="5-outputs-object"),
        pytest.param(HALF, of(x([1, 1], [1]), outputs=["y"]), ["outputs[0]"], id="5-output-string"),
        pytest.param(HALF, of(x([1, 1], [1]), outputs=[{}]), ["lacks 'name'"], id="5-output-name"),
        pytest.param(
            HALF, of(x([1, 1], [1]), outputs=[{"name": "z"}]), ["'z'", "'y'"], id="2-unknown-output"
        ),
        pytest.param(
            HALF,
            of(x([1, 1], [1]), outputs=[{"name": "y"}, {"name": "y"}]),
            ["'y' comes twice"],
            id="2-output-twice",
        ),
        pytest.param(HALF, of(x([1, 1], [1]), x([1, 1], [1])), ["'x' comes twice"], id="5-twice"),
        pytest.param(
            HALF,
            of({"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}),
            ["'z'", "'x'"],
            id="5-unknown-input",
        ),
        pytest.param(
            TWO,
            of({"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}),
            ["'a', 'b'"],
            id="5-missing-input",
        ),
        pytest.param(
            TWO,
            of(
                {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
                {"name": "b", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
            ),
            ["agree on the number of rows"],
            id="5-rows-disagree",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float16", x([1, 1], [1.0], "FP16")),
            ["'y'", "FP16", "no JSON form"],
            id="2-FP16-output",
        ),
        pytest.param(
            DTYPES,
            of_dtype("float16", x([1, 1], [1.0], "FP16"))
            | {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
            ["'x'", "FP16", "send its bytes"],
            id="2-FP16-input",
        ),
        pytest.param(
            WORDS,
            of(x([1, 1], [1.0], "BF16"), parameters={"signature_name": "bfloat16"})
            | {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
            ["'x'", "BF16", "send its bytes"],
            id="2-BF16-input",
        ),
        pytest.param(
            WORDS,
            of(x([1, 2], [1, 2]), parameters={"signature_name": "halves"}),
            ["'brain'", "BF16", "no JSON form"],
            id="2-BF16-output",
        ),
        pytest.param(
            WORDS,
            of(x([1], [1], "FP32"), parameters={"signature_name": "imaginary"}),
            ["complex64", "no datatype"],
            id="complex",
        ),
        pytest.param(
            HALF,
            b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": '
            + b"[" * 100_000
            + b"]" * 100_000
            + b"}]}",
            ["nests deeper"],
            id="5-nesting",
        ),
        pytest.param(
            ODD,
            of(x([1, 2], [1, -1]), parameters={"signature_name": "no_negatives"}),
            ["the model refused"],
            id="refused-by-the-model",
        ),
    ],
)
def test_these_are_refused(served: Served, model: str, body: Any, words: list[str]) -> None:
    assert_refused(infer(served, model, body), 400, *words)


def test_text_that_is_not_utf_8_has_no_json_form(served: Served) -> None:
    head = json.dumps(
        of(
            {
                "name": "text",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": 5},
            }
        )
    ).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    answer = infer(served, WORDS, head + b"\1\0\0\0\xff", **length)
    assert_refused(answer, 400, "'text'", "not UTF-8")


def test_a_full_queue_is_503_and_says_when_to_come_again() -> None:
    body = json.dumps(of(x([1, 1], [1]))).encode()

    async def main() -> None:
        async with (
            served_by_hand(max_queue_size=1) as server,
            aiohttp.ClientSession(server.url) as session,
        ):
            url = "/v2/models/doubler/infer"
            running = asyncio.create_task(session.post(url, data=body))
            await until(lambda: server.executor.handed_over == 1)
            waiting = asyncio.create_task(session.post(url, data=body))
            await until(lambda: server.batcher.stats().queued_rows == 1)
            refused = await session.post(url, data=body)
            assert refused.status == 503
            assert list(await refused.json()) == ["error"]
            assert refused.headers["Retry-After"] == "1"
            for answer in (running, waiting):
                server.run_next()
                told = await (await answer).json()
                assert told["outputs"][0]["data"] == [2.0]

    asyncio.run(main())


# -------------------------------------------------------------------------------- 6, parameters


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({}, id="6-none"),
        pytest.param({"priority": 1}, id="6-priority"),
        pytest.param({"priority": 0}, id="6-priority-default"),
        pytest.param({"timeout": 60_000_000}, id="6-timeout"),
        pytest.param({"timeout": 0}, id="6-timeout-none"),
        pytest.param(
            {"sequence_id": 0, "sequence_start": False, "sequence_end": False}, id="6-no-sequence"
        ),
        pytest.param({"sequence_id": ""}, id="6-no-sequence-string"),
        pytest.param({"temperature": 0.5, "user": "a", "flag": True, "n": 3}, id="6-others"),
        pytest.param({"signature_name": "serving_default"}, id="signature"),
    ],
)
def test_parameters_are_accepted(served: Served, parameters: Any) -> None:
    answer = infer(served, HALF, of(x([1, 1], [1]), parameters=parameters))
    assert outputs(answer)["y"]["data"] == [2.5]


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        pytest.param({"sequence_id": 7}, 501, ["'sequence_id'"], id="6-sequence-id"),
        pytest.param({"sequence_id": "a"}, 501, ["'sequence_id'"], id="6-sequence-id-string"),
        pytest.param({"sequence_start": True}, 501, ["'sequence_start'"], id="6-sequence-start"),
        pytest.param({"sequence_end": True}, 501, ["'sequence_end'"], id="6-sequence-end"),
        pytest.param({"triton_x": 1}, 400, ["'triton_x'", "reserved"], id="6-reserved"),
        pytest.param({"priority": -1}, 400, ["'priority'"], id="6-priority-negative"),
        pytest.param({"priority": "1"}, 400, ["'priority'"], id="6-priority-string"),
        pytest.param({"timeout": 1.5}, 400, ["'timeout'"], id="6-timeout-float"),
        pytest.param({"timeout": True}, 400, ["'timeout'"], id="6-timeout-boolean"),
        pytest.param({"binary_data_output": 1}, 400, ["'binary_data_output'"], id="6-binary"),
        pytest.param({"signature_name": "nope"}, 400, ["'nope'"], id="signature-unknown"),
        pytest.param({"signature_name": 1}, 400, ["'signature_name'"], id="signature-number"),
        pytest.param({"a": None}, 400, ["'a'", "null"], id="2-parameter-null"),
        pytest.param({"a": []}, 400, ["'a'", "a list"], id="2-parameter-list"),
        pytest.param([], 400, ["'parameters' must be an object"], id="2-parameters-list"),
    ],
)
def test_parameters_are_refused(
    served: Served, parameters: Any, status: int, words: list[str]
) -> None:
    assert_refused(infer(served, HALF, of(x([1, 1], [1]), parameters=parameters)), status, *words)


def test_a_timeout_that_has_passed_is_told(served: Served) -> None:
    body = of(x([1, 1], [1]), parameters={"timeout": 1}, padding="x" * 1_000_000)
    assert_refused(infer(served, HALF, body), 504, "1e-06 s")


@pytest.mark.parametrize("where", ["inputs", "outputs"])
def test_shared_memory_is_refused(served: Served, where: str) -> None:
    body = of(x([1, 1], [1]), outputs=[{"name": "y"}])
    body[where][0]["parameters"] = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
    assert_refused(infer(served, HALF, body), 501, "shared memory")


SCORES = of(x([2, 3], [0.125, 0.75, 0.5, 3, 2, 3]), parameters={"signature_name": "scores"})


@pytest.mark.parametrize(
    ("count", "shape", "best"),
    [
        pytest.param(1, [2, 1], ["0.750000:1", "3.000000:0"], id="6-classification-1"),
        pytest.param(
            2,
            [2, 2],
            ["0.750000:1", "0.500000:2", "3.000000:0", "3.000000:2"],
            id="6-classification-2",
        ),
        pytest.param(
            99,
            [2, 3],
            ["0.750000:1", "0.500000:2", "0.125000:0", "3.000000:0", "3.000000:2", "2.000000:1"],
            id="6-classification-all",
        ),
    ],
)
def test_the_best_classes_are_strings(
    served: Served, count: int, shape: list[int], best: list[str]
) -> None:
    asked = [{"name": "scores", "parameters": {"classification": count}}, {"name": "ids"}]
    told = outputs(infer(served, WORDS, SCORES | {"outputs": asked}))
    assert told["scores"] == {"name": "scores", "datatype": "BYTES", "shape": shape, "data": best}
    assert told["ids"]["data"] == [0, 0, 0, 3, 2, 3]


@pytest.mark.parametrize(
    ("output", "count", "words"),
    [
        pytest.param("ids", 1, ["'ids'", "floats"], id="6-classification-integers"),
        pytest.param("scores", "1", ["'classification'"], id="6-classification-string"),
        pytest.param("scores", -1, ["'classification'"], id="6-classification-negative"),
    ],
)
def test_other_classes_are_refused(
    served: Served, output: str, count: Any, words: list[str]
) -> None:
    asked = [{"name": output, "parameters": {"classification": count}}]
    assert_refused(infer(served, WORDS, SCORES | {"outputs": asked}), 400, *words)


def test_no_classes_are_the_scores_themselves(served: Served) -> None:
    asked = [{"name": "scores", "parameters": {"classification": 0}}]
    told = outputs(infer(served, WORDS, SCORES | {"outputs": asked}))
    assert told["scores"]["data"] == [0.125, 0.75, 0.5, 3.0, 2.0, 3.0]


def test_more_rows_than_a_batch_has_are_answered(served: Served) -> None:
    told = outputs(infer(served, HALF, of(x([20, 1], list(range(20))))))
    assert told["y"]["shape"] == [20, 1]
    assert told["y"]["data"] == [n / 2 + 2 for n in range(20)]
