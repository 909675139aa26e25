"""Text to token ids for BERT: WordPiece, as a checkpoint's ``tokenizer.json`` defines it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer as Encoder

from antiphon.runtime.errors import ModelFileError


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A text as ids, the leading and closing control tokens included; ``cut`` says that its end did not fit."""

    ids: tuple[int, ...]
    cut: bool


class WordPieces:
    """Ids of texts. Control tokens frame a text and never come from within it."""

    def __init__(self, tokenizer_json: str, context_tokens: int) -> None:
        """``context_tokens``: the most ids a text gets.

        Raises:
            ModelFileError: not the tokenizers library's form, or no room for a token of the text.
        """
        try:
            encoder = Encoder.from_str(tokenizer_json)
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelFileError(f"tokenizer.json: cannot be read ({error}); pull or copy it again") from error
        framing = encoder.num_special_tokens_to_add(is_pair=False)
        if context_tokens <= framing:
            raise ModelFileError(
                f"found texts of {context_tokens} tokens, expected more than the {framing} around each"
            )
        encoder.no_padding()
        encoder.enable_truncation(context_tokens)
        encoder.encode_special_tokens = True  # that is: take "[SEP]" in a text as text
        self._encoder = encoder

    @property
    def highest_id(self) -> int:
        """The largest id of a token, -1 without any."""
        return max(self._encoder.get_vocab().values(), default=-1)

    def encode(self, texts: Sequence[str]) -> list[Pieces]:
        """The texts as ids, each on its own.

        Raises:
            ModelFileError: the tokenizer lacks what it needs for these texts.
        """
        try:
            found = self._encoder.encode_batch(list(texts))
        except Exception as error:  # tokenizers raises bare Exception, for an unknown token that is itself unknown
            raise ModelFileError(f"tokenizer: cannot encode ({error}); pull or copy it again") from error
        return [Pieces(ids=tuple(each.ids), cut=bool(each.overflowing)) for each in found]
