"""What a reader of a stream sees, whatever the bus does to the batches."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.delivery.ordering import Ordering, Seen
from antiphon.schemas.task import Gap, Position, Restarted, StreamBatch, StreamEnd, StreamItem, TaskState, Token


@dataclass
class Screen:
    """A reader: it keeps what it was shown by number, and strikes out what is void."""

    lines: list[str | None] = field(default_factory=list)  # None: missed
    position: Position = field(default_factory=Position)

    def show(self, events: list[Seen]) -> None:
        """Apply what the ordering says, as a user interface would."""
        for position, event in events:
            assert position > self.position, "a position that does not grow cannot be resumed from"
            self.position = position
            if isinstance(event, Restarted):
                assert event.n <= len(self.lines)
                del self.lines[event.n :]
            elif isinstance(event, Gap):
                assert event.n == len(self.lines)
                self.lines += [None] * event.missed
            else:
                assert isinstance(event, Token)
                assert position.n == len(self.lines) + 1
                self.lines.append(event.text)


def batches_of(attempts: list[tuple[int, list[int]]]) -> tuple[list[StreamBatch], list[str]]:
    """Batches of several attempts, and what stands when all is over; the last attempt ends explicitly.

    An attempt is the number it begins with (cut to what there is) and the sizes of its batches.
    """
    sent: list[StreamBatch] = []
    standing: list[str] = []
    starts: tuple[int, ...] = ()
    for attempt, (start, sizes) in enumerate(attempts, 1):
        starts = (*starts, min(start, len(standing)))
        del standing[starts[-1] :]
        for index, size in enumerate(sizes):
            n = len(standing)
            standing += [f"{attempt}:{n + i}" for i in range(size)]
            items: list[StreamItem] = [Token(text=text) for text in standing[n:]]
            if attempt == len(attempts) and index == len(sizes) - 1:
                items.append(StreamEnd(state=TaskState.SUCCEEDED))
            sent.append(StreamBatch(task="t", attempt=attempt, starts=starts, n=n, items=tuple(items)))
    return sent, standing


SENT = st.lists(
    st.tuples(st.integers(0, 8), st.lists(st.integers(1, 4), min_size=1, max_size=4)), min_size=1, max_size=4
).map(batches_of)


@given(SENT)
def test_in_order_everything_is_shown(case: tuple[list[StreamBatch], list[str]]) -> None:
    """A bus that does its work: what stands in the end is what was shown and not voided, and the end is seen."""
    batches, standing = case
    ordering, screen = Ordering(Position()), Screen()
    for batch in batches:
        screen.show(ordering.take(batch))
        assert not ordering.broken
    assert screen.lines == standing
    assert ordering.ended


@given(st.data(), SENT)
def test_the_order_of_arrival_does_not_matter(data: st.DataObject, case: tuple[list[StreamBatch], list[str]]) -> None:
    """Everything that arrives in the end, early, late or twice, gives the same text without a gap."""
    batches, standing = case
    ordering, screen = Ordering(Position()), Screen()
    for batch in [*data.draw(st.permutations(batches)), *data.draw(st.lists(st.sampled_from(batches), max_size=8))]:
        screen.show(ordering.take(batch))
    for batch in batches:  # what was late for a missing one in between is asked for again
        screen.show(ordering.take(batch))
    assert not ordering.broken
    assert screen.lines == standing
    assert ordering.ended


@given(st.data(), SENT)
def test_what_is_lost_is_shown_as_a_gap(data: st.DataObject, case: tuple[list[StreamBatch], list[str]]) -> None:
    """After any loss the text is right wherever it is not a gap, and nothing is missing without one."""
    batches, standing = case
    arrived = data.draw(st.lists(st.sampled_from(batches), max_size=12))
    ordering, screen = Ordering(Position()), Screen()
    for batch in [*arrived, batches[-1]]:
        screen.show(ordering.take(batch))
    while ordering.broken:
        screen.show(ordering.give_up())
    assert len(screen.lines) == len(standing)
    assert all(line in (None, right) for line, right in zip(screen.lines, standing, strict=True))
    assert ordering.ended


@given(st.data(), SENT)
def test_a_reader_goes_on_from_its_position(data: st.DataObject, case: tuple[list[StreamBatch], list[str]]) -> None:
    """Breaking off after any event and starting again at its position changes nothing."""
    batches, standing = case
    first, screen = Ordering(Position()), Screen()
    seen = [each for batch in batches for each in first.take(batch)]
    kept = seen[: data.draw(st.integers(0, len(seen)))]
    screen.show(kept)
    second = Ordering(screen.position)
    for batch in batches:
        screen.show(second.take(batch))
    assert screen.lines == standing


def test_an_attempt_that_showed_nothing_new_voids_nothing() -> None:
    """Restarted names the first number that is void, so that recorded work stays on the screen."""
    (first, second), _ = batches_of([(0, [3]), (2, [1])])
    ordering = Ordering(Position())
    ordering.take(first)
    restarted, token = ordering.take(second)
    assert restarted == Seen(Position(2, 2), Restarted(attempt=2, n=2))
    assert token == Seen(Position(2, 3), Token(text="2:2"))


def test_who_was_shown_nothing_is_told_of_no_restart() -> None:
    """The first thing a reader sees may be of a later attempt."""
    (_, second), _ = batches_of([(0, [3]), (0, [1])])
    assert [each.event for each in Ordering(Position()).take(second)] == [Token(text="2:0")]
