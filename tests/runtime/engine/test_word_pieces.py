"""Text to ids for BERT."""

from pathlib import Path

import pytest

from antiphon.runtime.engine.testing import write_tiny_encoder
from antiphon.runtime.engine.word_pieces import Pieces, WordPieces
from antiphon.runtime.errors import ModelFileError


@pytest.fixture
def pieces(tmp_path: Path) -> WordPieces:
    """Of at most eight ids."""
    return WordPieces((write_tiny_encoder(tmp_path) / "tokenizer.json").read_text(), 8)


def test_a_text_is_framed_and_lowered(pieces: WordPieces) -> None:
    """Words in pieces, unknown ones as such; an empty text is its frame."""
    found = pieces.encode(["The FOXES", "whale", ""])
    assert [each.ids for each in found] == [(2, 4, 10, 11, 3), (2, 1, 3), (2, 3)]
    assert not any(each.cut for each in found)


def test_a_text_that_does_not_fit_is_cut_and_marked(pieces: WordPieces) -> None:
    """The frame stays whole."""
    assert pieces.encode(["sea " * 6])[0] == Pieces(ids=(2, 5, 5, 5, 5, 5, 5, 3), cut=False)
    assert pieces.encode(["sea " * 7])[0] == Pieces(ids=(2, 5, 5, 5, 5, 5, 5, 3), cut=True)


def test_control_tokens_do_not_come_from_text(pieces: WordPieces) -> None:
    """What looks like one is letters and marks."""
    (found,) = pieces.encode(["[SEP]"])
    assert 3 not in found.ids[1:-1]


def test_another_form_is_refused() -> None:
    """With what the library says."""
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: cannot be read"):
        WordPieces("{}", 8)
