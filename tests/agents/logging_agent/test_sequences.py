"""Gaps in batch numbers are counted per node."""

from antiphon.agents.logging_agent.sequences import Sequences


def test_missing_batches_are_gaps_until_they_come() -> None:
    """A hole counts, a late batch closes it, a repeat changes nothing."""
    sequences = Sequences()
    for number in (7, 8, 11):
        sequences.note("a", number, 0)
    assert sequences.gaps == 2
    sequences.note("a", 9, 0)
    sequences.note("a", 9, 0)
    assert sequences.gaps == 1


def test_a_restarted_node_is_no_gap() -> None:
    """A node that counts from 1 again has lost nothing, also when its first batches are missed."""
    sequences = Sequences()
    for number in (499, 500, 1, 2):
        sequences.note("a", number, 0)
    for number in (500, 2):
        sequences.note("b", number, 0)
    assert sequences.gaps == 0


def test_drops_add_up_over_nodes_and_restarts() -> None:
    """Nodes report totals; their sum counts each record once."""
    sequences = Sequences()
    for node, number, dropped in (("a", 100, 3), ("a", 101, 5), ("b", 1, 2), ("a", 1, 4)):
        sequences.note(node, number, dropped)
    assert sequences.dropped == 5 + 2 + 4
