"""What a node keeps of what was shown: the newest, within bounds, for a while."""

from antiphon.runtime.delivery.rings import KEEP_S, NODE_BYTES, OVERHEAD_BYTES, TASK_BYTES, Rings
from antiphon.schemas.task import Position

BODY = bytes(64 << 10)


def test_a_reader_gets_what_lies_behind_its_position() -> None:
    """Whole batches, in order, also those of later attempts; of an unknown task nothing."""
    rings = Rings()
    rings.add("t", Position(1, 2), b"a")
    rings.add("t", Position(1, 5), b"b")
    rings.add("t", Position(2, 3), b"c")
    assert rings.behind("t", Position()) == (b"a", b"b", b"c")
    assert rings.behind("t", Position(1, 2)) == (b"b", b"c")
    assert rings.behind("t", Position(1, 4)) == (b"b", b"c")
    assert rings.behind("t", Position(1, 9)) == (b"c",)
    assert rings.behind("t", Position(2, 3)) == ()
    assert rings.behind("other", Position()) == ()


def test_one_task_loses_its_oldest_batches() -> None:
    """A task that shows a lot keeps TASK_BYTES of it, small batches counted with what they cost."""
    rings = Rings()
    for n in range(100):
        rings.add("t", Position(1, n + 1), BODY)
    kept = len(rings.behind("t", Position()))
    assert kept == TASK_BYTES // (len(BODY) + OVERHEAD_BYTES) == len(rings.behind("t", Position(1, 100 - kept)))
    for n in range(10_000):
        rings.add("small", Position(1, n + 1), b"")
    assert len(rings.behind("small", Position())) == TASK_BYTES // OVERHEAD_BYTES


def test_a_node_forgets_the_task_that_was_silent_longest() -> None:
    """Many tasks together stay below NODE_BYTES; who shows something now is spared."""
    rings = Rings()
    per_task = TASK_BYTES // (len(BODY) + OVERHEAD_BYTES)
    for task in range(2 * NODE_BYTES // TASK_BYTES):
        for n in range(per_task):
            rings.add(f"t{task}", Position(1, n + 1), BODY)
        rings.add("busy", Position(1, task + 1), b"x")
    assert rings.bytes <= NODE_BYTES
    assert rings.behind("t0", Position()) == ()
    assert len(rings.behind(f"t{task}", Position())) == per_task
    assert len(rings.behind("busy", Position())) == task + 1


def test_what_was_left_is_kept_for_a_while() -> None:
    """A reader may reconnect until KEEP_S after the end; a task that goes on here is not forgotten."""
    rings = Rings()
    for task in ("ended", "woken"):
        rings.add(task, Position(1, 1), b"a")
        rings.leave(task, 10.0)
    rings.add("woken", Position(1, 2), b"b")
    rings.sweep(10.0 + KEEP_S - 0.1)
    assert len(rings) == 2
    rings.sweep(10.0 + KEEP_S)
    assert rings.behind("ended", Position()) == ()
    assert rings.behind("woken", Position()) == (b"a", b"b")
    rings.leave("nobody", 0.0)
    assert rings.bytes == 2 * (1 + OVERHEAD_BYTES)


def test_a_task_that_begins_anew_has_a_new_ring() -> None:
    """A dead task sent on its way again counts attempts from 1: what it showed before is of no use."""
    rings = Rings()
    rings.add("t", Position(5, 9), b"old")
    rings.add("t", Position(1, 1), b"new")
    assert rings.behind("t", Position()) == (b"new",)
