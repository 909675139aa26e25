"""Texts to vectors: batches, pooling, and the real MiniLM against transformers."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from antiphon.runtime.engine import embedder as module
from antiphon.runtime.engine.embedder import Embedder
from antiphon.runtime.engine.testing import write_tiny_encoder
from antiphon.runtime.engine.word_pieces import Pieces
from antiphon.runtime.errors import ConfigurationError, ModelFileError

TEXTS = ["the sea is blue", "foxes", "", "the sky is blueish . the fox is red", "the sea is blue"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny random checkpoint."""
    return write_tiny_encoder(tmp_path / "tiny")


@pytest.fixture(scope="session")
def minilm(models_home: Path) -> Embedder:
    """The real model in float32."""
    return Embedder.load(models_home / "all-minilm-l6-v2", dtype="float32")


def vectors(embedder: Embedder, *texts: str) -> torch.Tensor:
    """The vectors of the texts, a row each."""
    found = embedder.embed(texts)
    assert found is not None
    return torch.tensor(found.vectors)


def test_a_vector_has_length_one_and_equal_texts_are_equal(folder: Path) -> None:
    """In the order of the texts, whatever their lengths; an empty text has one too."""
    found = vectors(Embedder.load(folder, dtype="float32"), *TEXTS)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(found[0], found[4])


def test_batches_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, together, or in batches of a few tokens."""
    embedder = Embedder.load(folder, dtype="float32")
    together = vectors(embedder, *TEXTS)
    alone = torch.cat([vectors(embedder, text) for text in TEXTS])
    monkeypatch.setattr(module, "BATCH_TOKENS", 12)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(vectors(embedder, *TEXTS), alone, atol=1e-5, rtol=1e-5)


def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By tokens with their padding; a text that is longer goes alone; none is left out."""
    monkeypatch.setattr(module, "BATCH_TOKENS", 12)
    pieces = [Pieces(ids=(0,) * length, cut=False) for length in (3, 20, 4, 4, 5, 3)]
    found = list(module._batches(pieces))
    assert found == [[1], [4, 2], [3, 0, 5]]


def test_texts_that_do_not_fit_are_counted(folder: Path) -> None:
    """And the tokens that were read."""
    found = Embedder.load(folder, dtype="float32").embed(["sea " * 100, "sea"])
    assert found is not None
    assert (found.tokens, found.cut) == (64 + 3, 1)


def test_cancelled_work_ends_before_the_next_batch(folder: Path) -> None:
    """With nothing."""
    cancelled = threading.Event()
    cancelled.set()
    assert Embedder.load(folder).embed(["sea"], cancelled) is None


def test_the_authors_length_and_pooling_are_followed(folder: Path) -> None:
    """From the files that sentence-transformers writes."""
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    mean = Embedder.load(folder, dtype="float32")
    assert mean.context_tokens == 8
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 32}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    first = Embedder.load(folder, dtype="float32")
    assert not torch.allclose(vectors(mean, "the sea"), vectors(first, "the sea"))
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ModelFileError, match="found pooling by pooling_mode_max_tokens"):
        Embedder.load(folder)


def test_what_is_missing_is_named(folder: Path) -> None:
    """A tokenizer, a number format, a thread."""
    with pytest.raises(ConfigurationError, match="found dtype 'int3'"):
        Embedder.load(folder, dtype="int3")
    with pytest.raises(ConfigurationError, match="found 0 threads"):
        Embedder.load(folder, threads=0)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"has no tokenizer\.json"):
        Embedder.load(folder)


def test_a_checkpoint_of_mixed_parts_is_refused(tmp_path: Path) -> None:
    """A tokenizer of another model, a length that leaves no room for a text, a tokenizer that cannot say unknown."""
    with pytest.raises(ModelFileError, match="found token 13 in the tokenizer, expected a vocabulary of 5"):
        Embedder.load(write_tiny_encoder(tmp_path / "small", vocab_size=5))
    folder = write_tiny_encoder(tmp_path / "tiny")
    for limit in (2, 0, -1):
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
        with pytest.raises(
            ModelFileError, match=f"found texts of {limit} tokens, expected more than the 2 around each"
        ):
            Embedder.load(folder)
    (folder / "sentence_bert_config.json").unlink()
    described = json.loads((folder / "tokenizer.json").read_text())
    described["model"]["unk_token"] = "[ABSENT]"
    (folder / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(ModelFileError, match="tokenizer: cannot encode"):
        Embedder.load(folder).embed(["mountains"])


def test_minilm_agrees_with_transformers(minilm: Embedder, models_home: Path) -> None:
    """Mean over the tokens, length 1, cut at 256: to 1e-5 for texts of every kind."""
    texts = ["reset my password", "Ünïcode, naïve 日本語 and [SEP]", "word " * 400, "", "recover account credentials"]
    folder = models_home / "all-minilm-l6-v2"
    reference: Any = transformers.BertModel.from_pretrained(folder)
    reference.eval()
    make_tokenizer: Any = transformers.PreTrainedTokenizerFast
    tokenizer = make_tokenizer(tokenizer_file=str(folder / "tokenizer.json"), split_special_tokens=True)
    found = vectors(minilm, *texts)
    for text, vector in zip(texts, found, strict=True):
        given = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = reference(input_ids=given.input_ids).last_hidden_state
        expected = torch.nn.functional.normalize(hidden.mean(1), dim=1)[0]
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=0)


def test_minilm_knows_what_is_alike(minilm: Embedder) -> None:
    """As measured before this engine had the model: about 0.6 for the same in other words, 0 for the weather."""
    found = vectors(minilm, "reset my password", "recover account credentials", "The weather is nice today.")
    cosines = found @ found.T
    assert cosines[0, 1] == pytest.approx(0.62, abs=0.03)
    assert abs(float(cosines[0, 2])) < 0.1


def test_bfloat16_is_near_enough(minilm: Embedder, models_home: Path) -> None:
    """Half the time on processors that compute it, and the same neighbours: cosines within 0.01."""
    small = Embedder.load(models_home / "all-minilm-l6-v2", dtype="bfloat16")
    texts = ("reset my password", "recover account credentials", "The weather is nice today.")
    exact, near = vectors(minilm, *texts), vectors(small, *texts)
    assert float((exact * near).sum(1).min()) > 0.999
    torch.testing.assert_close(near @ near.T, exact @ exact.T, atol=0.01, rtol=0)
