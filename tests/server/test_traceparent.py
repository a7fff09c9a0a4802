"""`traceparent` as OpenTelemetry's own propagator reads it, which is asked beside ours."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server import traceparent
from tests.server.spanned import CALLER, NOT_SAMPLED, SAMPLED, TRACE

fuzz = settings(derandomize=True, deadline=None, max_examples=500)

HEX = "0123456789abcdef"


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=count, max_size=count) | st.just("0" * count)


VALID = st.builds(
    lambda blank, version, trace_id, span_id, flags, end: (
        f"{blank}{version}-{trace_id}-{span_id}-{flags}{end}"
    ),
    st.text(" \t", max_size=2),
    st.sampled_from(["00", "00", "01", "fe", "ff"]),
    digits(32),
    digits(16),
    digits(2),
    st.sampled_from(["", "", " ", "\t ", "-", "-more", "-x " + "y" * 440, "more"]),
)
# A header has no line ends.
ANY = st.text(st.characters(blacklist_characters="\r\n"), max_size=70)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A valid one in which a character is another."""
    text = draw(VALID)
    place = draw(st.integers(0, len(text) - 1))
    other = draw(st.sampled_from([*HEX, "-", "G", "A", " ", "é"]))
    return f"{text[:place]}{other}{text[place + 1 :]}"


@given(text=VALID | damaged() | ANY)
@example(text=SAMPLED)
@example(text=f"01-{TRACE}-{CALLER}-01-{'z' * 512}")
@example(text=SAMPLED.upper())
@fuzz
def test_it_is_read_as_opentelemetry_reads_it(text: str) -> None:
    context = TraceContextTextMapPropagator().extract({"traceparent": text})
    expected = get_current_span(context).get_span_context()
    found = traceparent.read(text)
    if not expected.is_valid:
        assert found is None
    else:
        assert found is not None
        assert int(found.trace_id, 16) == expected.trace_id
        assert int(found.span_id, 16) == expected.span_id
        assert found.flags == expected.trace_flags
        assert found.is_sampled is expected.trace_flags.sampled


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SAMPLED, traceparent.Traceparent(TRACE, CALLER, 1)),
        (NOT_SAMPLED, traceparent.Traceparent(TRACE, CALLER, 0)),
        (f"cc-{TRACE}-{CALLER}-03-later", traceparent.Traceparent(TRACE, CALLER, 3)),
        (f"00-{TRACE}-{CALLER}-01-later", None),
        (f"00-{'0' * 32}-{CALLER}-01", None),
    ],
)
def test_a_header_says_who_asked(text: str, found: traceparent.Traceparent | None) -> None:
    assert traceparent.of({"traceparent": text}) == found


def test_no_header_says_nothing() -> None:
    assert traceparent.of({}) is None
