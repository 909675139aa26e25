"""Envelopes survive headers, and headers that nobody can read are explained."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.schemas.envelope import Envelope, EnvelopeError

WORD = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
ENVELOPES = st.builds(
    Envelope,
    type=st.just("") | WORD,
    version=st.integers(1, 10_000),
    message_id=st.just("") | WORD,
    run=st.just("") | WORD,
    task=st.just("") | WORD,
    causes=st.lists(WORD, max_size=4).map(tuple),
    deadline_unix_ms=st.none() | st.integers(0, 2**53),
    attempt=st.integers(1, 1_000),
    budget=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    priority=st.integers(-9, 9),
    reply=st.just("") | WORD,
    parent=st.just("") | WORD,
    wake=st.integers(0, 1_000),
    topic=st.just("") | WORD,
    blob=st.just("") | WORD,
    traceparent=st.just("") | WORD,
    tracestate=st.just("") | WORD,
)


@given(ENVELOPES)
def test_headers_round_trip(envelope: Envelope) -> None:
    """from_headers(headers(x)) is x, and every header is a line of printable ASCII."""
    headers = envelope.headers()
    assert Envelope.from_headers(headers) == envelope
    assert all(isinstance(value, str) and value.isascii() and value.isprintable() for value in headers.values())


def test_defaults_are_left_out() -> None:
    """A bare body without headers is legal, and costs nothing."""
    assert Envelope().headers() == {}
    assert Envelope.from_headers({}) == Envelope()


def test_unknown_headers_are_left_alone() -> None:
    """A newer sender can talk to an older reader."""
    assert Envelope.from_headers({"Antiphon-Newer": "1", "X-Mine": "2", "Antiphon-Run": "r"}) == Envelope(run="r")


@pytest.mark.parametrize(
    ("header", "value", "says"),
    [
        ("Antiphon-Version", "one", "expected an integer"),
        ("Antiphon-Attempt", "", "expected an integer"),
        ("Antiphon-Deadline", "1e3", "expected an integer"),
        ("Antiphon-Priority", "high", "expected an integer"),
        ("Antiphon-Labels", "[]", "expected a flat JSON object"),
        ("Antiphon-Labels", '{"a": {"b": 1}}', "expected a flat JSON object"),
        ("Antiphon-Labels", '{"a": null}', "expected a flat JSON object"),
        ("Antiphon-Budget", '{"a": "much"}', "expected numbers"),
        ("Antiphon-Budget", "{", "expected a flat JSON object"),
    ],
)
def test_unreadable_values_are_named(header: str, value: str, says: str) -> None:
    """Header, value and accepted form."""
    with pytest.raises(EnvelopeError, match=says) as caught:
        Envelope.from_headers({header: value})
    assert header in str(caught.value)


@given(st.dictionaries(st.sampled_from(sorted(Envelope(type="x", run="x", task="x").headers())) | TEXT, TEXT))
def test_garbage_is_refused_or_read_never_a_crash(headers: dict[str, str]) -> None:
    """Only EnvelopeError comes out."""
    with contextlib.suppress(EnvelopeError):
        Envelope.from_headers(headers)
