"""Text to ids and back."""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Encoder
from tokenizers import decoders, models, pre_tokenizers, processors

from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.testing import CONTROL, write_tiny_checkpoint
from antiphon.runtime.engine.tokenizer import IncrementalDecoder, Tokenizer, from_hf
from antiphon.runtime.errors import ModelFileError


@cache
def tiny_tokenizer(folder: Path) -> Tokenizer:
    """Built once: hypothesis asks many times."""
    return open_checkpoint(write_tiny_checkpoint(folder)).tokenizer


def decoded(tokenizer: Tokenizer, ids: list[int]) -> str:
    """All of it, token by token."""
    decoder = IncrementalDecoder(tokenizer)
    return "".join(decoder.push(token) for token in ids)


def test_digits_are_single_tokens(smollm2_tokenizer: Tokenizer) -> None:
    """SmolLM2 was trained so; GPT-2's own cutting would join them."""
    assert len(smollm2_tokenizer.encode("31415926")) == 8


@given(text=st.text())
def test_any_text_comes_back(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Encoding loses nothing, and no text makes a control token."""
    tokenizer = tiny_tokenizer(tmp_path_factory.getbasetemp() / "tokenizer")
    ids = tokenizer.encode(text)
    assert decoded(tokenizer, ids) == text
    assert not set(ids) & set(tokenizer.control.values())


def test_control_tokens_in_text_are_text(smollm2_tokenizer: Tokenizer) -> None:
    """A user who types a control token gets its letters."""
    for token in CONTROL:
        ids = smollm2_tokenizer.encode(f"x{token}y")
        assert not set(ids) & set(smollm2_tokenizer.control.values())
        assert decoded(smollm2_tokenizer, ids) == f"x{token}y"


def test_a_prompt_of_text_begins_as_the_file_says() -> None:
    """With what its post-processor puts before a text, and without what it puts behind one, which would end it."""
    words = {"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3, **{f"<0x{byte:02X}>": 4 + byte for byte in range(256)}}
    encoder = Encoder(models.BPE(vocab=words, merges=[], unk_token="<unk>", byte_fallback=True))
    encoder.decoder = decoders.Sequence([decoders.ByteFallback()])
    encoder.add_special_tokens(["<s>", "</s>"])
    for single, expected in ((None, [3, 3]), ("<s> $A </s>", [0, 3, 3]), ("$A </s>", [3, 3])):
        if single is not None:
            both = [("<s>", 0), ("</s>", 1)]
            encoder.post_processor = processors.TemplateProcessing(single=single, special_tokens=both)
        tokenizer = from_hf(encoder.to_str(), {"eos_token": "</s>"}, ())
        assert tokenizer.begin("aa") == expected
        assert tokenizer.encode("aa") == [3, 3]


def test_half_a_character_is_held_back(tiny_path: Path) -> None:
    """Bytes of one character arrive as four tokens and show at the last; invalid bytes become U+FFFD."""
    tokenizer = open_checkpoint(tiny_path).tokenizer
    ids = tokenizer.encode("🎉")
    assert len(ids) == 4
    decoder = IncrementalDecoder(tokenizer)
    assert [decoder.push(token) for token in ids] == ["", "", "", "🎉"]
    (letter,) = tokenizer.encode("a")
    assert [decoder.push(token) for token in (ids[0], letter)] == ["", "\ufffda"]


def test_control_tokens_and_unknown_ids_show_nothing(tiny_path: Path) -> None:
    """A vocabulary padded beyond the tokenizer's can yield ids nobody named."""
    tokenizer = open_checkpoint(tiny_path).tokenizer
    assert tokenizer.token_bytes(tokenizer.control["<|im_start|>"]) == b""
    assert tokenizer.token_bytes(100_000) == b""


def test_byte_fallback_tokenizers_decode() -> None:
    """The SentencePiece style of Llama 2: a block for the space, bytes spelled out."""
    encoder = Encoder(models.BPE(vocab={"<0x0A>": 0, "▁hi": 1, "x": 2}, merges=[], byte_fallback=True))
    encoder.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = from_hf(encoder.to_str(), {"eos_token": {"content": "x"}}, [])
    assert decoded(tokenizer, [1, 0, 2]) == " hi\nx"
    assert tokenizer.stop_ids == {2}


def test_tokenizers_of_another_kind_are_refused() -> None:
    """WordPiece, and what is no tokenizer at all."""
    encoder = Encoder(models.WordPiece(vocab={"[UNK]": 0}, unk_token="[UNK]"))
    encoder.decoder = decoders.WordPiece()
    with pytest.raises(ModelFileError, match="supported: ByteLevel, ByteFallback"):
        from_hf(encoder.to_str(), {}, [])
    with pytest.raises(ModelFileError, match="cannot be read"):
        from_hf(json.dumps({"model": 1}), {}, [])


def test_a_space_before_the_first_word_is_put_once() -> None:
    """As transformers does for the newer SentencePiece-style files: at the start of a conversation, not after a
    control token in it."""
    vocabulary = {"▁": 0, "h": 1, "i": 2, "▁h": 3, "▁hi": 4, "<s>": 5}
    encoder = Encoder(models.BPE(vocab=vocabulary, merges=[("▁", "h"), ("▁h", "i")]))
    encoder.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    encoder.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    encoder.add_special_tokens(["<s>"])
    tokenizer = from_hf(encoder.to_str(), {}, [])
    for text in ("hi", " hi", "▁hi", "hi hi", ""):
        assert tokenizer.encode(text) == encoder.encode(text).ids
        assert [5, *tokenizer.encode(text, continues=True)] == encoder.encode(f"<s>{text}").ids


def test_a_tokenizer_that_cannot_say_unknown_is_the_files_fault() -> None:
    """Its token for that is not among its tokens; it shows at the first text that needs it."""
    encoder = Encoder(models.BPE(vocab={"a": 0}, merges=[], unk_token="<unk>"))
    encoder.decoder = decoders.ByteFallback()
    tokenizer = from_hf(encoder.to_str(), {}, [])
    assert tokenizer.encode("a") == [0]
    with pytest.raises(ModelFileError, match="tokenizer: cannot encode"):
        tokenizer.encode("b")
