"""Text to token ids and back, for byte-level and SentencePiece-style BPE."""

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Encoder

from antiphon.runtime.errors import ModelFileError

_CONTROL = 3  # GGUF token type
_LLAMA3_WORDS = (  # Llama 3's release code
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer:
    """Ids of text, and bytes of ids. Control tokens come only from ``control``, never from text."""

    def __init__(self, encoder: Encoder, *, stop_ids: Iterable[int], bos: str = "", eos: str = "") -> None:
        """``encoder`` knows the control tokens as added special tokens.

        Raises:
            ModelFileError: a decoder that is neither byte-level nor byte-fallback BPE.
        """
        encoder.encode_special_tokens = True  # that is: take "<|im_end|>" in a text as text
        self._encoder = encoder
        self.stop_ids = frozenset(stop_ids)
        self.bos = bos
        self.eos = eos
        added = encoder.get_added_tokens_decoder()
        self.control = {token.content: index for index, token in added.items() if token.special}
        self._control_ids = frozenset(self.control.values())
        self._added = {index: token.content.encode() for index, token in added.items()}
        decoder = json.dumps(json.loads(encoder.to_str())["decoder"])
        self._byte_level = '"ByteLevel"' in decoder
        if not self._byte_level and '"ByteFallback"' not in decoder:
            raise ModelFileError(f"tokenizer: found decoder {decoder[:200]}, supported: ByteLevel, ByteFallback")
        self._bytes_of = {character: byte for byte, character in _byte_characters().items()}

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, no token added and none of it read as a control token."""
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def token_bytes(self, token: int) -> bytes:
        """What ``token`` stands for in the output; nothing for control tokens and ids beyond the vocabulary."""
        if token in self._control_ids:
            return b""
        if token in self._added:
            return self._added[token]
        text = self._encoder.id_to_token(token)
        if text is None:
            return b""
        if self._byte_level:
            return bytes(self._bytes_of[character] for character in text)
        fallback = _BYTE_FALLBACK.fullmatch(text)
        return bytes.fromhex(fallback[1]) if fallback else text.replace("▁", " ").encode()

    def to_json(self) -> str:
        """The encoder in the ``tokenizer.json`` form, for libraries that read it."""
        text: str = self._encoder.to_str()
        return text


class IncrementalDecoder:
    """Ids to text as they come; bytes of a character are held back until it is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that ``token`` completes, perhaps none. A character left incomplete at the end is dropped."""
        return self._utf8.decode(self._tokenizer.token_bytes(token))


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer in a GGUF file's metadata.

    Raises:
        ModelFileError: entries missing or of a kind of tokenizer this engine does not build.
    """
    model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "gpt-2")
    if model != "gpt2":
        raise ModelFileError(f"GGUF metadata: found tokenizer {model!r}, supported: gpt2 (byte-level BPE)")
    words = _pre_tokenizers()
    if pre not in words:
        raise ModelFileError(f"GGUF metadata: found pre-tokenizer {pre!r}, supported: {', '.join(words)}")
    try:
        tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
        stops = {int(metadata["tokenizer.ggml.eos_token_id"])}
    except KeyError as error:
        raise ModelFileError(f"GGUF metadata: has no {error}; expected a complete byte-level BPE tokenizer") from error
    stops |= {int(metadata[name]) for name in ("tokenizer.ggml.eot_token_id",) if name in metadata}
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    try:
        encoder = Encoder(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=pre == "llama-bpe"))
    except Exception as error:  # tokenizers raises bare Exception for a merge whose token is not in the vocabulary
        raise ModelFileError(f"GGUF metadata: the tokenizer's merges do not fit its tokens ({error})") from error
    encoder.pre_tokenizer = words[pre]
    encoder.decoder = decoders.ByteLevel()
    kinds = metadata.get("tokenizer.ggml.token_type", ())
    control = [token for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL]
    encoder.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    return Tokenizer(
        encoder,
        stop_ids=stops,
        bos="" if bos is None or bos >= len(tokens) else tokens[bos],
        eos=next((tokens[index] for index in sorted(stops) if index < len(tokens)), ""),
    )


def from_hf(tokenizer_json: str, tokenizer_config: Mapping[str, Any], stop_ids: Iterable[int]) -> Tokenizer:
    """The tokenizer in a Hugging Face folder.

    Raises:
        ModelFileError: not the tokenizers library's form, or not BPE with bytes.
    """
    try:
        encoder = Encoder.from_str(tokenizer_json)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFileError(f"tokenizer.json: cannot be read ({error}); pull or copy it again") from error
    encoder.no_padding()
    encoder.no_truncation()
    bos, eos = (_content(tokenizer_config.get(name)) for name in ("bos_token", "eos_token"))
    end = encoder.token_to_id(eos) if eos else None
    return Tokenizer(encoder, stop_ids={*stop_ids, *(() if end is None else (end,))}, bos=bos, eos=eos)


def _content(token: object) -> str:
    """A token in tokenizer_config.json is a string or an object with its content."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else ""


def _pre_tokenizers() -> dict[str, pre_tokenizers.PreTokenizer]:
    """By GGUF name: how text is cut into words before merging."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return {
        "gpt-2": byte_level,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]),
        "llama-bpe": pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_LLAMA3_WORDS), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    }


def _byte_characters() -> dict[int, str]:
    """Byte to printable character, as in GPT-2's release code: printable Latin-1 stands for itself."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}
