"""What a reader of a stream sees, whatever the bus does to the batches."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.delivery.following import Ordering
from antiphon.schemas.task import Restarted, StreamBatch, StreamEnd, StreamItem, TaskState, Token


def sent(sizes: list[list[int]]) -> list[StreamBatch]:
    """Batches of several attempts; every token names its attempt and number; each attempt ends explicitly."""
    out: list[StreamBatch] = []
    for attempt, batches in enumerate(sizes, 1):
        n = 0
        for index, size in enumerate(batches):
            items: list[StreamItem] = [Token(text=f"{attempt}:{n + i}") for i in range(size)]
            if index == len(batches) - 1:
                items.append(StreamEnd(state=TaskState.SUCCEEDED))
            out.append(StreamBatch(task="t", attempt=attempt, n=n, items=tuple(items)))
            n += len(items)
    return out


SENT = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3).map(sent)


@st.composite
def disturbed(draw: st.DrawFn) -> tuple[list[StreamBatch], list[StreamBatch]]:
    """What was sent and what arrived: some of it, in any order, some of it twice."""
    batches = draw(SENT)
    return batches, draw(st.lists(st.sampled_from(batches), max_size=20))


@given(disturbed())
def test_nothing_is_shown_twice_or_out_of_order(case: tuple[list[StreamBatch], list[StreamBatch]]) -> None:
    """After any loss, duplication and lateness the tokens still ascend, and attempts are announced."""
    _, arrived = case
    ordering = Ordering()
    shown: list[tuple[int, int]] = []
    current = 0
    for batch in arrived:
        for item in ordering.take(batch):
            if isinstance(item, Restarted):
                assert item.attempt > current
                current = item.attempt
            else:
                assert isinstance(item, Token)
                attempt, n = (int(part) for part in item.text.split(":"))
                assert current in (0, attempt), "an attempt began without Restarted"
                current = attempt
                shown.append((attempt, n))
    assert shown == sorted(set(shown))


@given(SENT)
def test_in_order_everything_is_shown(batches: list[StreamBatch]) -> None:
    """A bus that does its work loses nothing: all tokens, a Restarted between attempts, no gap, an end."""
    ordering = Ordering()
    shown = [item for batch in batches for item in ordering.take(batch)]
    assert [item for item in shown if isinstance(item, Token)] == [
        item for batch in batches for item in batch.items if isinstance(item, Token)
    ]
    assert [item.attempt for item in shown if isinstance(item, Restarted)] == list(range(2, batches[-1].attempt + 1))
    assert ordering.missed == 0
    assert ordering.ended


def test_what_never_arrived_is_counted() -> None:
    """A gap shows in ``missed``; the reader goes on behind it."""
    first, second, third = sent([[2, 2, 1]])
    ordering = Ordering()
    assert len(ordering.take(first)) == 2
    assert [item.text for item in ordering.take(third) if isinstance(item, Token)] == ["1:4"]
    assert (ordering.missed, ordering.ended) == (2, True)
    assert ordering.take(second) == []
