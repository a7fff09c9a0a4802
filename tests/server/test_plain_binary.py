"""Plain binary bodies on the predict URL: raw elements, .npy and .npz, and who answers in what."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes  # noqa: F401 - registers bfloat16
import numpy as np
import pytest
from hypothesis import settings
from multidict import CIMultiDict
from numpy.typing import NDArray

from server.exchange import JSON, Answer, Exchange
from server.protocols.media_types import NPY, NPZ, RAW, ZIP, negotiate
from server.protocols.npy import MAX_HEADER
from server.protocols.plain_binary import PlainBinary
from server.protocols.protocol import Infer
from server.protocols.tfserving_rest import TensorFlowServingRest
from tests.server.conftest import Served

fuzz = settings(derandomize=True, deadline=None, max_examples=60)

HALF = "/v1/models/half_plus_two:predict"
TWO = "/v1/models/two_by_two:predict"
DTYPES = "/v1/models/every_dtype:predict"
ODD = "/v1/models/odd_ones:predict"
WORDS = "/v1/models/words:predict"

UNPACKED = 2**20

EVERY_DTYPE = [
    *("bool", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
]


def ask(served: Served, target: str, body: bytes, **headers: str) -> Answer:
    """A POST; `content_type` is the header Content-Type."""
    return served.ask(
        "POST", target, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def npy(array: NDArray[Any], version: tuple[int, int] | None = None) -> bytes:
    """As NumPy itself writes it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def npz(save: Callable[..., None] = np.savez, **arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def from_npz(body: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def told(answer: Answer) -> str:
    """The message of an error, which is one object with one key."""
    assert answer.content_type == JSON
    said = json.loads(answer.body)
    assert list(said) == ["error"]
    return str(said["error"])


# ------------------------------------------------------------------------------------- answered


def test_raw_elements_go_in_and_come_back_with_their_dtype_and_shape(served: Served) -> None:
    answer = ask(served, HALF, floats(1, 2, 5).tobytes(), content_type=RAW)
    assert (answer.status, answer.content_type) == (200, RAW)
    assert answer.headers is not None
    assert answer.headers["X-Tensor-Dtype"] == "float32"
    assert answer.headers["X-Tensor-Shape"] == "3,1"
    np.testing.assert_array_equal(np.frombuffer(answer.body, "<f4"), floats(2.5, 3, 4.5))


def test_a_npy_goes_in_and_comes_back(served: Served) -> None:
    answer = ask(served, HALF, npy(floats(1, 2, 5).reshape(3, 1)), content_type=NPY)
    assert (answer.status, answer.content_type) == (200, NPY)
    got = np.load(io.BytesIO(answer.body), allow_pickle=False)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[2.5], [3], [4.5]])


@pytest.mark.parametrize("media", [NPZ, ZIP])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_npz_goes_in_and_comes_back(
    served: Served, media: str, save: Callable[..., None]
) -> None:
    body = npz(save, b=floats(10, 20).reshape(1, 2), a=floats(1, 2).reshape(1, 2))
    answer = ask(served, TWO, body, content_type=media)
    assert (answer.status, answer.content_type) == (200, media)
    got = from_npz(answer.body)
    assert got.keys() == {"sum", "difference"}
    np.testing.assert_array_equal(got["sum"], [[11, 22]])
    np.testing.assert_array_equal(got["difference"], [[-9, -18]])


@pytest.mark.parametrize("dtype", [d for d in EVERY_DTYPE if not d.startswith("complex")])
def test_every_dtype_goes_through_a_real_model(served: Served, dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    target = WORDS if dtype == "bfloat16" else DTYPES
    answer = ask(served, target, npy(array), content_type=NPY, x_signature_name=dtype)
    got = np.load(io.BytesIO(answer.body), allow_pickle=False)
    # NumPy has no name for bfloat16.
    assert got.dtype == ("V2" if dtype == "bfloat16" else array.dtype)
    np.testing.assert_array_equal(got.view(dtype), array)


def test_complex_numbers_go_through_a_real_model(served: Served) -> None:
    array = np.array([1 + 2j, 3 - 4j], np.complex64)
    answer = ask(served, WORDS, array.tobytes(), content_type=RAW, x_signature_name="imaginary")
    assert answer.content_type == NPZ
    got = from_npz(answer.body)
    np.testing.assert_array_equal(got["whole"], array)
    np.testing.assert_array_equal(got["real"], array.real)


@pytest.mark.parametrize(
    ("shift", "order"), [(shift, order) for shift in range(1, 8) for order in "CF"]
)
def test_a_real_model_takes_read_only_elements_at_any_address(
    served: Served, shift: int, order: str
) -> None:
    array = np.arange(12, dtype=np.float64).reshape(3, 4)
    head = f"{{'descr': '<f8', 'fortran_order': {order == 'F'}, 'shape': (3, 4)}}" + " " * shift
    body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()
    body += array.tobytes(order="F" if order == "F" else "C")
    answer = ask(served, DTYPES, body, content_type=NPY, x_signature_name="float64")
    assert answer.status == 200, answer.body
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.body)), array)


@pytest.mark.parametrize("written", [">f4", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.filterwarnings("ignore:Stored array in format")
def test_npy_is_read_in_every_order_and_version(
    served: Served, written: str, order: Any, version: tuple[int, int]
) -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    body = npy(array.astype(written, order=order), version)
    answer = ask(served, DTYPES, body, content_type=NPY, x_signature_name="float32")
    assert answer.status == 200, answer.body
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.body)), array)


def test_any_byte_but_zero_is_true(served: Served) -> None:
    body = described("'|b1'", "(1, 3)", b"\x00\x01\x02")
    answer = ask(served, DTYPES, body, content_type=NPY, accept=RAW, x_signature_name="bool")
    assert answer.body == b"\x00\x01\x01"


def test_raw_elements_of_a_static_shape_and_of_a_scalar(served: Served) -> None:
    body = floats(1, 2, 3).tobytes()
    answer = ask(served, ODD, body, content_type=RAW, x_signature_name="static")
    assert answer.headers is not None
    assert answer.headers["X-Tensor-Shape"] == "3"
    np.testing.assert_array_equal(np.frombuffer(answer.body, "<f4"), [2, 4, 6])
    answer = ask(served, ODD, body[:4], content_type=RAW, x_signature_name="scalar")
    assert answer.headers is not None
    assert answer.headers["X-Tensor-Shape"] == ""
    assert np.frombuffer(answer.body, "<f4") == [2]


def test_rows_beyond_a_batch_are_cut_and_put_together(served: Served) -> None:
    values = np.arange(20, dtype=np.float32)
    answer = ask(served, HALF, values.tobytes(), content_type=RAW)
    np.testing.assert_array_equal(np.frombuffer(answer.body, "<f4"), values / 2 + 2)


# ------------------------------------------------------------------------------ who gets what

ONE = floats(1).tobytes()
ONE_JSON = b'{"instances": [[1.0]]}'
PAIR = npz(a=floats(1, 2).reshape(1, 2), b=floats(3, 4).reshape(1, 2))
PAIR_JSON = b'{"instances": [{"a": [1, 2], "b": [3, 4]}]}'


@pytest.mark.parametrize(
    ("target", "body", "headers", "media"),
    [
        pytest.param(HALF, ONE, {"Content-Type": RAW}, RAW, id="raw-no-accept"),
        pytest.param(HALF, ONE, {"Content-Type": RAW, "Accept": "*/*"}, RAW, id="raw-any"),
        pytest.param(
            HALF, ONE, {"Content-Type": RAW, "Accept": "text/html"}, RAW, id="raw-unknown"
        ),
        pytest.param(
            HALF, ONE, {"Content-Type": f"{RAW}; x=y", "Accept": ""}, RAW, id="raw-parameter"
        ),
        pytest.param(HALF, ONE, {"content-type": RAW.upper()}, RAW, id="raw-upper-case"),
        pytest.param(HALF, ONE, {"Content-Type": RAW, "Accept": NPY}, NPY, id="raw-npy"),
        pytest.param(HALF, ONE, {"Content-Type": RAW, "Accept": JSON}, JSON, id="raw-json"),
        pytest.param(
            HALF,
            ONE,
            {"Content-Type": RAW, "Accept": f"{JSON};q=0.5, {NPY}"},
            NPY,
            id="raw-npy-first",
        ),
        pytest.param(
            HALF,
            ONE,
            {"Content-Type": RAW, "Accept": "application/json, text/plain, */*"},
            JSON,
            id="raw-browser-json-named-first",
        ),
        pytest.param(HALF, ONE_JSON, {"Accept": NPY}, NPY, id="json-npy"),
        pytest.param(HALF, ONE_JSON, {"Accept": RAW}, RAW, id="json-raw"),
        pytest.param(HALF, ONE_JSON, {"Accept": NPZ}, NPZ, id="json-npz"),
        pytest.param(HALF, ONE_JSON, {"Accept": ZIP}, ZIP, id="json-zip"),
        pytest.param(HALF, ONE_JSON, {}, JSON, id="json-no-accept"),
        pytest.param(HALF, ONE_JSON, {"Accept": "*/*"}, JSON, id="json-any"),
        pytest.param(HALF, ONE_JSON, {"Accept": "text/html, image/*"}, JSON, id="json-unknown"),
        pytest.param(HALF, ONE_JSON, {"Accept": f"{NPY};q=0"}, JSON, id="json-not-npy"),
        pytest.param(HALF, ONE_JSON, {"Accept": f"{NPY};q=x"}, NPY, id="json-odd-weight"),
        pytest.param(
            HALF,
            ONE_JSON,
            {"Content-Type": "application/x-www-form-urlencoded"},
            JSON,
            id="json-as-curl-sends-it",
        ),
        pytest.param(HALF, ONE_JSON, {"Content-Type": "text/plain"}, JSON, id="json-as-text"),
        pytest.param(HALF, ONE_JSON, {"Content-Type": RAW}, JSON, id="json-as-aiohttp-sends-it"),
        pytest.param(
            HALF, b"\xef\xbb\xbf \n" + ONE_JSON, {"Content-Type": RAW}, JSON, id="json-with-bom"
        ),
        pytest.param(
            HALF, ONE_JSON, {"Content-Type": RAW, "Accept": NPY}, NPY, id="json-labelled-raw-npy"
        ),
        pytest.param(TWO, PAIR, {"Content-Type": NPZ}, NPZ, id="npz-no-accept"),
        pytest.param(TWO, PAIR, {"Content-Type": ZIP, "Accept": "*/*"}, ZIP, id="zip-any"),
        pytest.param(TWO, PAIR, {"Content-Type": NPZ, "Accept": JSON}, JSON, id="npz-json"),
        pytest.param(TWO, PAIR_JSON, {"Accept": NPZ}, NPZ, id="json-npz-of-two"),
    ],
)
def test_the_client_chooses_the_form_of_the_answer(
    served: Served, target: str, body: bytes, headers: Mapping[str, str], media: str
) -> None:
    answer = served.ask("POST", target, body, headers)
    assert (answer.status, answer.content_type) == (200, media), answer.body
    expected = {"y": [[2.5]]} if target == HALF else {"sum": [[4, 6]], "difference": [[-2, -2]]}
    assert outputs_of(answer, list(expected)) == expected


def outputs_of(answer: Answer, names: list[str]) -> dict[str, Any]:
    """The outputs of any form, as lists of rows."""
    if answer.content_type in (NPZ, ZIP):
        return {name: array.tolist() for name, array in from_npz(answer.body).items()}
    if answer.content_type == NPY:
        return {names[0]: np.load(io.BytesIO(answer.body)).tolist()}
    if answer.content_type == RAW:
        assert answer.headers is not None
        shape = [int(size) for size in answer.headers["X-Tensor-Shape"].split(",")]
        array = np.frombuffer(answer.body, answer.headers["X-Tensor-Dtype"])
        return {names[0]: array.reshape(shape).tolist()}
    predictions = json.loads(answer.body)["predictions"]
    if len(names) == 1:
        return {names[0]: predictions}
    return {name: [row[name] for row in predictions] for name in names}


def test_json_for_a_signature_without_rows_has_columns(served: Served) -> None:
    answer = ask(
        served,
        ODD,
        floats(1, 2, 3, 4).tobytes(),
        content_type=RAW,
        accept=JSON,
        x_signature_name="total",
    )
    assert json.loads(answer.body) == {"outputs": 10.0}


@pytest.mark.parametrize(
    ("content_type", "accept", "expected"),
    [
        ("", "", (JSON, "")),
        (RAW, "application/*, application/json;q=0.9", (RAW, "")),
        (NPY, "*/*;q=0", (NPY, "")),
        (NPY, f"*/*;q=0.1, {JSON};q=0.2", (NPY, JSON)),
        (JSON, f"text/html,{NPZ};q=0.8,{RAW};q=0.9", (JSON, RAW)),
        (JSON, f"{NPZ}, {RAW}", (JSON, NPZ)),
        (JSON, f"{NPZ} ; level=1 ; Q=0.001", (JSON, NPZ)),
        ("application/octet-stream+x", ",,;,q", (JSON, "")),
    ],
)
def test_weights_and_order_decide(
    content_type: str, accept: str, expected: tuple[str, str]
) -> None:
    assert negotiate(content_type, accept) == expected


def exchange(
    body: bytes = b"", *, method: str = "POST", target: str = HALF, **headers: str
) -> Exchange:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Exchange(method, target, named, body)


CODEC = PlainBinary(TensorFlowServingRest())


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        (exchange(ONE, content_type=RAW), True),
        # By the head alone: what the body is, is told when it is read.
        (exchange(b"", content_type=RAW), True),
        (exchange(ONE_JSON, content_type=RAW), True),
        (exchange(accept=NPY), True),
        (exchange(content_type=JSON, accept=JSON), False),
        (exchange(ONE, content_type=RAW, method="OPTIONS"), False),
        (exchange(ONE, content_type=RAW, target="/v1/models/m:classify"), False),
        (exchange(ONE, content_type=RAW, target="/v2/models/m:predict/infer"), False),
    ],
)
def test_only_predictions_with_something_binary_are_taken(told: Exchange, *, taken: bool) -> None:
    assert CODEC.takes(told) is taken


def parsed_size(told: Exchange) -> int:
    operation = CODEC.route(told)
    assert isinstance(operation, Infer)
    return CODEC.parsed_size(operation, told)


def test_a_zip_goes_to_the_codec_thread_and_raw_elements_do_not() -> None:
    body = bytes(100)
    assert parsed_size(exchange(body, content_type=NPZ)) > 64 * 1024
    assert parsed_size(exchange(body * 10_000, content_type=RAW)) == 0
    assert parsed_size(exchange(body, accept=NPY)) == 100


# ------------------------------------------------------------------------------------- refused


def zip_of(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body, compression)
    return file.getvalue()


def encrypted(body: bytes) -> bytes:
    """A zip whose only member says that it is encrypted."""
    flags = body.index(b"PK\x01\x02") + 8
    return body[:flags] + b"\x01" + body[flags + 1 :]


def headed(header: str, elements: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode("latin-1") + elements


def described(descr: str, shape: str, elements: bytes = ONE) -> bytes:
    return headed(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", elements)


X = npy(floats(1).reshape(1, 1))


@pytest.mark.parametrize(
    ("target", "media", "body", "words"),
    [
        pytest.param(HALF, RAW, ONE[:3], ["float32[-1,1]", "4 bytes", "got 3"], id="raw-short"),
        pytest.param(HALF, RAW, b"", ["empty"], id="raw-empty"),
        pytest.param(TWO, RAW, ONE, ["one input", "'a', 'b'", NPZ], id="raw-two-inputs"),
        pytest.param(f"{DTYPES}#float32", RAW, ONE, ["[-1,-1]", NPY], id="raw-two-free"),
        pytest.param(f"{ODD}#static", RAW, ONE, ["[3]", "takes 12 bytes, got 4"], id="raw-static"),
        pytest.param(f"{ODD}#nobody", RAW, ONE, ["no signature 'nobody'", "'static'"], id="name"),
        pytest.param(TWO, NPY, X, ["one input", NPZ], id="npy-two-inputs"),
        pytest.param(HALF, NPY, b"", ["not a .npy"], id="npy-empty"),
        pytest.param(HALF, NPY, b"\x93NUMPY\x01", ["not a .npy"], id="npy-magic-only"),
        pytest.param(HALF, NPY, b"\x93NUMPY\x01\x00v", ["header"], id="npy-no-length"),
        pytest.param(HALF, NPY, b"\x93NUMPY\x04\x00" + X[8:], ["not a .npy"], id="npy-version"),
        pytest.param(HALF, NPY, b"\x93NUMPY\x01\x01" + X[8:], ["not a .npy"], id="npy-minor"),
        pytest.param(HALF, NPY, X[:60], ["header"], id="npy-cut-header"),
        pytest.param(HALF, NPY, X[:-1], ["takes 4 bytes, got 3"], id="npy-cut"),
        pytest.param(HALF, NPY, X + b"x", ["takes 4 bytes, got 5"], id="npy-more"),
        pytest.param(
            HALF,
            NPY,
            headed(" " * (MAX_HEADER + 1), version=b"\x02\x00"),
            ["longer than"],
            id="npy-header-too-long",
        ),
        pytest.param(HALF, NPY, npy(np.ones((1, 1))), ["float32", "'f4'", "'<f8'"], id="npy-dtype"),
        pytest.param(HALF, NPY, described("'|O'", "(1, 1)"), ["'|O'"], id="npy-objects"),
        pytest.param(HALF, NPY, described("[('x', '<f4')]", "(1, 1)"), ["header"], id="npy-fields"),
        pytest.param(HALF, NPY, described("'<f4'", "(1, -1)"), ["header"], id="npy-negative"),
        pytest.param(HALF, NPY, described("'<f4'", "(True, 1)"), ["header"], id="npy-true"),
        pytest.param(HALF, NPY, described("'<f4'", "1"), ["header"], id="npy-no-tuple"),
        pytest.param(
            HALF, NPY, headed("{'descr': '<f4', 'shape': (1, 1)}"), ["header"], id="npy-2"
        ),
        pytest.param(
            HALF, NPY, headed("{" + "'descr': '<f4'," * 3 + "}", ONE), ["header"], id="npy-twice"
        ),
        pytest.param(HALF, NPY, headed("(" * 9000), ["header"], id="npy-nested"),
        pytest.param(
            HALF, NPY, described("'<f4'", f"({10**12}, {10**12})"), ["got 4"], id="npy-huge"
        ),
        pytest.param(
            HALF,
            NPY,
            described("'<f4'", f"(0, {10**17}, {10**17})", b""),
            ["no arrays of the shape"],
            id="npy-nothing-in-huge",
        ),
        pytest.param(
            HALF,
            NPY,
            described("'<f4'", f"({'1,' * 70})"),
            ["no arrays of the shape"],
            id="npy-70-dimensions",
        ),
        pytest.param(
            HALF, NPY, npy(floats(1, 2).reshape(1, 2)), ["[-1,1]", "[1,2]"], id="npy-shape"
        ),
        pytest.param(HALF, NPZ, b"", ["not a zip"], id="npz-empty"),
        pytest.param(HALF, NPZ, X, ["not a zip"], id="npz-npy"),
        pytest.param(HALF, NPZ, zip_of(), ["members none", "'x'"], id="npz-no-members"),
        pytest.param(HALF, NPZ, zip_of(("y.npy", X)), ["'y'", "'x'"], id="npz-wrong-name"),
        pytest.param(HALF, NPZ, zip_of(("x.npy", X), ("x", X)), ["'x', 'x'"], id="npz-twice"),
        pytest.param(HALF, NPZ, zip_of(("x.npy", X[:-1])), ["got 3"], id="npz-cut-npy"),
        pytest.param(HALF, NPZ, zip_of(("x.npy", X))[:-1], ["not a zip"], id="npz-cut"),
        pytest.param(HALF, NPZ, encrypted(zip_of(("x.npy", X))), ["stored or"], id="npz-encrypted"),
        pytest.param(
            HALF,
            NPZ,
            zip_of(("x.npy", X), compression=zipfile.ZIP_LZMA),
            ["stored or"],
            id="npz-lzma",
        ),
        pytest.param(
            HALF, NPZ, zip_of(("x.npy", X)).replace(ONE, b"\x00\x00\x80\x40"), ["CRC"], id="npz-crc"
        ),
        pytest.param(
            HALF, NPZ, zip_of(*[(f"{n}", b"") for n in range(1025)]), ["1024"], id="npz-many"
        ),
    ],
)
def test_these_are_refused_as_invalid(
    served: Served, target: str, media: str, body: bytes, words: list[str]
) -> None:
    path, _, signature = target.partition("#")
    answer = ask(served, path, body, content_type=media, x_signature_name=signature)
    message = told(answer)
    assert answer.status == 400, message
    for word in words:
        assert word in message


@pytest.mark.parametrize("accept", [RAW, NPY])
@pytest.mark.parametrize(("body", "sent"), [(PAIR, NPZ), (PAIR_JSON, JSON)])
def test_several_outputs_are_not_forced_into_a_form_for_one(
    served: Served, body: bytes, sent: str, accept: str
) -> None:
    answer = ask(served, TWO, body, content_type=sent, accept=accept)
    assert answer.status == 400
    assert told(answer) == f"{accept} holds one output, there are 'difference', 'sum': accept {NPZ}"


def test_what_holds_for_the_url_holds_here_too(served: Served) -> None:
    unknown = ask(served, "/v1/models/nobody:predict", ONE, content_type=RAW)
    assert (unknown.status, told(unknown)) == (404, told(unknown))
    malformed = ask(served, f"{HALF}/x", ONE, content_type=RAW)
    assert malformed.status == 400
    assert told(malformed).startswith("Malformed request")
    version = ask(served, "/v1/models/half_plus_two/versions/123:predict", ONE, content_type=RAW)
    assert version.status == 200
    label = ask(served, "/v1/models/half_plus_two/labels/x:predict", ONE, content_type=RAW)
    assert label.status == 400
