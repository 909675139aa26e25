"""A mapping that forgets what was used longest ago."""

from antiphon.agents.logging_agent.recent import Recent


def test_the_one_used_longest_ago_is_forgotten() -> None:
    """Reading keeps a key as well as writing does."""
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    assert len(recent) == 2


def test_a_missing_value_is_made_once() -> None:
    """What was made is what the next one gets."""
    recent: Recent[str, list[int]] = Recent(2)
    recent.make("a", list).append(1)
    assert recent.make("a", list) == [1]
