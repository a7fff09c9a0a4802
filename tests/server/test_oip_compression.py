"""Compressed requests and answers of the Open Inference Protocol: section 4 of the note."""

import json

import numpy as np
import pytest

from server.exchange import Exchange
from server.inference import InferenceResponse, ModelAddress, ServedModel
from server.protocols.oip_http import OipHttp
from server.protocols.oip_http_response import preferred_encoding
from server.protocols.protocol import Infer
from server.signature import Signature, TensorSpec
from tests.server.conftest import Served
from tests.server.oip_asking import (
    COMPRESS,
    HALF,
    INFLATE,
    LENGTH,
    ONE,
    ask_raw,
    assert_refused,
    body_of,
    raw_x,
    read,
)


@pytest.mark.parametrize("outputs", ["json", "raw"])
@pytest.mark.parametrize("back", COMPRESS, ids=lambda name: f"4-answer-{name or 'plain'}")
@pytest.mark.parametrize("encoding", COMPRESS, ids=lambda name: f"4-request-{name or 'plain'}")
def test_bodies_may_be_compressed_both_ways(
    served: Served, encoding: str, back: str, outputs: str
) -> None:
    head = json.dumps(
        body_of(raw_x(4), parameters={"binary_data_output": outputs == "raw"})
    ).encode()
    headers = {LENGTH: str(len(head))} | ({"Accept-Encoding": back} if back else {})
    exchange = Exchange("POST", f"{HALF}/infer", headers, COMPRESS[encoding](head + ONE), encoding)
    answer = served.run(served.application.front.handle(exchange))
    assert (answer.headers or {}).get("Content-Encoding", "") == back
    told, arrays = read(answer, INFLATE[back](answer.body))
    assert (arrays["y"].item() if outputs == "raw" else told["y"]["data"][0]) == 2.5


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        pytest.param("", "", id="4-absent"),
        pytest.param("gzip", "gzip", id="4-gzip"),
        pytest.param("deflate", "deflate", id="4-deflate"),
        pytest.param("identity", "", id="4-identity"),
        pytest.param("gzip, deflate", "gzip", id="4-tie"),
        pytest.param("deflate, gzip", "deflate", id="4-tie-other-way"),
        pytest.param("identity, gzip", "", id="4-tie-identity"),
        pytest.param("gzip, deflate, br", "gzip", id="4-aiohttp"),
        pytest.param("br", "", id="4-br"),
        pytest.param("zstd;q=1.0, *;q=0.5", "", id="4-others"),
        pytest.param("gzip;q=0.5, deflate;q=0.8", "deflate", id="4-q"),
        pytest.param("gzip;q=0.5,identity;q=0.9", "", id="4-q-identity"),
        pytest.param("gzip;q=0, deflate;q=0.0", "", id="4-q-0"),
        pytest.param("gzip ; q = 0.3 , br;q=1", "gzip", id="4-blanks"),
        pytest.param("GZIP", "gzip", id="4-case"),
        pytest.param("gzip;q=2", "", id="4-q-too-large"),
        pytest.param("gzip;level=9", "", id="4-unknown-parameter"),
        pytest.param(",,gzip,", "gzip", id="4-empty-members"),
    ],
)
def test_the_preferred_encoding(accepted: str, encoding: str) -> None:
    assert preferred_encoding(accepted) == encoding


def test_only_answers_to_inference_are_compressed(served: Served) -> None:
    accepts = {"Accept-Encoding": "gzip"}
    assert json.loads(served.ask("GET", "/v2", headers=accepts).body)["extensions"]
    assert_refused(ask_raw(served, HALF, b"{", headers=accepts), 400, "not JSON")


def test_an_unknown_encoding_of_a_request_is_told_with_the_known_ones(served: Served) -> None:
    exchange = Exchange("POST", f"{HALF}/infer", {}, b"{}", "br")
    answer = served.run(served.application.front.handle(exchange))
    assert_refused(answer, 415, "'br'")
    assert answer.headers == {"Accept-Encoding": "gzip, deflate"}


def test_what_is_written_one_by_one() -> None:
    """Values and strings are, and whatever is compressed; raw numbers are not."""
    specs = {"n": TensorSpec("n", "int16", None), "s": TensorSpec("s", "string", None)}
    signature = Signature("serving_default", {}, specs)
    model = ServedModel("m", 1, {"serving_default": signature}, "test", 8)
    response = InferenceResponse({"n": np.zeros(100, "int16"), "s": np.full(7, b"a", object)})

    def printed(*, raw: bool, accepted: str = "") -> int:
        body = json.dumps(body_of(parameters={"binary_data_output": raw})).encode()
        exchange = Exchange("POST", "/v2/models/m/infer", {"Accept-Encoding": accepted}, body)
        request = OipHttp().decode(Infer(ModelAddress("m")), exchange, lambda _: model)
        return OipHttp().printed_size(request, response)

    assert printed(raw=True) == 7
    assert printed(raw=False) == printed(raw=True, accepted="gzip") == 107
