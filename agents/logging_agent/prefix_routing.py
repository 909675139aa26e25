"""Where prompts with a common beginning are served: a cache of prefix blocks per replica, replayed under a rule."""

import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from antiphon.runtime.policies.rendezvous import placed

KEY_BLOCKS = 2  # the beginning that decides, as the affinity policy has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``blocks`` of the prompt by rolling hash: where one is equal, all before it is. Any unit of time."""

    blocks: Sequence[str]
    start: float = 0.0
    end: float = 0.0


class Route(Protocol):
    """Picks the replica of a request."""

    def __call__(self, request: Request, load: Mapping[str, int]) -> str:
        """``load``: the requests under way at each replica."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What became of the requests, in their order: the replica of each, and how many of its blocks were there."""

    replicas: tuple[str, ...]
    hits: tuple[int, ...]
    blocks: Mapping[str, int]  # served by each replica, whether they were there or not

    @property
    def hit_share(self) -> float:
        """Of all blocks, those that were in the cache of their replica."""
        return sum(self.hits) / max(sum(self.blocks.values()), 1)

    @property
    def imbalance(self) -> float:
        """The largest load in blocks over the mean."""
        return max(self.blocks.values()) * len(self.blocks) / max(sum(self.blocks.values()), 1)


def serve(requests: Iterable[Request], route: Route, *, replicas: Sequence[str], capacity: int) -> Routed:
    """Route the requests, given by start, to caches of ``capacity`` blocks each.

    A request finds the blocks up to the first that is missing and leaves all of its own. The least recently used
    block goes first, of one request the last: without what stands before it, a block is of no use.
    """
    caches: dict[str, OrderedDict[str, None]] = {replica: OrderedDict() for replica in replicas}
    blocks, load = dict.fromkeys(replicas, 0), dict.fromkeys(replicas, 0)
    ends: list[tuple[float, str]] = []
    picked: list[str] = []
    hits: list[int] = []
    for request in requests:
        while ends and ends[0][0] <= request.start:
            load[heappop(ends)[1]] -= 1
        replica = route(request, load)
        cache = caches[replica]
        picked.append(replica)
        hits.append(next((i for i, block in enumerate(request.blocks) if block not in cache), len(request.blocks)))
        for block in reversed(request.blocks):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > capacity:
            cache.popitem(last=False)
        blocks[replica] += len(request.blocks)
        load[replica] += 1
        heappush(ends, (request.end, replica))
    return Routed(replicas=tuple(picked), hits=tuple(hits), blocks=blocks)


def recorded(replicas: Iterable[str]) -> Route:
    """The replicas that served the requests, in their order."""
    following = iter(replicas)
    return lambda request, load: next(following)


def anywhere(rng: random.Random) -> Route:
    """Any replica, with equal chances."""
    return lambda request, load: rng.choice(list(load))


def affine(imbalance: float) -> Route:
    """The same beginning to the same replica, while that has room: what the affinity policy does."""

    def route(request: Request, load: Mapping[str, int]) -> str:
        key = "".join(request.blocks[KEY_BLOCKS - 1 : KEY_BLOCKS] or request.blocks[:1])
        return placed(key, load, imbalance)[0]

    return route
