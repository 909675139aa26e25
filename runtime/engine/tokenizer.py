"""Text to token ids and back, for byte-level and SentencePiece-style BPE."""

import codecs
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

from tokenizers import Tokenizer as Encoder
from tokenizers import pre_tokenizers

from antiphon.runtime.errors import ModelFileError

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer:
    """Ids of text, and bytes of ids. Control tokens come only from ``control``, never from text."""

    def __init__(
        self, encoder: Encoder, *, stop_ids: Iterable[int], bos: str = "", eos: str = "", first: Iterable[int] = ()
    ) -> None:
        """``encoder`` knows the control tokens as added special tokens; the ids ``first`` begin every text that the
        model was trained on.

        Raises:
            ModelFileError: a decoder that is neither byte-level nor byte-fallback BPE.
        """
        encoder.encode_special_tokens = True  # that is: take "<|im_end|>" in a text as text
        self._encoder = encoder
        self._spaced = _take_over_first_space(encoder)
        self.stop_ids = frozenset(stop_ids)
        self.bos = bos
        self.eos = eos
        self._first = tuple(first)
        added = encoder.get_added_tokens_decoder()
        self.control = {token.content: index for index, token in added.items() if token.special}
        self._control_ids = frozenset(self.control.values())
        self._added = {index: token.content.encode() for index, token in added.items()}
        decoder = encoder.decoder.__getstate__().decode() if encoder.decoder else "none"
        self._byte_level = '"ByteLevel"' in decoder
        if not self._byte_level and '"ByteFallback"' not in decoder:
            raise ModelFileError(f"tokenizer: found decoder {decoder[:200]}, supported: ByteLevel, ByteFallback")
        self._bytes_of = {character: byte for byte, character in _byte_characters().items()}

    @property
    def highest_id(self) -> int:
        """The largest id of a token, -1 without any."""
        return max(self._encoder.get_vocab().values(), default=-1)

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """Ids of ``text``, no token added and none of it read as a control token.

        ``continues``: the text follows a control token. Some tokenizers put a space before the first word of a
        conversation and of nothing after it.

        Raises:
            ModelFileError: the tokenizer lacks what it needs for this text.
        """
        if self._spaced and not continues and text and not text.startswith((" ", "▁")):
            text = " " + text
        try:
            ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        except Exception as error:  # tokenizers raises bare Exception, for an unknown token that is itself unknown
            raise ModelFileError(f"tokenizer: cannot encode ({error}); pull or copy it again") from error
        return ids

    def begin(self, text: str) -> list[int]:
        """Ids of ``text`` with which a prompt begins that no chat template has made. Raises as ``encode``."""
        return [*self._first, *self.encode(text)]

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
            try:
                return bytes(self._bytes_of[character] for character in text)
            except KeyError:  # not of the byte alphabet: some files spell rare tokens out
                return text.encode()
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
    stops = {*stop_ids, *(() if end is None else (end,))}
    return Tokenizer(encoder, stop_ids=stops, bos=bos, eos=eos, first=_before_text(encoder))


def _before_text(encoder: Encoder) -> list[int]:
    """The ids that the file's post-processor puts before a text; what it puts behind would end a prompt."""
    try:
        found = encoder.encode("a")
    except Exception:  # tokenizers raises bare Exception; whoever has a text to encode hears of it
        return []
    ids = zip(found.ids, found.special_tokens_mask, strict=True)
    return [index for index, _ in takewhile(lambda each: each[1], ids)]


def _content(token: object) -> str:
    """A token in tokenizer_config.json is a string or an object with its content."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else ""


def _take_over_first_space(encoder: Encoder) -> bool:
    """Whether ``encoder`` put a space before the first word. It no longer does: it sees one piece of a conversation at
    a time, and cannot tell which is the first."""
    words: Any = encoder.pre_tokenizer
    if not isinstance(words, pre_tokenizers.Metaspace) or words.prepend_scheme != "first":
        return False
    words.prepend_scheme = "never"
    return True


def _byte_characters() -> dict[int, str]:
    """Byte to printable character, as in GPT-2's release code: printable Latin-1 stands for itself."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}
