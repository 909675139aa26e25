"""Cutting at stop strings."""

import codecs
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.stop_strings import StopStrings
from antiphon.runtime.engine.tokenizer import IncrementalDecoder, Tokenizer


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    """What is shown of the pieces, and whether it stopped."""
    filter_ = StopStrings(stops)
    shown = ""
    for piece in pieces:
        shown += filter_.push(piece)
        if filter_.stopped:
            return shown + filter_.flush(), True
    return shown + filter_.flush(), False


def test_a_stop_string_in_pieces_is_never_shown() -> None:
    """Its beginning is held back until it is complete or turns out to be something else."""
    filter_ = StopStrings(["END"])
    assert [filter_.push(piece) for piece in ("aE", "N", "xE", "ND")] == ["a", "", "ENx", ""]
    assert filter_.stopped


def test_the_first_to_be_complete_cuts() -> None:
    """Text after it is gone; of two that end together the longer one takes its beginning along."""
    assert run(["yy", "x"], ["abyyx"]) == ("ab", True)
    assert run(["b", "ab"], ["ab"]) == ("", True)
    assert run(["abc", "b"], ["abc"]) == run(["abc", "b"], ["a", "b", "c"]) == ("a", True)


def test_without_stop_strings_nothing_is_held() -> None:
    """Text passes at once."""
    assert StopStrings([]).push("abc") == "abc"


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
    pieces=st.lists(st.text("abc", max_size=4), max_size=10),
)
def test_the_pieces_do_not_matter(stops: list[str], pieces: list[str]) -> None:
    """What is shown contains no stop string, begins the text, is all of it if none occurs, whatever the pieces."""
    text = "".join(pieces)
    shown, stopped = run(stops, pieces)
    assert (shown, stopped) == run(stops, [text]) == run(stops, list(text))
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not stopped:
        assert shown == text


def test_a_very_long_stop_string_does_not_stall() -> None:
    """A reply that keeps nearly completing it costs as much for each character as any other."""
    filter_ = StopStrings(["a" * 50_000 + "b"])
    began = time.process_time()
    shown = "".join(filter_.push("aaaa") for _ in range(25_000))
    assert time.process_time() - began < 5  # a second is plenty; by comparing anew it would be an hour
    assert len(shown + filter_.flush()) == 100_000


@pytest.fixture(scope="module")
def tokenizer(tiny_path: Path) -> Tokenizer:
    """Of single bytes, nearly."""
    return open_checkpoint(tiny_path).tokenizer


def spoken(tokenizer: Tokenizer, tokens: list[int], stops: list[str]) -> str:
    """What a reader sees of the tokens."""
    decoder, filter_ = IncrementalDecoder(tokenizer), StopStrings(stops)
    shown = ""
    for token in tokens:
        shown += filter_.push(decoder.push(token))
        if filter_.stopped:
            return shown
    return shown + filter_.flush()


def test_half_characters_wait_and_are_dropped_at_the_end(tokenizer: Tokenizer) -> None:
    """Bytes of a character come with its last one; what a cut-off reply leaves incomplete is not shown."""
    tokens = tokenizer.encode("価a€")
    assert len(tokens) == 7
    assert spoken(tokenizer, tokens, []) == "価a€"
    assert spoken(tokenizer, tokens[:-1], []) == "価a"
    assert spoken(tokenizer, tokens[1:], []) == "\ufffd\ufffda€"


def test_a_stop_string_of_several_bytes_cuts_between_tokens(tokenizer: Tokenizer) -> None:
    """Though no token is a whole character of it; what a half character held back is not lost."""
    assert spoken(tokenizer, tokenizer.encode("ab€価cd"), ["€価"]) == "ab"
    assert spoken(tokenizer, tokenizer.encode("ab€"), ["€価"]) == "ab€"


@given(data=st.lists(st.sampled_from((*b"ab\x80\xc2\xe2\x82\xac\xf0\xff",)), max_size=24).map(bytes))
def test_bytes_that_are_no_text_never_break_the_stream(tokenizer: Tokenizer, data: bytes) -> None:
    """Any bytes in any tokens: what is shown is what a decoder makes of the whole, less an incomplete end."""
    byte_tokens = {tokenizer.token_bytes(token): token for token in range(263)}
    tokens = [byte_tokens[bytes([byte])] for byte in data]
    complete = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(data)
    assert spoken(tokenizer, tokens, []) == complete
    assert spoken(tokenizer, tokens, ["\ufffda"]) == complete.partition("\ufffda")[0]
