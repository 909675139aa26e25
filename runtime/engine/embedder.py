"""Loads a BERT checkpoint and turns texts into vectors, on the thread that calls."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch.nn.functional import normalize

from antiphon.kernels.ops import mean_pool
from antiphon.runtime.engine.architectures.bert import Bert
from antiphon.runtime.engine.config import encoder_from_hf
from antiphon.runtime.engine.device import choose_place
from antiphon.runtime.engine.model_files import read_json, read_text
from antiphon.runtime.engine.weights import SafetensorsWeights
from antiphon.runtime.engine.word_pieces import Pieces, WordPieces
from antiphon.runtime.errors import ModelFileError

BATCH_TOKENS = 2048  # of one forward pass, padding included


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """One vector of length 1 a text, in order; ``tokens`` read; how many texts were cut because they did not fit."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: int
    cut: int


class Embedder:
    """A model in memory and its tokenizer. Not safe for several threads at once."""

    def __init__(self, model: Bert, pieces: WordPieces, *, context_tokens: int, pool_first: bool) -> None:
        """``pool_first``: a text's vector is that of its first token, and not the mean over all."""
        self.context_tokens = context_tokens
        self._model = model
        self._pieces = pieces
        self._pool_first = pool_first

    @classmethod
    def load(cls, path: Path, *, dtype: str = "auto", threads: int = 1) -> Self:
        """Read the Hugging Face folder at ``path``; ``dtype`` and ``threads`` as ``choose_place`` takes them.

        The files of sentence-transformers beside it are followed: how long texts may be, and how they are pooled
        (without one, by the mean).

        Raises:
            ConfigurationError: an unknown dtype or fewer than one thread.
            ModelFileError: nothing there, damaged, or not supported.
        """
        place = choose_place(dtype, threads)
        config = encoder_from_hf(read_json(path / "config.json"))
        limit = read_json(path / "sentence_bert_config.json", required=False).get("max_seq_length")
        context_tokens = min(config.context_tokens, limit) if isinstance(limit, int) else config.context_tokens
        tokenizer = path / "tokenizer.json"
        if not tokenizer.is_file():
            raise ModelFileError(f"{path}: has no tokenizer.json, expected one; pull or copy it again")
        pieces = WordPieces(read_text(tokenizer), context_tokens)
        if pieces.highest_id >= config.vocabulary:
            raise ModelFileError(
                f"{path}: found token {pieces.highest_id} in the tokenizer, expected a vocabulary of "
                f"{config.vocabulary}; the files are of two models: pull or copy them again"
            )
        model = Bert(config, SafetensorsWeights(path), place.dtype, place.device)
        return cls(model, pieces, context_tokens=context_tokens, pool_first=_pools_first(path))

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], cancelled: threading.Event | None = None) -> Embedded | None:
        """The vectors, or None once ``cancelled``, which is looked at before each batch.

        Texts of like length share a batch, so little of it is padding.
        """
        pieces = self._pieces.encode(texts)
        vectors: list[tuple[float, ...]] = [()] * len(pieces)
        for batch in _batches(pieces):
            if cancelled is not None and cancelled.is_set():
                return None
            for index, vector in zip(batch, self._vectors([pieces[index].ids for index in batch]), strict=True):
                vectors[index] = tuple(vector)
        return Embedded(
            vectors=tuple(vectors),
            tokens=sum(len(each.ids) for each in pieces),
            cut=sum(each.cut for each in pieces),
        )

    def _vectors(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        longest = max(len(ids) for ids in texts)
        device = self._model.device
        ids = torch.tensor([[*each, *[0] * (longest - len(each))] for each in texts], device=device)
        lengths = torch.tensor([len(each) for each in texts], device=device)
        mask = torch.arange(longest, device=device) < lengths[:, None]
        hidden = self._model.forward(ids, mask)
        vectors = normalize(hidden[:, 0].float(), dim=1) if self._pool_first else mean_pool(hidden, lengths)
        found: list[list[float]] = vectors.tolist()
        return found


def _batches(pieces: Sequence[Pieces]) -> Iterator[list[int]]:
    """Indexes of texts, the longest first, in batches of at most BATCH_TOKENS, or one text."""
    batch: list[int] = []
    longest = 0
    for index in sorted(range(len(pieces)), key=lambda at: -len(pieces[at].ids)):
        if batch and (len(batch) + 1) * longest > BATCH_TOKENS:
            yield batch
            batch = []
        longest = longest if batch else len(pieces[index].ids)
        batch.append(index)
    if batch:
        yield batch


def _pools_first(path: Path) -> bool:
    """Raises ModelFileError for a way of pooling that is neither the first token nor the mean."""
    pooling = read_json(path / "1_Pooling" / "config.json", required=False)
    modes = {name for name, chosen in pooling.items() if name.startswith("pooling_mode_") and chosen}
    if modes <= {"pooling_mode_mean_tokens"}:
        return False
    if modes == {"pooling_mode_cls_token"}:
        return True
    raise ModelFileError(f"{path}: found pooling by {', '.join(sorted(modes))}, supported: mean_tokens or cls_token")
