"""How much may be done beside the ordinary work."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.policies.tokens import SAVED, Purses, Tokens


@given(st.floats(0.001, 0.5), st.lists(st.booleans(), max_size=300))
def test_extras_stay_within_their_share(share: float, wanted: list[bool]) -> None:
    """Whatever calls want one, after each the extras are at most the share of the calls so far."""
    tokens, extras = Tokens(0.0), 0
    for calls, wants in enumerate(wanted, start=1):
        tokens.earn(share)
        extras += wants and tokens.take()
        assert extras <= share * calls + 1e-6


def test_the_share_can_be_used_up() -> None:
    """With one in ten, a call of every ten has an extra, however the tenths round."""
    tokens, extras = Tokens(0.0), 0
    for _ in range(1_000):
        tokens.earn(0.1)
        extras += tokens.take()
    assert extras == 100


def test_a_quiet_time_saves_no_more_than_so_much() -> None:
    """After a million calls without extras there are SAVED tokens, and then none."""
    tokens = Tokens(0.0)
    for _ in range(1_000):
        tokens.earn(0.5)
    assert [tokens.take() for _ in range(int(SAVED) + 1)] == [True] * int(SAVED) + [False]


def test_purses_are_apart_and_bounded() -> None:
    """Each policy has its own tokens; one that was not used for long begins anew."""
    purses = Purses(1.0)
    assert purses.of("a").take()
    assert purses.of("b").take()
    assert not purses.of("a").take()
    for number in range(256):
        purses.of(f"other-{number}")
    assert purses.of("a").take()
