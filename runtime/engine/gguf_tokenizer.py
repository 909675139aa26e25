"""The tokenizer that a GGUF file's metadata describes: byte-level BPE ("gpt2") or SentencePiece's BPE ("llama")."""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Encoder

from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import ModelFileError

_CONTROL, _USER_DEFINED = 3, 4  # token types
_LONGEST_PIECE = 128  # characters; SentencePiece makes 16 by default, and cutting one in all ways is quadratic
_WORDS = (  # the release code of Llama 3, whose numbers have up to three digits, and of Qwen2, whose have one
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer in a GGUF file's metadata.

    Raises:
        ModelFileError: entries missing, mistyped, or of a kind of tokenizer this engine does not build.
    """
    fields = _Fields(metadata)
    tokens, kinds = fields.strings("tokens"), fields.integers("token_type")
    model = metadata.get("tokenizer.ggml.model")
    try:
        if model == "gpt2":
            encoder = _byte_level(fields, tokens)
        elif model == "llama":
            encoder = _sentence_pieces(fields, tokens)
        else:
            raise ModelFileError(f"GGUF metadata: found tokenizer {model!r}, supported: gpt2, llama")
        for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
            chosen = [token for token, found in zip(tokens, kinds, strict=False) if found == kind and token]
            encoder.add_tokens([AddedToken(token, special=special, normalized=False) for token in chosen])
    except ModelFileError:
        raise
    except Exception as error:  # tokenizers raises bare Exception for a merge whose token is not in the vocabulary
        raise ModelFileError(f"GGUF metadata: the tokenizer's merges do not fit its tokens ({error})") from error
    bos = fields.token("bos_token_id", len(tokens))
    ends = [fields.token(f"{name}_token_id", len(tokens)) for name in ("eos", "eot", "eom")]
    stops = [index for index in ends if index is not None]
    if not stops:
        raise ModelFileError("GGUF metadata: has no tokenizer.ggml.eos_token_id; expected a complete tokenizer")
    # Files that do not say are of models that begin with it where their tokenizer is Llama's: llama.cpp's rule.
    begins = fields.get("add_bos_token", model == "llama" or fields.get("pre", "") == "llama-bpe")
    first = [bos] if begins is True and bos is not None else []
    return Tokenizer(encoder, stop_ids=stops, bos="" if bos is None else tokens[bos], eos=tokens[stops[0]], first=first)


class _Fields:
    """Typed access to the tokenizer's entries."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    def get(self, name: str, default: object) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{name}", default)

    def strings(self, name: str) -> list[str]:
        return self._list(name, str)

    def integers(self, name: str) -> list[int]:
        return self._list(name, int) if self.get(name, None) is not None else []

    def numbers(self, name: str) -> list[float]:
        return self._list(name, float)

    def token(self, name: str, tokens: int) -> int | None:
        found = self.get(name, None)
        if found is None or (isinstance(found, int) and 0 <= found < tokens):
            return found
        raise ModelFileError(f"GGUF metadata: found tokenizer.ggml.{name} = {found!r}, expected 0 to {tokens - 1}")

    def _list(self, name: str, kind: type) -> list[Any]:
        found = self.get(name, None)
        if not isinstance(found, list) or not all(isinstance(item, kind) for item in found):
            what = type(found).__name__ if found is not None else "nothing"
            raise ModelFileError(
                f"GGUF metadata: found {what} as tokenizer.ggml.{name}, expected an array of {kind.__name__}"
            )
        return found


def _byte_level(fields: _Fields, tokens: list[str]) -> Encoder:
    pre, words = fields.get("pre", "gpt-2"), _pre_tokenizers()
    if not isinstance(pre, str) or pre not in words:
        raise ModelFileError(f"GGUF metadata: found pre-tokenizer {pre!r}, supported: {', '.join(words)}")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges: Any = [tuple(merge.split(" ", 1)) for merge in fields.strings("merges")]
    encoder = Encoder(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe"))
    if pre == "qwen2":
        encoder.normalizer = normalizers.NFC()
    encoder.pre_tokenizer = words[pre]
    encoder.decoder = decoders.ByteLevel()
    return encoder


def _pre_tokenizers() -> dict[str, pre_tokenizers.PreTokenizer]:
    """By GGUF name: how text is cut into words before merging."""
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def by(pattern: str) -> pre_tokenizers.PreTokenizer:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    return {
        "gpt-2": whole,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole]),
        "llama-bpe": by(_WORDS % "{1,3}"),
        "qwen2": by(_WORDS % ""),
    }


def _sentence_pieces(fields: _Fields, tokens: list[str]) -> Encoder:
    """SentencePiece joins the two neighbours whose union scores best, llama.cpp too: merges ordered by score."""
    scores = fields.numbers("scores")
    longest = max(map(len, tokens), default=0)
    if len(scores) != len(tokens) or longest > _LONGEST_PIECE:
        raise ModelFileError(
            f"GGUF metadata: found {len(scores)} scores for {len(tokens)} tokens of at most {longest} characters, "
            f"expected one each and {_LONGEST_PIECE} characters at most"
        )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    ranked = []
    for token, score in zip(tokens, scores, strict=True):
        cuts = [(token[:at], token[at:]) for at in range(1, len(token))]
        ranked += [(-score, pair) for pair in cuts if pair[0] in vocabulary and pair[1] in vocabulary]
    ranked.sort(key=lambda each: each[0])
    unknown = fields.token("unknown_token_id", len(tokens))
    encoder = Encoder(
        models.BPE(
            vocab=vocabulary,
            merges=[pair for _, pair in ranked],
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces = normalizers.Replace(" ", "▁")
    if fields.get("add_space_prefix", True):
        encoder.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
    else:
        encoder.normalizer = spaces
    encoder.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return encoder
