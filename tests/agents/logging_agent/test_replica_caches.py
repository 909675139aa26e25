"""What routing by prefix would change is told from caches that work as the recorded ones did."""

import random
from dataclasses import replace

import pytest

from antiphon.agents.logging_agent.prefix_routing import Request, recorded, serve
from antiphon.agents.logging_agent.replica_caches import BLOCK_TOKENS, ReplicaCall, better
from antiphon.runtime.whatif.time_law import Call

REPLICAS = ("model:m@a", "model:m@b")


def calls(capacity: int, *, pages: tuple[int, float] | None = None, seed: int = 1) -> list[ReplicaCall]:
    """Prompts of five blocks, of 20 kinds, at either replica; each reports what a cache of this capacity has."""
    rng = random.Random(seed)
    requests = [Request(blocks=[f"{k}.{i}" for i in range(5)]) for k in rng.choices(range(20), k=400)]
    chosen = rng.choices(REPLICAS, k=400)
    hits = serve(requests, recorded(chosen), replicas=REPLICAS, capacity=capacity).hits
    return [
        ReplicaCall(
            cohort="c", run=f"{n}", timed=None,
            step=f"{n:04d}", replica=replica, request=request, tokens=5 * BLOCK_TOKENS,
            cached=hit * BLOCK_TOKENS, pages=pages,
        )
        for n, (request, replica, hit) in enumerate(zip(requests, chosen, hits, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize("capacity", [65, 80, 95])
def test_a_cache_that_does_not_tell_its_size_is_as_large_as_its_hits_say(capacity: int) -> None:
    """All that was asked for is 100 blocks a replica, with which nothing would be forgotten and little gained."""
    made = calls(capacity)
    found = better(made)
    assert found is not None
    reported = sum(call.cached for call in made) / (400 * 5 * BLOCK_TOKENS)
    assert found.now.hit_share == pytest.approx(reported, abs=0.02)


def test_a_cache_that_forgets_nothing_is_as_large_as_what_it_was_asked_for() -> None:
    """Then there is only the first time at each replica to be saved: 20 prompts of five blocks."""
    found = better(calls(100))
    assert found is not None
    assert sum(tokens for _, tokens in found.moved.values()) == 20 * 5 * BLOCK_TOKENS


def test_a_size_that_is_told_is_believed() -> None:
    """What was hit does not change it."""
    made = calls(80, pages=(95, float(BLOCK_TOKENS)))
    found = better(made)
    assert found is not None
    replicas = (call.replica for call in made)
    as_told = serve([call.request for call in made], recorded(replicas), replicas=REPLICAS, capacity=95)
    assert found.now.hits == as_told.hits


def test_requests_that_hit_are_under_way_for_less_long() -> None:
    """Five of six ns are prefill. Where the record says so, fewer are under way and fewer are sent elsewhere."""
    made = [
        replace(
            call,
            request=replace(call.request, start=n, end=n + 6),
            timed=Call(uncached=5 * BLOCK_TOKENS, output=1, prefill_s=5e-9, decode_s=1e-9),
        )
        for n, call in enumerate(calls(55))
    ]
    known, unknown = better(made, 1.25), better([replace(call, timed=None) for call in made], 1.25)
    assert known is not None and unknown is not None
    assert sum(known.routed.hits) > 1.02 * sum(unknown.routed.hits)


def test_a_bound_that_was_told_is_kept() -> None:
    """Whatever the others would save now."""
    found = better(calls(95), 2.0)
    assert found is not None and found.bound == 2.0
