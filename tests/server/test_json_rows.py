"""Rows of floats read straight from their bytes: what comes of a body is what it always was."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.errors import NotFound, ServingError
from server.exchange import Exchange
from server.inference import ModelAddress, ServedModel
from server.protocols.json_arrays import LARGE
from server.protocols.json_rows import read_rows
from server.protocols.protocol import Infer
from server.protocols.tfserving_inputs import find_signature, read_body, read_tensors
from server.protocols.tfserving_rest import TensorFlowServingRest
from server.signature import Shape, Signature, Tensors, TensorSpec
from tests.server.by_hand import served_by_hand, until
from tests.server.test_http_edges import post, read_answer

fuzz = settings(derandomize=True, deadline=None, max_examples=80)

CODEC = TensorFlowServingRest()
SHAPES: list[Shape] = [(None,), (None, 3), (None, 2, 2)]
FLOATS = ("float32", "float64")

Outcome = tuple[str, str, tuple[int, ...]]


def of(shape: Shape, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("x", dtype, shape)


def signature(spec: TensorSpec) -> Signature:
    return Signature("serving_default", {spec.name: spec}, {spec.name: spec})


def model(spec: TensorSpec) -> ServedModel:
    return ServedModel("m", 1, {"serving_default": signature(spec)}, "test", 8)


def bits(array: NDArray[np.generic]) -> Outcome:
    return array.tobytes().hex(), str(array.dtype), array.shape


def outcome(read: Callable[[], Tensors]) -> Outcome | tuple[type[ServingError], str]:
    """The bits of the only input, or the error to tell."""
    # As adapters have it: numbers become infinities without a warning.
    with np.errstate(over="ignore"):
        try:
            (array,) = read().values()
        except ServingError as error:
            return type(error), str(error)
    return bits(array)


def quickly(body: bytes, spec: TensorSpec) -> Tensors:
    exchange = Exchange("POST", "/v1/models/m:predict", {}, body)
    request = CODEC.decode(Infer(ModelAddress("m"), "predict"), exchange, lambda _: model(spec))
    return dict(request.inputs)


def slowly(body: bytes, spec: TensorSpec) -> Tensors:
    told = read_body(body, arrays=True)
    return read_tensors(body, told, find_signature(model(spec), told))[0]


def assert_read_alike(body: bytes, spec: TensorSpec) -> None:
    assert outcome(lambda: quickly(body, spec)) == outcome(lambda: slowly(body, spec))


def is_read(body: bytes, spec: TensorSpec) -> bool:
    """Whether it is read without a list."""
    with np.errstate(over="ignore"):
        return read_rows(body, spec) is not None


# ---------------------------------------------------------------------------------- any body

space = st.text(" \t\r\n", max_size=2)
digits = st.text("0123456789", min_size=1, max_size=25)
numbers = (
    st.integers(-(10**6), 10**6).map(str)
    | st.integers(-(2**65), 2**65).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr)
    | st.builds(
        "{}{}.{}{}{}".format,
        st.sampled_from(["", "-"]),
        st.integers(0, 10**20),
        digits,
        st.sampled_from(["e", "E", "e+", "e-", "E-"]),
        st.integers(0, 340),
    )
    | st.sampled_from(["-0", "-0.0", "0e0", "5e-324", "1.7976931348623157e308", "16777217"])
)


@st.composite
def lists(draw: st.DrawFn, shape: tuple[int, ...]) -> str:
    """Nested lists of numbers of a shape, with space around whatever may have some."""
    if not shape:
        return draw(space) + draw(numbers) + draw(space)
    parts = ",".join(draw(lists(shape[1:])) for _ in range(shape[0]))
    return f"{draw(space)}[{parts}]{draw(space)}"


@st.composite
def rows(draw: st.DrawFn) -> tuple[bytes, TensorSpec]:
    """A body, and what it is for."""
    spec = of(draw(st.sampled_from(SHAPES)), draw(st.sampled_from(FLOATS)))
    count = draw(st.integers(1, 4))
    values = draw(lists((count, *(spec.row_shape or ()))))
    body = f'{draw(space)}{{{draw(space)}"instances"{draw(space)}:{values}}}{draw(space)}'
    return body.encode(), spec


@fuzz
@given(told=rows())
def test_rows_are_read_to_the_same_bits(told: tuple[bytes, TensorSpec]) -> None:
    assert_read_alike(*told)


spoilt = st.sampled_from([*'0123456789+-.eE,:[]{}" \t\n\\\0#NaIu', ""]) | st.sampled_from(
    ["null", "true", "NaN", "-Infinity", "1e400", ",1", "[]", "[1]", "{}", '"a"', '"instances":']
)


@fuzz
@given(
    told=rows(),
    edits=st.lists(
        st.tuples(
            st.integers(0, 400),
            st.integers(0, 2),
            spoilt,
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_spoilt_rows_are_read_alike_or_refused_in_the_same_words(
    told: tuple[bytes, TensorSpec], edits: list[tuple[int, int, str]]
) -> None:
    body, spec = told
    for place, deleted, inserted in edits:
        at = place % (len(body) + 1)
        body = body[:at] + inserted.encode("latin-1") + body[at + deleted :]
    assert_read_alike(body, spec)


@fuzz
@given(body=st.text('[]{},:"1 -.eEscinta', max_size=12).map(lambda text: f'{{"instances":{text}'))
def test_odd_structures_are_read_alike(body: str) -> None:
    for shape in [*SHAPES, (None, 0), (None, 1)]:
        assert_read_alike(body.encode(), of(shape))


# ------------------------------------------------------------------------------ which, by name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ((None,), b'{"instances":[1,2.5,-3e2]}'),
        ((None,), b'{"instances":[7]}'),
        ((None, 1), b'{"instances":[[7]]}'),
        ((None, 2), b' {\t"instances" :\r\n[ [ 1 , 2 ] ,\n[3,4] ] } \n'),
        ((None, 2, 2), b'{"instances":[[[1,2],[3,4]],[[5,6],[7,8]]]}'),
        ((None, 2), b'{"instances":[[-0,-0.0]]}'),
        ((None, 2), b'{"instances":[[9223372036854775807,-9223372036854775808]]}'),
        ((None, 2), b'{"instances":[[18446744073709551615,9007199254740993]]}'),
        ((None, 2), b'{"instances":[[1e39,-1e39]]}'),
        ((None, 2), b'{"instances":[[5e-324,1e-400]]}'),
        ((None, 0), b'{"instances":[[],[]]}'),
    ],
)
def test_these_are_read_without_lists(shape: Shape, body: bytes, dtype: str) -> None:
    assert is_read(body, of(shape, dtype))
    assert_read_alike(body, of(shape, dtype))


PAIRS = of((None, 2))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"instances":[[1,2],[3]]}', id="ragged"),
        pytest.param(b'{"instances":[[1,2],[3],[4,5,6]]}', id="ragged-of-the-right-size"),
        pytest.param(b'{"instances":[[1,2],3]}', id="number-beside-list"),
        pytest.param(b'{"instances":[1,2]}', id="no-rows"),
        pytest.param(b'{"instances":[[1,2,3]]}', id="wide"),
        pytest.param(b'{"instances":[[1],[2]]}', id="narrow"),
        pytest.param(b'{"instances":[[[1,2]]]}', id="deep"),
        pytest.param(b'{"instances":[[[1],2]]}', id="uneven"),
        pytest.param(b'{"instances":[[1,[2]]]}', id="uneven-behind"),
        pytest.param(b'{"instances":[[],[1,2]]}', id="empty-row-beside"),
        pytest.param(b'{"instances":[[1,2],[]]}', id="empty-row-behind"),
        pytest.param(b'{"instances":[[]]}', id="empty-row"),
        pytest.param(b'{"instances":[]}', id="empty"),
        pytest.param(b'{"instances":%b}' % (b"[" * 1100 + b"]" * 1100), id="nested"),
        pytest.param(b'{"instances":[[1,true]]}', id="true"),
        pytest.param(b'{"instances":[[1,null]]}', id="null"),
        pytest.param(b'{"instances":[[1,"1"]]}', id="string"),
        pytest.param(b'{"instances":[[1,""]]}', id="empty-string"),
        pytest.param(b'{"instances":[[1,{}]]}', id="object"),
        pytest.param(b'{"instances":[[1,NaN]]}', id="nan"),
        pytest.param(b'{"instances":[[1,-Infinity]]}', id="infinity"),
        pytest.param(b'{"instances":[[1,Inf]]}', id="inf"),
        pytest.param(b'{"instances":[[1,N]]}', id="a-letter-of-nan"),
        pytest.param(b'{"instances":[[1,1e400]]}', id="beyond-a-double"),
        pytest.param(b'{"instances":[[1,18446744073709551616]]}', id="beyond-64-bits"),
        pytest.param(b'{"instances":[[1,-9223372036854775809]]}', id="below-64-bits"),
        pytest.param(b'{"instances":[[1,01]]}', id="leading-zero"),
        pytest.param(b'{"instances":[[1,+1]]}', id="plus"),
        pytest.param(b'{"instances":[[1,.5]]}', id="leading-point"),
        pytest.param(b'{"instances":[[1,5.]]}', id="trailing-point"),
        pytest.param(b'{"instances":[[1,1e]]}', id="no-exponent"),
        pytest.param(b'{"instances":[[1,-]]}', id="minus-alone"),
        pytest.param(b'{"instances":[[1,2 3]]}', id="two-numbers"),
        pytest.param(b'{"instances":[[1,]]}', id="trailing-comma"),
        pytest.param(b'{"instances":[[1,2],]}', id="trailing-comma-of-rows"),
        pytest.param(b'{"instances":[[1,2]],}', id="trailing-comma-of-keys"),
        pytest.param(b'{"instances":[[1,2]]}}', id="trailing-bracket"),
        pytest.param(b'{"instances":[[1,2]]}1', id="trailing-number"),
        pytest.param(b'{"instances":[[1,2]]}\0', id="trailing-nul"),
        pytest.param(b'{"instances":[[1,2]]', id="cut"),
        pytest.param(b'{"instances":[[1,2]],"instances":[[3,4]]}', id="twice"),
        pytest.param(b'{"instances":[[1,2]],"a":1}', id="second-key"),
        pytest.param(b'{"a":1,"instances":[[1,2]]}', id="second-key-before"),
        pytest.param(b'{"instances":[[1,2]],"inputs":[[1,2]]}', id="inputs-too"),
        pytest.param(b'{"instances":[[1,2]],"signature_name":""}', id="signature"),
        pytest.param(b'{"instances":[[1,2]],"signature_name":"nobody"}', id="unknown-signature"),
        pytest.param(b'{"scs":[[1,2]]}', id="another-key-of-the-same-letters"),
        pytest.param(b'{"i nstances":[[1,2]]}', id="space-in-key"),
        pytest.param(b'{"\\u0069nstances":[[1,2]]}', id="escaped-key"),
        pytest.param(b'{"Instances":[[1,2]]}', id="upper-case"),
        pytest.param(b'{"a":{"instances":[[1,2]]}}', id="in-another"),
        pytest.param(b'{"instances":{"instances":[[1,2]]}}', id="object-of-rows"),
        pytest.param(b'{"instances":1}', id="number"),
        pytest.param(b'{"instances":"12"}', id="text"),
        pytest.param(b'{"instances":null}', id="no-value"),
        pytest.param(b'[{"instances":[[1,2]]}]', id="list"),
        pytest.param(b"[[1,2]]", id="bare"),
        pytest.param(b"1", id="bare-number"),
        pytest.param(b"", id="nothing"),
        pytest.param(b" ", id="space"),
        pytest.param(b'\xef\xbb\xbf{"instances":[[1,2]]}', id="bom"),
        pytest.param(b'\xa0{"instances":[[1,2]]}', id="no-utf8"),
        pytest.param(b'{"instances":[[1,2]]\x0b}', id="another-space"),
        pytest.param('{"instances":[[1,2]]}'.encode("utf-16"), id="utf-16"),
    ],
)
def test_near_misses_are_left_to_who_reads_anything(body: bytes) -> None:
    for spec in (PAIRS, of((None, 2), "float64")):
        assert not is_read(body, spec)
        assert_read_alike(body, spec)


@pytest.mark.parametrize("shape", [(None,), (None, 1), (None, 1, 1), (None, 0), (None, 2, 0)])
def test_lists_without_numbers_are_no_rows_but_where_rows_have_none(shape: Shape) -> None:
    for values in ("[]", "[[]]", "[[[]]]", "[[],[]]", "[[[],[]]]"):
        body = f'{{"instances":{values}}}'.encode()
        assert_read_alike(body, of(shape))
        assert not is_read(body, of(shape)) or 0 in (shape or ())


def test_large_bodies_are_left_to_who_reads_them_in_slices() -> None:
    body = b'{"instances":[[1,2]]}'
    assert is_read(body.ljust(LARGE - 1), PAIRS)
    assert not is_read(body.ljust(LARGE), PAIRS)
    assert_read_alike(body.ljust(LARGE), PAIRS)


@pytest.mark.parametrize("shape", [None, (), (2,), (None, None), (None, 2, None)])
def test_what_has_no_rows_of_one_shape_is_left(shape: Shape) -> None:
    for body in (b'{"instances":[[1,2]]}', b'{"instances":[1,2]}'):
        assert_read_alike(body, of(shape))


def test_of_a_model_that_is_not_there_nothing_is_told_before_the_body_is() -> None:
    def find(_: ModelAddress) -> ServedModel:
        msg = "no such model"
        raise NotFound(msg)

    for body, told in [(b'{"instances":[[1,2]]}', "no such model"), (b"{", "not JSON")]:
        exchange = Exchange("POST", "/v1/models/m:predict", {}, body)
        with pytest.raises(ServingError, match=told):
            CODEC.decode(Infer(ModelAddress("m"), "predict"), exchange, find)


# ------------------------------------------------------------------------- one after the other


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_array_stays_what_it_was_when_the_next_body_is_read(dtype: str) -> None:
    spec = of((None, 2), dtype)
    arrays = [read_rows(b'{"instances":[[%d,%d]]}' % (n, n), spec) for n in range(100)]
    for number, array in enumerate(arrays):
        assert array is not None
        assert array.tolist() == [[number, number]]
        assert array.flags.writeable


def test_bodies_are_read_on_several_threads_at_once() -> None:
    start, wrong = threading.Barrier(4), []

    def read(number: int) -> None:
        row = b"[%b]" % b",".join([b"%d.5" % number] * 50)
        body = b'{"instances":[%b]}' % b",".join([row] * 10)
        expected = np.full((10, 50), number + 0.5, np.float32)
        start.wait()
        for _ in range(200):
            array = read_rows(body, of((None, 50)))
            if array is None or not np.array_equal(array, expected):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_numbers_beyond_a_float_are_infinities_without_a_warning() -> None:
    async def main() -> None:
        async with served_by_hand() as server:
            reader, writer = await server.connect()
            # As the first request of a connection, and as one after it, which was waited for.
            for _ in range(2):
                sent = b'{"instances":[[1e39],[-1e39]]}'
                writer.write(post(sent, f"Content-Length: {len(sent)}"))
                await until(lambda: server.executor.handed_over == 1)
                server.run_next()
                said = await read_answer(reader)
                assert (said.status, said.body) == (
                    200,
                    b'{"predictions":[[Infinity],[-Infinity]]}',
                )
            assert server.model.seen == [[float("inf"), float("-inf")]] * 2
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())
