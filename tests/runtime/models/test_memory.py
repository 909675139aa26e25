"""Models that fit, and models that do not."""

from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.runtime.engine.testing import write_tiny_checkpoint, write_tiny_encoder
from antiphon.runtime.errors import ModelFileError, NotEnoughMemory
from antiphon.runtime.models.checkpoint_facts import facts_of
from antiphon.runtime.models.memory import MemoryBook, Need, need_of
from antiphon.runtime.models.setting import LocalSetting

GB = 1 << 30


def test_two_models_wanting_more_than_there_is() -> None:
    """The error names both and the sum; the one that was refused leaves no claim, and asking again claims nothing."""
    book = MemoryBook(4 * GB)
    book.claim("first", Need(weights=2 * GB, cache=0, overhead=0))
    with pytest.raises(NotEnoughMemory) as caught:
        book.claim("second", Need(weights=2 * GB, cache=GB, overhead=0))
    for part in ("'first' needs about 2,048 MB", "'second' needs about 3,072 MB", "5,120 MB in all", "4,096 MB;"):
        assert part in caught.value.message
    assert caught.value.details == {"need_bytes": str(5 * GB), "available_bytes": str(4 * GB)}
    assert not caught.value.retryable
    book.claim("third", Need(weights=2 * GB, cache=0, overhead=0))
    book.claim("third", Need(weights=2 * GB, cache=0, overhead=0))


def test_a_system_that_does_not_say_refuses_nothing() -> None:
    """Rather than guess."""
    MemoryBook(None).claim("huge", Need(weights=1 << 60, cache=0))


def test_what_a_checkpoint_needs_follows_its_setting(tmp_path: Path) -> None:
    """Weights by their format, keys and values by how many are kept; vectors need no cache."""
    facts = facts_of(write_tiny_checkpoint(tmp_path / "tiny"))
    assert facts.size is not None
    small, large = (
        need_of(facts, LocalSetting(path="x", dtype=dtype, cache_tokens=640), bfloat16=True)
        for dtype in ("bfloat16", "float32")
    )
    assert small.weights == facts.size.parameters * 2
    assert large.weights == facts.size.parameters * 4
    assert small.cache == facts.size.kv_elements * 2 * 640
    for native, element in ((True, 2), (False, 4)):  # as auto chooses
        unsaid = need_of(facts, LocalSetting(path="x"), bfloat16=native)
        assert unsaid.cache == facts.size.kv_elements * element * 16 * 1024
        assert unsaid.weights == facts.size.parameters * element
    encoder = need_of(facts_of(write_tiny_encoder(tmp_path / "encoder")), LocalSetting(path="x"), bfloat16=True)
    assert encoder.cache == 0


def test_codes_are_counted_where_they_are_held(tmp_path: Path) -> None:
    """Beside the whole weights with auto; neither for a dtype that was asked for nor where replies do not depend on
    their company."""
    stored = facts_of(write_tiny_checkpoint(tmp_path / "tiny"))
    assert stored.size is not None
    facts = replace(stored, stored_bytes=stored.size.parameters // 2)
    whole = facts.size.parameters * 2 if facts.size else 0
    auto, asked, invariant = (
        need_of(facts, setting, bfloat16=True).weights
        for setting in (
            LocalSetting(path="x"),
            LocalSetting(path="x", dtype="bfloat16"),
            LocalSetting(path="x", batch_invariant=True),
        )
    )
    assert (auto, asked, invariant) == (whole + facts.stored_bytes, whole, whole)


def test_digests_tell_models_apart(tmp_path: Path) -> None:
    """The same files have the same digest, another shape has another; no files are an error."""
    first = facts_of(write_tiny_checkpoint(tmp_path / "a")).digest
    assert facts_of(write_tiny_checkpoint(tmp_path / "b")).digest == first
    assert facts_of(write_tiny_checkpoint(tmp_path / "c", hidden_size=64)).digest != first
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="found no weights"):
        facts_of(tmp_path / "empty")
