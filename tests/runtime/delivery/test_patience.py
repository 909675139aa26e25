"""When a reader asks for what it misses, and when it goes on without."""

from itertools import pairwise

from antiphon.runtime.delivery.patience import ASK_S, GIVE_UP_S, IDLE_MAX_S, IDLE_S, Patience
from antiphon.schemas.task import Position

HERE = Position(1, 5)


def test_what_is_missing_is_asked_for_at_once_and_again_and_then_given_up() -> None:
    """Some requests, ASK_S apart, and an end after GIVE_UP_S."""
    patience, now = Patience(0.0), 0.0
    asked: list[float] = []
    while not (move := patience.next(now, HERE, missing=True, behind=False)).give_up:
        if move.ask:
            asked.append(now)
        assert move.wait_s > 0
        now += move.wait_s
    assert asked[0] == 0.0
    assert all(later - earlier >= ASK_S - 1e-9 for earlier, later in pairwise(asked))
    assert len(asked) >= 3
    assert abs(now - GIVE_UP_S) < 1e-9


def test_progress_renews_patience() -> None:
    """An answer that comes in pieces is not cut off."""
    patience, now = Patience(0.0), 0.0
    for n in range(20):
        now += GIVE_UP_S * 0.9
        assert not patience.next(now, Position(1, n), missing=True, behind=False).give_up


def test_a_silent_stream_is_asked_ever_less_often() -> None:
    """A lost connection is noticed within IDLE_S; a task that is parked for days costs next to nothing."""
    patience, now, asked = Patience(0.0), 0.0, []
    while now < 200:
        move = patience.next(now, HERE, missing=False, behind=False)
        assert not move.give_up
        if move.ask:
            asked.append(now)
        now += move.wait_s
    assert asked[0] == IDLE_S
    assert 10 < len(asked) < 20
    assert asked[-1] - asked[-2] == IDLE_MAX_S


def test_a_reader_that_fell_behind_asks_soon_but_gives_nothing_up() -> None:
    """Dropping batches is no proof that they are lost."""
    patience = Patience(0.0)
    assert patience.next(0.0, HERE, missing=False, behind=True).ask
    assert not patience.next(ASK_S / 2, HERE, missing=False, behind=True).ask
    assert patience.next(ASK_S, HERE, missing=False, behind=True).ask
    assert not patience.next(100.0, HERE, missing=False, behind=True).give_up
