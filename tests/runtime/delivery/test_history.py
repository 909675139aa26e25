"""What a journal means, however it was cut into batches: attempts, ownership, and which results still count."""

import base64
import itertools

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.delivery.history import Claim, History, follows, split
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind

Tree = list["Tree | None"]  # a line of a handler: operations (None) and those that have branches

trees: st.SearchStrategy[Tree] = st.recursive(
    st.lists(st.none(), max_size=3),
    lambda inner: st.lists(st.none() | st.lists(inner, min_size=1, max_size=3), max_size=3),
    max_leaves=12,
)


def operation(path: str, *, error: bool = False) -> Entry:
    """A finished operation."""
    return Entry(kind=EntryKind.OPERATION, path=path, operation="run", error=b"{}" if error else b"")


def claim(*, counts: bool, origin: int = 1, wake: int = 0) -> Entry:
    """Somebody takes the task over."""
    return Entry(kind=EntryKind.CLAIM, value=Claim(node="n", origin=origin, wake=wake, counts=counts).encode())


def park(number: int, *waits: Wait) -> Entry:
    """The task is put aside."""
    parked = ParkedTask(
        task="t", run="t", agent="a", handler="h", version="1", number=number, waits=waits, parked_unix_ms=0
    )
    return Entry(kind=EntryKind.PARK, value=parked.model_dump_json().encode())


def batch(*entries: Entry, shown: int = 0, state: str = "") -> JournalBatch:
    """One append of the worker that was the first to have the task."""
    return JournalBatch(
        task="t",
        run="t",
        agent="a",
        handler="h",
        version="1",
        origin=1,
        attempt=1,
        entries=entries,
        shown=shown,
        state=state,
    )


def history(*entries: Entry) -> History:
    """As read from a journal with one append."""
    return History.of([batch(*entries)])


def letter(index: int) -> str:
    return "abc"[index]


def paths(tree: Tree, prefix: str = "") -> list[list[str]]:
    """For each operation of the line in turn: its own path and those of all that is inside it."""
    found = []
    for number, inner in enumerate(tree, 1):
        here = [f"{prefix}{number}"]
        for index, branch in enumerate(inner or []):
            here += itertools.chain.from_iterable(paths(branch or [], f"{prefix}{number}.{letter(index)}."))
        found.append(here)
    return found


def lines(tree: Tree, prefix: str = "") -> list[list[list[str]]]:
    """The line itself and all those in branches of its operations."""
    found = [paths(tree, prefix)]
    for number, inner in enumerate(tree, 1):
        for index, branch in enumerate(inner or []):
            found += lines(branch or [], f"{prefix}{number}.{letter(index)}.")
    return found


@given(trees)
def test_an_operation_follows_another_exactly_if_its_line_or_an_enclosing_one_had_come_past_it(tree: Tree) -> None:
    """Against the order in which a handler of that shape can be executed: branches of one gather are in no order."""
    every = list(itertools.chain.from_iterable(paths(tree)))
    past = {
        (later, earlier)
        for line in lines(tree)
        for before, after in itertools.combinations(line, 2)
        for earlier in before
        for later in after[:1]
    }
    for later, earlier in itertools.product(every, every):
        found = follows(split(later), split(earlier), is_group=False)
        if (later, earlier) in past:
            assert found
        if found:  # whoever is inside what follows, follows too
            outer = [path for path, _ in past if later == path or later.startswith(f"{path}.")]
            assert any((path, earlier) in past for path in outer)
        assert not (found and follows(split(earlier), split(later), is_group=False))


def test_the_end_of_a_group_follows_all_that_is_in_it() -> None:
    """Its members have ended or were cancelled when the handler leaves it."""
    assert follows(split("3"), split("3.b.1"), is_group=True)
    assert not follows(split("3"), split("3.b.1"), is_group=False)
    assert not follows(split("3"), split("3"), is_group=True)


def test_a_mark_after_the_counter_is_no_other_operation() -> None:
    """The end of a sleep's time is noted under the path of the sleep."""
    assert split("3.b.12~") == (3, "b", 12)


entry_lists = st.lists(
    st.sampled_from(
        [
            operation("1"),
            operation("1", error=True),
            operation("2.a.1", error=True),
            operation("2.b.1"),
            operation("3"),
            claim(counts=True),
            claim(counts=False),
            Entry(kind=EntryKind.RELEASE),
            Entry(kind=EntryKind.INTENT, path="1"),
            Entry(kind=EntryKind.REDRIVE),
            park(1, Wait(kind=WaitKind.TASK, path="2.a.1", id="c")),
        ]
    ),
    max_size=12,
)


@given(entry_lists, st.data())
def test_how_entries_were_batched_makes_no_difference(entries: list[Entry], data: st.DataObject) -> None:
    """Group commit is about cost: the meaning is that of the entries in their order."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(entries)), max_size=4)))
    bounds = list(itertools.pairwise([0, *cuts, len(entries)]))
    one = history(*entries)
    many = History.of([batch(*entries[start:end]) for start, end in bounds])
    assert vars(one) == vars(many)


@given(entry_lists)
def test_an_owner_that_claims_sees_what_a_later_reader_sees(entries: list[Entry]) -> None:
    """The claim's writer drops unsettled errors; whoever reads the journal afterwards must drop the same ones."""
    writer = history(*entries)
    writer.take(claim(counts=True))
    assert writer.entries == history(*entries, claim(counts=True)).entries


def test_attempts_count_claims_that_say_so() -> None:
    """A wake-up and a drained node begin no new attempt; a redrive begins anew."""
    assert history().attempt == 1
    assert history(claim(counts=True)).attempt == 2
    assert history(claim(counts=False, wake=1)).attempt == 1
    assert history(Entry(kind=EntryKind.RELEASE), claim(counts=True)).attempt == 1
    assert history(claim(counts=True), claim(counts=True), Entry(kind=EntryKind.REDRIVE)).attempt == 1


def test_an_attempt_begins_to_show_where_the_last_one_stopped() -> None:
    """Numbers of emitted items go on; readers are told where an attempt began."""
    found = History.of([batch(operation("1"), shown=7), batch(claim(counts=True), shown=7), batch(shown=9)])
    assert found.starts == (0, 7)
    assert found.shown == 9


def test_a_task_belongs_to_who_claimed_it_last() -> None:
    """And to nobody after a redrive."""
    assert history(operation("1")).origin == 1
    assert history(claim(counts=True, origin=8)).origin == 8
    assert history(claim(counts=True, origin=8), Entry(kind=EntryKind.REDRIVE)).origin == 0


def test_an_error_that_ended_its_attempt_is_tried_again() -> None:
    """Nothing follows it, in its own line or an enclosing one."""
    assert set(history(operation("1"), operation("2", error=True)).entries) == {"1"}
    assert set(history(operation("1.a.1", error=True), operation("1.b.2")).entries) == {"1.b.2"}


def test_an_error_that_was_caught_is_part_of_what_happened() -> None:
    """Something follows it: an operation, the group it was in, or a parking."""
    assert set(history(operation("1", error=True), operation("2")).entries) == {"1", "2"}
    group = Entry(kind=EntryKind.GROUP, path="1", operation="group", value=b"[]")
    assert set(history(operation("1.a.1", error=True), group).entries) == {"1.a.1", "1"}
    waiting = park(1, Wait(kind=WaitKind.APPROVAL, path="2", id="q"))
    assert set(history(operation("1", error=True), waiting).entries) == {"1"}
    elsewhere = park(1, Wait(kind=WaitKind.APPROVAL, path="1.a.1", id="q"))
    assert set(history(operation("1.b.1", error=True), elsewhere).entries) == {"1.b.1"}


def test_a_parking_settles_no_error_of_an_earlier_attempt() -> None:
    """That one is tried again in the attempt that parked, which had not come to it."""
    found = history(
        operation("1.b.1", error=True),
        operation("1.a.1"),
        claim(counts=True),
        park(1, Wait(kind=WaitKind.APPROVAL, path="1.a.2", id="q")),
    )
    assert set(found.entries) == {"1.a.1"}


def test_an_error_of_a_write_without_key_stays() -> None:
    """Such a write is never repeated, failed or not."""
    found = history(Entry(kind=EntryKind.INTENT, path="1"), operation("1", error=True))
    assert found.entries["1"].error


def test_a_parked_task_is_parked_until_it_is_claimed() -> None:
    """The record itself, with the first message's body, stays."""
    body = base64.b64encode(b"{}").decode()
    assert history(park(3)).is_parked
    found = history(park(3), claim(counts=False, wake=3))
    assert not found.is_parked
    assert found.number == 3
    assert found.parked is not None
    assert found.parked.body_base64 in ("", body)


def test_what_an_ended_task_leaves_open_is_what_it_parked_for() -> None:
    """Children without a recorded outcome and all questions; times are nobody's business."""
    found = history(
        park(
            1,
            Wait(kind=WaitKind.TASK, path="1.a.1", id="done"),
            Wait(kind=WaitKind.TASK, path="1.b.1", id="open"),
            Wait(kind=WaitKind.TIME, path="1.c.1", until_unix_ms=5),
        ),
        claim(counts=False, wake=1),
        operation("1.a.1"),
        park(2, Wait(kind=WaitKind.APPROVAL, path="1.d.1", id="question")),
    )
    assert found.left_open() == (["open"], ["question"])


def test_how_far_the_handler_had_come_is_known_by_branch() -> None:
    """From results, intents and waits alike."""
    found = history(
        operation("1"),
        operation("3.a.2"),
        Entry(kind=EntryKind.INTENT, path="3.b.1"),
        park(1, Wait(kind=WaitKind.TIME, path="3.c.4~", until_unix_ms=1)),
    )
    assert found.reached() == {"": 3, "3.a.": 2, "3.b.": 1, "3.c.": 4}


def test_a_question_that_was_answered_before_the_task_parked_is_known_too() -> None:
    """It is kept until the task has ended, and then it goes."""
    answered = Entry(kind=EntryKind.OPERATION, path="1", operation="approve", value=b'{"id": "question"}')
    assert history(answered, park(1)).left_open() == ([], ["question"])
