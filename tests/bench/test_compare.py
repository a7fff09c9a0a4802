import json
import struct
from pathlib import Path

import pytest

from bench.compare.contender import Contender, Question
from bench.compare.forms import inference_binary, inference_json, raw
from bench.compare.peers import SERVERS
from bench.compare.results import beside_best, summarize
from bench.compare.rounds import Cell, Turn, turns
from bench.compare.rows import Row, same
from bench.family import Family
from bench.wrk import Figures, literal

ROW = Row([1.0, 2.0, 3.0, 4.0], (2, 2))

JSON_64 = Cell("json", 64)
RAW_64 = Cell("raw", 64)


def turn(server: str, number: int, rate: float, cell: Cell = JSON_64) -> Turn:
    return Turn(server, cell, number, Figures(10, rate, 1.0, 2.0, 3.0, 0), 0.5)


def contender(name: str, *bodies: str) -> Contender:
    peer = next(peer for peer in SERVERS if peer.name == name)
    forms = {body: peer.forms[body] for body in bodies}
    question = Question("tiny", Path("tiny"), Row([3.0], (1,)), [3.5])
    return Contender(peer, forms, question, 1, Family(2**22 + 1))


def test_a_row_is_written_in_its_shape() -> None:
    assert ROW.nested() == [[1.0, 2.0], [3.0, 4.0]]
    assert Row([3.0], (1,)).nested() == [3.0]


def test_tensors_follow_json_whose_length_the_header_tells() -> None:
    sent = inference_binary("/").write(ROW)
    length = int(sent.headers["Inference-Header-Content-Length"])
    told = json.loads(sent.body[:length])
    assert told["inputs"][0]["shape"] == [1, 2, 2]
    assert told["inputs"][0]["parameters"] == {"binary_data_size": 16}
    assert struct.unpack("<4f", sent.body[length:]) == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize("number", [3.5, -1.0, struct.unpack("<f", b"}}}}")[0]])
def test_numbers_are_read_wherever_the_json_ends(number: float) -> None:
    tail = struct.pack("<2f", number, 2.0)
    assert inference_binary("/").read(b'{"outputs": [{"name": "y"}]}' + tail) == [number, 2.0]
    assert raw("/").read(tail) == [number, 2.0]
    assert inference_json("/").read(b'{"outputs": [{"data": [1.5]}]}') == [1.5]


def test_an_answer_must_have_all_numbers() -> None:
    assert same([1.0, 2.00001], [1.0, 2.0])
    assert not same([1.0, 2.1], [1.0, 2.0])
    assert not same([1.0], [1.0, 2.0])


def test_a_body_of_any_bytes_becomes_a_string_of_lua() -> None:
    assert literal(b'a"\\\n\x001\xff') == '"a\\034\\092\\010\\0001\\255"'


def test_turns_of_a_cell_and_a_round_are_together_and_begin_with_another_each_round() -> None:
    ours, mosec = contender("ours", "json", "raw"), contender("mosec", "json")
    order = [
        (number, cell.body, one.peer.name)
        for number, cell, one in turns([ours, mosec], [JSON_64, RAW_64], rounds=2)
    ]
    assert order == [
        (0, "json", "ours"),
        (0, "json", "mosec"),
        (0, "raw", "ours"),
        (1, "json", "mosec"),
        (1, "json", "ours"),
        (1, "raw", "ours"),
    ]


def test_ratios_are_of_turns_in_the_same_round() -> None:
    # The machine was twice as fast in round 1, and the peer missed round 2.
    ours = [turn("ours", 0, 100.0), turn("ours", 1, 200.0), turn("ours", 2, 1000.0)]
    peer = [turn("mosec", 0, 50.0), turn("mosec", 1, 100.0)]
    _, result = summarize([*ours, *peer])
    assert result.ratios["rate"] == (2.0, 2.0, 2.0)
    assert result.quantities["rate"] == (75.0, 50.0, 100.0)


def test_the_best_of_other_bodies_is_compared_by_medians() -> None:
    results = summarize(
        [
            turn("ours", 0, 100.0, RAW_64),
            turn("pytriton", 0, 50.0, Cell("tensors", 64)),
            turn("mosec", 0, 25.0, RAW_64),
        ]
    )
    (beside,) = beside_best(results)
    assert beside.best["rate"].peer.label == "pytriton (tensors)"
    assert beside.best["rate"].ratio.median == 2.0
