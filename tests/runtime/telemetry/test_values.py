"""Attribute values made fit for the record."""

from enum import Enum, IntEnum, StrEnum
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry.attributes import CLIPPED, DROPPED_ATTRIBUTES
from antiphon.runtime.telemetry.values import ATTRIBUTES, RECORD_BYTES, TEXT_BYTES, clean, plain


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Shape(str, Enum):  # noqa: UP042  (the old spelling prints as Shape.ROUND)
    ROUND = "round"


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_values_of_opentelemetrys_types_are_kept() -> None:
    """Strings, booleans, numbers and sequences of them pass unchanged."""
    given = {"s": "text", "b": True, "i": 3, "f": 0.5, "l": ["a", "b"], "n": [1, 2]}
    assert clean(given) == given


def test_other_values_become_strings() -> None:
    """What OpenTelemetry has no type for is written as text, and enumerations as their values."""
    assert plain(Colour.RED) == "red" and type(plain(Colour.RED)) is str
    assert plain(Shape.ROUND) == "round" and type(plain(Level.LOW)) is int
    assert plain({"a": 1}) == "{'a': 1}"
    assert plain(b"\x01\xff") == "01ff"
    assert plain((1, None, [2])) == [1, "None", "[2]"]
    assert plain(Rude()) == "<Rude: RuntimeError>"


def test_integers_beyond_64_bits_become_digits() -> None:
    """A number that the formats cannot hold is kept as text, however long."""
    assert plain(2**63 - 1) == 2**63 - 1
    assert plain(2**63) == str(2**63)
    assert plain(1 << 100_000).startswith("0x1000")


def test_none_is_left_out() -> None:
    """None says that there is no value."""
    assert clean({"a": None, "b": 1}) == {"b": 1}


def test_long_strings_are_cut_and_marked() -> None:
    """At most 8 KiB of a string are kept, cut between characters, and its key is listed."""
    cleaned = clean({"long": "é" * TEXT_BYTES, "short": "x"})
    assert len(cleaned["long"].encode()) == TEXT_BYTES and set(cleaned["long"]) == {"é"}
    assert cleaned[CLIPPED] == ["long"] and cleaned["short"] == "x"


def test_too_many_attributes_are_counted() -> None:
    """The first 128 stay, the rest is a number."""
    cleaned = clean({str(i): i for i in range(ATTRIBUTES + 5)})
    assert cleaned[DROPPED_ATTRIBUTES] == 5 and len(cleaned) == ATTRIBUTES + 1


def test_cleaning_again_adds_up() -> None:
    """Marks of an earlier cut survive a second one."""
    once = clean({"long": "x" * (TEXT_BYTES + 1), **{str(i): i for i in range(ATTRIBUTES)}})
    again = clean({**once, "more": "y" * (TEXT_BYTES + 1)})
    assert again[CLIPPED] == ["long"] and again[DROPPED_ATTRIBUTES] == once[DROPPED_ATTRIBUTES] + 1


def test_a_list_that_contains_itself_is_text() -> None:
    """A cycle does not stop the recorder."""
    loop: list[Any] = [1]
    loop.append(loop)
    assert plain(loop) == [1, "[1, [...]]"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text() | st.integers(), anything, max_size=200), st.integers(1, 3000))
def test_anything_fits(attributes: dict[Any, Any], times: int) -> None:
    """Whatever is given, the result can be encoded, is bounded and has text keys."""
    given = {key: value * times if isinstance(value, str) else value for key, value in attributes.items()}
    cleaned = clean(given)
    assert all(type(key) is str for key in cleaned)
    assert len(msgspec.msgpack.encode(cleaned)) <= RECORD_BYTES + 4 * TEXT_BYTES
