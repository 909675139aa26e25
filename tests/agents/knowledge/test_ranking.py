"""Two rankings become one."""

import pytest

from antiphon.agents.knowledge.ranking import fused


def test_what_both_have_comes_first() -> None:
    """Each ranking adds 1 / (60 + rank)."""
    scores = fused(["a", "b", "c"], ["d", "c"])
    assert list(scores) == ["c", "a", "d", "b"]
    assert scores["c"] == pytest.approx(1 / 63 + 1 / 62)
    assert scores["a"] == pytest.approx(1 / 61)


def test_nothing_gives_nothing() -> None:
    """Empty rankings are rankings."""
    assert fused([], []) == {}
    assert fused() == {}
