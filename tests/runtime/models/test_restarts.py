"""When a process that ended may be started again."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.models.restarts import Intensity, Restarts

INTENSITY = Intensity(most=3, within_s=60.0, rest_s=30.0, first_wait_s=1.0, longest_wait_s=3.0)


def test_the_first_restart_is_at_once_and_later_ones_wait() -> None:
    """Twice as long each time, up to a bound."""
    restarts = Restarts(Intensity(most=9, within_s=60.0, first_wait_s=1.0, longest_wait_s=3.0))
    waits = []
    for now_s in range(5):
        restarts.failed(float(now_s))
        waits.append(restarts.wait_s(float(now_s)))
    assert waits == [0.0, 1.0, 2.0, 3.0, 3.0]


def test_too_many_failures_are_followed_by_a_rest_and_one_attempt() -> None:
    """An attempt after the rest that fails is followed by another rest; old failures are forgotten."""
    restarts = Restarts(INTENSITY)
    for now_s in (0.0, 1.0, 2.0):
        assert restarts.rest_s(now_s) == 0.0
        restarts.failed(now_s)
    assert restarts.rest_s(2.0) == 30.0
    assert restarts.rest_s(22.0) == 10.0
    assert restarts.rest_s(32.0) == 0.0
    restarts.failed(33.0)
    assert restarts.rest_s(33.0) == 30.0
    assert restarts.rest_s(33.0 + 60.0) == 0.0
    assert restarts.wait_s(33.0 + 60.0) == 0.0
    assert restarts.total == 4


@given(st.lists(st.floats(0.0, 20.0), max_size=60))
def test_no_loop_is_tight(gaps: list[float]) -> None:
    """However a process fails, it is started at most ``most`` times in a window, and once more a rest."""
    restarts = Restarts(INTENSITY)
    now_s, starts = 0.0, [0.0]
    for lived_s in gaps:
        now_s += lived_s
        restarts.failed(now_s)
        now_s += restarts.rest_s(now_s)
        now_s += restarts.wait_s(now_s)
        starts.append(now_s)
    for start_s in starts:
        assert sum(start_s <= other_s < start_s + INTENSITY.within_s for other_s in starts) <= 3 + 60 / 30 + 1
