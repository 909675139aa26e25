from antiphon.runtime.store.gaps import NodeHealth


def _arrive(health: NodeHealth, sequence: int, *, dropped: int = 0, redelivered: bool = False) -> int:
    return health.arrive(sequence=sequence, dropped=dropped, redelivered=redelivered, now_ns=1)


def test_missing_numbers_are_counted() -> None:
    """1, 2, 5: two batches never came, and it is said at the fifth."""
    health = NodeHealth(node="a")
    assert [_arrive(health, n) for n in (1, 2, 5)] == [0, 0, 2]
    assert (health.batches, health.missing) == (3, 2)


def test_a_repeat_is_not_a_restart() -> None:
    """A batch that the stream hands out again changes nothing."""
    health = NodeHealth(node="a")
    for sequence in (1, 2):
        _arrive(health, sequence)
    assert _arrive(health, 1, redelivered=True) == 0
    assert (health.batches, health.sequence, health.missing) == (2, 2, 0)


def test_a_restarted_node_counts_on() -> None:
    """A new process begins at 1: no gap, and its dropped records add to those of the old one."""
    health = NodeHealth(node="a")
    _arrive(health, 1, dropped=3)
    _arrive(health, 2, dropped=5)
    assert _arrive(health, 1, dropped=2) == 0
    assert (health.batches, health.dropped, health.missing) == (3, 7, 0)


def test_a_node_first_seen_late_has_a_gap() -> None:
    """What was published before the store was there, and has aged out, is missing too."""
    assert _arrive(NodeHealth(node="a"), 4) == 3
