"""Frames and header blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.bus.wire import encode_headers, encode_status, frame, header_size, parse_headers, status_of
from antiphon.runtime.errors import BusError

_keys = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1)
_values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


@given(st.dictionaries(_keys, _values))
def test_round_trip(headers: dict[str, str]) -> None:
    """What is encoded is parsed back, whatever the values hold."""
    assert parse_headers(encode_headers(headers)) == (0, headers)


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_never_two_headers_for_one(headers: dict[str, str]) -> None:
    """Any key and value either comes back as it was or is refused: nothing can be smuggled in."""
    try:
        block = encode_headers(headers)
    except (BusError, UnicodeEncodeError):
        return
    assert parse_headers(block) == (0, headers)


@given(st.binary())
def test_any_block_can_be_read(block: bytes) -> None:
    """Bytes that are no header block give something, never an exception."""
    parse_headers(b"NATS/1.0" + block)
    status_of(b"NATS/1.0" + block)


def test_loose_form() -> None:
    """``Name:Value`` without the blank is read too, as are doubled blanks; lines that are no header are left out."""
    block = b"NATS/1.0\r\na:b\r\nc:  d \r\nnonsense\r\ne: f\r\n\r\n"
    assert parse_headers(block) == (0, {"a": "b", "c": "d", "e": "f"})


@pytest.mark.parametrize(
    ("block", "status", "headers"),
    [
        (b"NATS/1.0 503\r\n\r\n", 503, {"Status": "503"}),
        (b"NATS/1.0 404 No Messages\r\n\r\n", 404, {"Status": "404", "Description": "No Messages"}),
        (b"NATS/1.0 408 Gone\r\nk: v\r\n\r\n", 408, {"Status": "408", "Description": "Gone", "k": "v"}),
        (b"NATS/1.0\r\nStatus: 503\r\n\r\n", 0, {"Status": "503"}),
    ],
)
def test_status(block: bytes, status: int, headers: dict[str, str]) -> None:
    """The server's status is in the first line only; a header of that name is not one."""
    assert parse_headers(block) == (status, headers)
    assert status_of(block) == status


def test_encode_status() -> None:
    """nats-py's parsed form goes back to a block."""
    block = b"NATS/1.0 404 No Messages\r\nk: v\r\n\r\n"
    assert encode_status({"Status": "404", "Description": "No Messages", "k": "v"}) == block
    assert encode_status({"k": "v"}) == encode_headers({"k": "v"})


def test_frame() -> None:
    """The two publish forms, byte by byte."""
    assert frame("a.b", "r", b"", b"hi") == b"PUB a.b r 2\r\nhi\r\n"
    block = encode_headers({"k": "ü"})
    assert frame("a.b", "", block, b"hi") == b"HPUB a.b  %d %d\r\n%bhi\r\n" % (len(block), len(block) + 2, block)
    assert header_size({"k": "ü"}) == len(block)
    assert header_size(None) == 0
