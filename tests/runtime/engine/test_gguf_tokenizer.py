"""The tokenizers that GGUF metadata describes, against transformers."""

import itertools
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Encoder
from tokenizers import models, pre_tokenizers, trainers

from antiphon.runtime.engine.gguf_tokenizer import from_gguf
from antiphon.runtime.engine.tokenizer import IncrementalDecoder, Tokenizer
from antiphon.runtime.errors import ModelFileError

TEXT = (
    "The sea is blue, the sky is blueish; foxes aren't. They'RE red in 1999 and 12345 of them, say: 3.14159!\n\n"
    "  def f(x):\r\n\treturn x**2  # naïve façade, Ünïcode, 日本語 и русский, 🎉🎉\n"
)
CONTROL = ("<|end|>", "<|start|>")
PIECES = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
WORDS = ("▁t", "he", "▁the", "ea", "▁s", "▁sea", "ue", "lue", "▁b", "▁blue", "is", "▁is", "ish", "in", "▁▁")


def byte_level(pre: str) -> dict[str, Any]:
    """Metadata of a tokenizer trained on TEXT, with a control token and a user-defined one."""
    encoder = Encoder(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    encoder.train_from_iterator([TEXT.lower(), TEXT], trainer)
    tokens = sorted(encoder.get_vocab(), key=encoder.get_vocab().__getitem__)
    merges = [" ".join(pair) for pair in _merges(encoder)]
    return _metadata(
        "gpt2",
        pre=pre,
        tokens=[*tokens, *CONTROL, "<tool>"],
        merges=merges,
        token_type=[1] * len(tokens) + [3, 3, 4],
        eos_token_id=len(tokens),
    )


def sentence_pieces(**extra: Any) -> dict[str, Any]:
    """Metadata of a small SentencePiece model: control tokens, bytes, letters, and longer pieces that score better the
    earlier they stand."""
    letters = sorted({character for word in WORDS for character in word})
    tokens = [*PIECES, *WORDS, *letters]
    scores = [0.0] * len(PIECES) + [-float(rank) for rank in range(len(WORDS) + len(letters))]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - len(PIECES))]
    ids = {"unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return _metadata("llama", tokens=tokens, scores=scores, token_type=kinds, **ids, **extra)


def _metadata(model: str, **entries: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{name}": value for name, value in {"model": model, **entries}.items()}


def _merges(encoder: Encoder) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(encoder.to_str())["model"]["merges"]]


@cache
def both(kind: str) -> tuple[Tokenizer, Any]:
    """Ours, and transformers' own class or the one it makes of a GGUF file."""
    import transformers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

    metadata = sentence_pieces() if kind == "llama" else byte_level(kind)
    short = {name.removeprefix("tokenizer.ggml."): value for name, value in metadata.items()}
    if kind == "qwen2":  # its class composes characters first, as its tokenizer.json does; the GGUF reader forgets to
        vocabulary = {token: index for index, token in enumerate(short["tokens"])}
        pairs: Any = [tuple(merge.split(" ")) for merge in short["merges"]]
        reference: Any = transformers.Qwen2Tokenizer(vocab=vocabulary, merges=pairs)
        reference.add_tokens(["<tool>"])
        return from_gguf(metadata), reference.backend_tokenizer
    entries = {"tokenizer_type": short.pop("model"), "pre_tokenizer_type": short.pop("pre", None), **short}
    return from_gguf(metadata), convert_gguf_tokenizer("llama", entries)[0]


@pytest.mark.parametrize("kind", ["gpt-2", "llama-bpe", "qwen2", "llama"])
@settings(max_examples=60)
@given(
    pieces=st.lists(
        st.sampled_from([*"thesaiblu'REréd 1234567890\n\r\t_.,!?-日本\u0301🎉<>|", " the", "  ", "<tool>"]), max_size=30
    )
)
def test_ids_agree_with_transformers(kind: str, pieces: list[str]) -> None:
    """For text with everything that cutting into words looks at: contractions, digits, spaces, lines, marks."""
    (ours, theirs), text = both(kind), "".join(pieces)
    if kind == "llama":  # transformers leaves the first space out where there is one; llama.cpp and the original do not
        text = text.lstrip(" ▁")
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_every_way_of_cutting_keeps_the_text(kind: str) -> None:
    """Whatever the words, the bytes come back; digits go in ones, threes, or as they come."""
    tokenizer = from_gguf(byte_level(kind))
    decoder = IncrementalDecoder(tokenizer)
    assert "".join(map(decoder.push, tokenizer.encode(TEXT))) == TEXT
    assert tokenizer.highest_id == len(byte_level(kind)["tokenizer.ggml.tokens"]) - 1


def test_control_tokens_are_never_read_from_text() -> None:
    """User-defined ones are, as in transformers: they are words, not commands."""
    tokenizer = from_gguf(byte_level("qwen2"))
    assert set(tokenizer.control) == set(CONTROL)
    assert not set(tokenizer.encode("a<|end|>b")) & set(tokenizer.control.values())
    (tool,) = tokenizer.encode("<tool>")
    assert tokenizer.token_bytes(tool) == b"<tool>"


def test_sentence_pieces_join_by_score_and_spell_what_they_lack() -> None:
    """The best pair first, not the longest piece; a character without a piece becomes its bytes."""
    tokenizer = from_gguf(sentence_pieces())
    tokens = sentence_pieces()["tokenizer.ggml.tokens"]
    assert [tokens[token] for token in tokenizer.encode("the blue é")] == [
        "▁the", "▁blue", "▁", "<0xC3>", "<0xA9>"
    ]  # fmt: skip
    decoder = IncrementalDecoder(tokenizer)
    assert "".join(map(decoder.push, tokenizer.encode("the blue é"))) == " the blue é"
    assert (tokenizer.bos, tokenizer.eos, set(tokenizer.stop_ids)) == ("<s>", "</s>", {2})


def test_a_file_may_ask_for_no_space_in_front() -> None:
    """Of the first word."""
    tokens = sentence_pieces()["tokenizer.ggml.tokens"]
    plain = from_gguf(sentence_pieces(add_space_prefix=False))
    assert [tokens[token] for token in plain.encode("the sea")] == ["t", "he", "▁sea"]


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"model": "bert"}, "found tokenizer 'bert', supported: gpt2, llama"),
    ({"model": ["gpt2"]}, "found tokenizer"),
    ({"pre": "odd"}, "found pre-tokenizer 'odd', supported: gpt-2, smollm, llama-bpe, qwen2"),
    ({"pre": ["qwen2"]}, "found pre-tokenizer"),
    ({"tokens": None}, r"found nothing as tokenizer\.ggml\.tokens, expected an array of str"),
    ({"tokens": "abc"}, r"found str as tokenizer\.ggml\.tokens"),
    ({"tokens": [1, 2]}, "expected an array of str"),
    ({"merges": ["b c"]}, "merges do not fit"),
    ({"merges": ["b"]}, "merges do not fit"),
    ({"merges": None}, r"found nothing as tokenizer\.ggml\.merges"),
    ({"token_type": ["x"]}, r"tokenizer\.ggml\.token_type, expected an array of int"),
    ({"eos_token_id": None}, r"has no tokenizer\.ggml\.eos_token_id"),
    ({"eos_token_id": 10**6}, r"found tokenizer\.ggml\.eos_token_id = 1000000, expected 0 to"),
    ({"bos_token_id": -1}, r"found tokenizer\.ggml\.bos_token_id = -1"),
    ({"eot_token_id": "x"}, r"found tokenizer\.ggml\.eot_token_id = 'x'"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_metadata_that_is_no_tokenizer_is_refused(change: dict[str, Any], message: str) -> None:
    """With the entry's name, what was found and what was expected."""
    metadata = byte_level("qwen2") | {f"tokenizer.ggml.{name}": value for name, value in change.items()}
    with pytest.raises(ModelFileError, match=message):
        from_gguf(metadata)


@pytest.mark.parametrize(
    "change", [{"scores": None}, {"scores": [0.0]}, {"tokens": ["x" * 500]}, {"unknown_token_id": 10**6}]
)
def test_sentence_pieces_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    """Scores for each piece, and no piece so long that cutting it takes for ever."""
    metadata = sentence_pieces() | {f"tokenizer.ggml.{name}": value for name, value in change.items()}
    with pytest.raises(ModelFileError, match="GGUF metadata: found"):
        from_gguf(metadata)


def test_tokens_outside_the_byte_alphabet_stand_for_themselves() -> None:
    """Some files spell rare tokens out instead of writing their bytes."""
    metadata = byte_level("gpt-2")
    tokens = metadata["tokenizer.ggml.tokens"]
    odd = from_gguf(metadata | {"tokenizer.ggml.tokens": [*tokens, "two words"]})
    assert odd.token_bytes(len(tokens)) == b"two words"
    assert set(itertools.chain(*map(odd.token_bytes, range(256)))) == set(range(256))


@pytest.mark.parametrize(
    ("metadata", "begins"),
    [
        (sentence_pieces(), True),
        (sentence_pieces() | {"tokenizer.ggml.add_bos_token": False}, False),
        (byte_level("gpt-2") | {"tokenizer.ggml.bos_token_id": 9}, False),
        (byte_level("llama-bpe") | {"tokenizer.ggml.bos_token_id": 9}, True),
        (byte_level("gpt-2") | {"tokenizer.ggml.bos_token_id": 9, "tokenizer.ggml.add_bos_token": True}, True),
        (byte_level("gpt-2") | {"tokenizer.ggml.add_bos_token": True}, False),
    ],
    ids=("llama", "llama-off", "gpt2", "llama3", "gpt2-on", "no-token"),
)
def test_a_prompt_of_text_begins_as_the_file_says(metadata: dict[str, Any], begins: bool) -> None:
    """``add_bos_token``, or where it is missing what llama.cpp takes for granted of the tokenizer."""
    tokenizer = from_gguf(metadata)
    first = [metadata["tokenizer.ggml.bos_token_id"]] if begins else []
    assert tokenizer.begin("the sea") == [*first, *tokenizer.encode("the sea")]
