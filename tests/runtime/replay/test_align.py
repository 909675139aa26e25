"""Aligned trees: every node once, equal labels only, nothing crosses, and a planted change is the only difference."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.replay.align import Node, Pair, align

LABELS = st.sampled_from(["call a", "tool b", "model c"])


def numbered(shape: object) -> tuple[Node, ...]:
    """A forest from nested (label, children) lists, with ids in preorder."""
    count = 0

    def make(item: tuple[str, list[object]]) -> Node:
        nonlocal count
        mine, count = count, count + 1
        return Node(id=mine, label=item[0], children=tuple(make(child) for child in item[1]))  # type: ignore[arg-type]

    return tuple(make(item) for item in shape)  # type: ignore[attr-defined]


FORESTS: st.SearchStrategy[object] = st.lists(
    st.recursive(st.tuples(LABELS, st.just([])), lambda inner: st.tuples(LABELS, st.lists(inner, max_size=4))),
    max_size=4,
)


def everything(nodes: tuple[Node, ...]) -> dict[int, Node]:
    return {node.id: node for top in nodes for node in [top, *everything(top.children).values()]}


@given(FORESTS, FORESTS)
def test_every_node_appears_once_and_partners_are_alike(left: object, right: object) -> None:
    """In preorder on both sides; partners have one label, and so do their parents' partners."""
    a, b = numbered(left), numbered(right)
    pairs = list(align(a, b))
    for side, forest in (("left", a), ("right", b)):
        found = [getattr(pair, side) for pair in pairs if getattr(pair, side) is not None]
        assert found == sorted(everything(forest))
    for pair in pairs:
        for id, forest in ((pair.left, a), (pair.right, b)):
            assert id is None or everything(forest)[id].label == pair.label


@given(FORESTS)
def test_a_tree_is_aligned_with_itself(shape: object) -> None:
    """Every node with its own."""
    nodes = numbered(shape)
    assert [pair.left for pair in align(nodes, nodes)] == [pair.right for pair in align(nodes, nodes)]
    assert all(pair.left is not None for pair in align(nodes, nodes))


def test_a_call_more_is_the_only_difference() -> None:
    """Its neighbours keep their partners, and what is below it has none."""
    left = numbered([("run", [("tool a", []), ("model m", [])])])
    right = numbered([("run", [("tool a", []), ("call b", [("model m", [])]), ("model m", [])])])
    assert [pair for pair in align(left, right) if pair.left is None] == [
        Pair(label="call b", depth=1, left=None, right=2),
        Pair(label="model m", depth=2, left=None, right=3),
    ]


def test_a_deep_tree_does_not_exhaust_the_stack() -> None:
    """Five thousand nodes below one another."""
    node = Node(id=5_000, label="x")
    for id in range(4_999, -1, -1):
        node = Node(id=id, label="x", children=(node,))
    assert sum(pair.left is not None and pair.right is not None for pair in align((node,), (node,))) == 5_001
