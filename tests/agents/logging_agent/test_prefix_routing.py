"""Caches replayed under a rule: hits, eviction, balance."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.prefix_routing import KEY_BLOCKS, Request, affine, anywhere, recorded, serve
from antiphon.runtime.policies.affinity import BLOCKS

REPLICAS = ["a", "b", "c", "d"]


def requests(groups: Sequence[int], *, shared: int = 4, lasts: float = 0.0) -> list[Request]:
    """One request a second: ``shared`` blocks that are its group's and one of its own."""
    return [
        Request(
            blocks=[*(f"g{group}.{i}" for i in range(shared)), f"own{number}"],
            start=float(number),
            end=number + lasts,
        )
        for number, group in enumerate(groups)
    ]


def test_a_beginning_that_was_served_before_is_there() -> None:
    """The second of a group finds its four shared blocks, at its replica only."""
    found = serve(requests([1, 1, 1]), recorded(["a", "a", "b"]), replicas=REPLICAS, capacity=100)
    assert found.hits == (0, 4, 0)
    assert found.replicas == ("a", "a", "b")
    assert found.hit_share == 4 / 15
    assert found.imbalance == 10 * 4 / 15


def test_the_least_recently_used_goes_first_and_of_one_request_its_end() -> None:
    """Nine blocks for two groups of five: the older group loses the block that only it has."""
    found = serve(requests([1, 2, 1, 2]), recorded("aaaa"), replicas=["a"], capacity=9)
    assert found.hits == (0, 0, 4, 4)
    assert serve(requests([1, 2, 1, 2]), recorded("aaaa"), replicas=["a"], capacity=5).hits == (0, 0, 0, 0)


def test_routing_by_prefix_hits_what_random_routing_misses() -> None:
    """Thirty conversations of 20 turns over four replicas that hold eight of them each, as the measured trace shows."""
    rng = random.Random(3)
    turns = [group for group in range(30) for _ in range(20)]
    rng.shuffle(turns)
    made = requests(turns)
    spread = serve(made, anywhere(rng), replicas=REPLICAS, capacity=60)
    together = serve(made, affine(1.25), replicas=REPLICAS, capacity=60)
    assert together.hit_share > 1.5 * spread.hit_share
    assert together.imbalance < 1.4


def test_one_beginning_for_all_is_spread_by_the_bound() -> None:
    """What everybody shares would go to one replica: the requests under way there send the others elsewhere."""
    found = serve(requests([1] * 400, lasts=100.0), affine(1.25), replicas=REPLICAS, capacity=100)
    assert found.imbalance < 1.3  # 1.25 when the replicas are full
    assert serve(requests([1] * 40), affine(1.25), replicas=REPLICAS, capacity=100).imbalance == 4.0


def test_the_key_is_the_policys() -> None:
    """The replay routes by as many blocks as the interceptor does."""
    assert KEY_BLOCKS == BLOCKS


def test_no_blocks_are_no_trouble() -> None:
    """A request without blocks goes somewhere and hits nothing."""
    found = serve([Request(blocks=[])], affine(1.25), replicas=REPLICAS, capacity=1)
    assert (found.hits, found.hit_share, found.imbalance) == ((0,), 0.0, 0.0)


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 30), st.floats(1, 3), st.floats(0, 5), st.randoms())
def test_one_cache_without_end_hits_most(
    groups: list[int], capacity: int, bound: float, lasts: float, rng: random.Random
) -> None:
    """No routing and no capacity beats one cache that forgets nothing; no request hits more than its blocks."""
    made = requests(groups, lasts=lasts)
    most = serve(made, recorded(["a"] * len(made)), replicas=["a"], capacity=10**9)
    for route in (affine(bound), anywhere(rng)):
        found = serve(made, route, replicas=REPLICAS, capacity=capacity)
        assert all(hit <= best <= 5 for hit, best in zip(found.hits, most.hits, strict=True))
        assert sum(found.blocks.values()) == 5 * len(made)
