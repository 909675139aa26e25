"""How long results stay good, by what was seen."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.staleness import MOST_S, Staleness


def noted(*pairs: tuple[float, bool, int]) -> float | None:
    """The ttl after ``count`` pairs of an age that agreed or not."""
    staleness = Staleness()
    for age_s, agreed, count in pairs:
        for _ in range(count):
            staleness.note(age_s, agreed)
    return staleness.ttl_s()


def test_the_oldest_age_that_agreed_is_the_ttl() -> None:
    """Thirty pairs at 4 s and thirty at 45 s agree: 45 s, and not the edge of the bucket."""
    assert noted((4, True, 30), (45, True, 30)) == 45


def test_disagreement_at_an_age_ends_it() -> None:
    """What agrees again beyond proves nothing."""
    assert noted((4, True, 30), (45, False, 30), (500, True, 100)) == 4


def test_fewer_than_thirty_pairs_say_nothing() -> None:
    """Neither alone, nor on top of an age that is known."""
    assert noted((4, True, 29)) is None
    assert noted((4, True, 30), (45, True, 29)) == 4


def test_one_in_a_hundred_may_differ() -> None:
    """99 % of the pairs must agree."""
    assert noted((4, True, 99), (4, False, 1)) == 4
    assert noted((4, True, 98), (4, False, 2)) is None


@given(st.lists(st.tuples(st.floats(allow_nan=True), st.booleans()), max_size=200))
def test_a_ttl_is_never_older_than_what_was_seen(pairs: list[tuple[float, bool]]) -> None:
    """Whatever ages come, negative or not numbers at all."""
    staleness = Staleness()
    for age_s, agreed in pairs:
        staleness.note(age_s, agreed)
    ttl_s = staleness.ttl_s()
    seen = [age_s for age_s, agreed in pairs if agreed and 0 <= age_s <= MOST_S]
    assert ttl_s is None or 0 < ttl_s <= max(seen) * (1 + 1e-9)
