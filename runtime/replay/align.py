"""Two trees laid side by side: which node is which, by label and order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A labelled node; ``id`` is the caller's."""

    id: int
    label: str
    children: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same work in both trees, or (None) work that one of them lacks. ``depth`` of roots is 0."""

    label: str
    depth: int
    left: int | None
    right: int | None


def align(left: Sequence[Node], right: Sequence[Node]) -> Iterator[Pair]:
    """Every node of both forests once, in preorder, what only the left has before what only the right has.

    Children of aligned nodes are aligned by the matching blocks of their labels (Ratcliff and Obershelp): equal labels,
    no two crossing. Nothing below a node without partner has one. Quadratic in the number of siblings at worst.
    """
    stack: list[tuple[int, Node | None, Node | None]] = list(reversed(_matched(0, left, right)))
    while stack:
        depth, mine, other = stack.pop()
        here = mine or other
        assert here is not None  # at least one of the two is there
        yield Pair(
            label=here.label,
            depth=depth,
            left=None if mine is None else mine.id,
            right=None if other is None else other.id,
        )
        below = _matched(depth + 1, () if mine is None else mine.children, () if other is None else other.children)
        stack.extend(reversed(below))


def _matched(depth: int, left: Sequence[Node], right: Sequence[Node]) -> list[tuple[int, Node | None, Node | None]]:
    matcher = SequenceMatcher(None, [node.label for node in left], [node.label for node in right], autojunk=False)
    found: list[tuple[int, Node | None, Node | None]] = []
    i = j = 0
    for block in matcher.get_matching_blocks():
        found += [(depth, node, None) for node in left[i : block.a]]
        found += [(depth, None, node) for node in right[j : block.b]]
        i, j = block.a + block.size, block.b + block.size
        found += [(depth, left[block.a + k], right[block.b + k]) for k in range(block.size)]
    return found
