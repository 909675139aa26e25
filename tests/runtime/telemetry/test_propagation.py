"""W3C trace context."""

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from antiphon.runtime.telemetry.propagation import RemoteParent, extract, inject, parse

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PARENT = RemoteParent(bytes.fromhex("0af7651916cd43dd8448eb211c80319c"), bytes.fromhex("b7ad6b7169203331"), 1)


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=digits, max_size=digits)


well_formed = st.builds("{}-{}-{}-{}".format, hexadecimal(2), hexadecimal(32), hexadecimal(16), hexadecimal(2))


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A header that was well-formed until something happened to it."""
    text = draw(well_formed)
    at = draw(st.integers(0, len(text)))
    piece = draw(st.text("0fgG-+ \t_.é٣", max_size=3))
    return text[:at] + piece + text[at + draw(st.integers(0, 3)) :]


@given(well_formed | broken() | st.builds("{}{}".format, well_formed, st.text("-0a ", max_size=6)))
@example("ff" + GOOD[2:])
@example(GOOD + "-extra")
@example("01" + GOOD[2:] + "-extra")
@example("01" + GOOD[2:] + "extra")
@example("00-" + "0" * 32 + GOOD[35:])
@example(GOOD[:36] + "0" * 16 + "-01")
@example(GOOD.upper())
@example(" " + GOOD + "\t")
@example("00-0af7651916cd43dd8448eb211c80319 -b7ad6b7169203331-01")
@example("01" + GOOD[2:] + "-" * 500)
def test_we_read_what_opentelemetry_reads(header: str) -> None:
    """For any header, the parent is the one that the reference implementation finds, or none alike."""
    logging.disable(logging.WARNING)
    try:
        context = TraceContextTextMapPropagator().extract({"traceparent": header}, Context())
    finally:
        logging.disable(logging.NOTSET)
    theirs = trace.get_current_span(context).get_span_context()
    ours = parse(header)
    if not theirs.is_valid:
        assert ours is None
    else:
        assert ours is not None
        assert int.from_bytes(ours.trace_id, "big") == theirs.trace_id
        assert int.from_bytes(ours.span_id, "big") == theirs.span_id
        assert ours.flags == theirs.trace_flags


@given(
    st.binary(min_size=16, max_size=16).filter(any), st.binary(min_size=8, max_size=8).filter(any), st.integers(0, 255)
)
def test_what_is_injected_is_extracted(trace_id: bytes, span_id: bytes, flags: int) -> None:
    """A span's identity survives the headers, all flag bits and the state included."""
    parent = RemoteParent(trace_id, span_id, flags, "vendor=1")
    traceparent, tracestate = inject(parent)
    assert extract({"traceparent": traceparent, "tracestate": tracestate}) == parent


def test_a_sampled_and_random_trace_is_sampled() -> None:
    """Flags 03 are kept as they are: sampled is one bit of them."""
    found = parse(GOOD[:-2] + "03")
    assert found is not None and found.flags == 3


@pytest.mark.parametrize("state", ["a=1\r\nX-Evil: 1", "é=1", "x" * 8193])
def test_a_state_that_cannot_be_one_is_dropped(state: str) -> None:
    """The parent counts even when its vendor's state is unusable, and a header cannot smuggle in another."""
    assert parse(GOOD, state) == PARENT


def test_no_header_is_no_parent() -> None:
    """A message without trace context starts a trace."""
    assert extract({}) is None and extract({"traceparent": ""}) is None


def test_a_span_without_identity_sends_nothing() -> None:
    """Nothing is injected for a span that is nobody."""
    assert inject(RemoteParent(bytes(16), bytes(8), 0)) == ("", "")
