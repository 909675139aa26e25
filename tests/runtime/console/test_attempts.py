import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.console.attempts import ADDRESSES, ALL, EACH, Attempts, place_of


def test_after_some_at_once_one_has_to_wait() -> None:
    """And then gets one more for every minute; asking while one waits costs nothing."""
    attempts = Attempts()
    assert [attempts.take("10.0.0.1", 100.0) for _ in range(EACH.at_once)] == [0.0] * EACH.at_once
    assert attempts.take("10.0.0.1", 100.0) == EACH.every_s
    assert attempts.take("10.0.0.1", 110.0) == pytest.approx(EACH.every_s - 10)
    assert attempts.take("10.0.0.2", 110.0) == 0.0
    assert attempts.take("10.0.0.1", 100.0 + EACH.every_s) == 0.0
    assert attempts.take("10.0.0.1", 100.0 + EACH.every_s) > 0


def test_whoever_succeeds_is_not_slowed() -> None:
    """However often they sign in."""
    attempts = Attempts()
    for _ in range(10 * ALL.at_once):
        assert attempts.take("10.0.0.1", 0.0) == 0.0
        attempts.succeeded("10.0.0.1")


@given(
    st.lists(
        st.tuples(st.integers(0, 3_000).map(lambda n: f"10.1.{n // 250}.{n % 250}"), st.floats(0, 0.5)), max_size=400
    )
)
def test_many_addresses_have_no_more_together(tries: list[tuple[str, float]]) -> None:
    """Whatever they do, guesses stay below what all have, and no address gets more than its own."""
    attempts, now_s, begun = Attempts(), 0.0, 0
    mine: dict[str, int] = {}
    for address, later_s in tries:
        now_s += later_s
        if attempts.take(address, now_s) == 0.0:
            begun += 1
            mine[address] = mine.get(address, 0) + 1
    assert begun <= ALL.at_once + now_s / ALL.every_s + 1e-6
    assert all(count <= EACH.at_once + now_s / EACH.every_s + 1e-6 for count in mine.values())


def test_memory_is_bounded() -> None:
    """Addresses beyond a thousand push out the ones that were quiet longest."""
    attempts = Attempts()
    for n in range(3 * ADDRESSES):
        attempts.take(f"2001:db8:{n // 65536:x}:{n % 65536:x}::1", float(n))
    assert len(attempts._of) == ADDRESSES


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("", "somewhere", False),
    ],
)
def test_a_household_is_one_place(one: str, other: str, together: bool) -> None:
    """Whoever has one address of IPv6 has 2^64 of them."""
    assert (place_of(one) == place_of(other)) is together
