"""A model's requests as the caches of its replicas served them, and as they would if prefixes decided the route."""

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from antiphon.agents.logging_agent.prefix_routing import Request, Routed, affine, recorded, serve
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.time_law import Call, call_of
from antiphon.runtime.whatif.trace import Step

BLOCK_TOKENS = 256
MAX_IMBALANCE = 1.25  # of the blocks that replicas are given over the window
BOUNDS_TRIED = (1.25, 1.5, 2.0)  # of the requests under way: a tight bound sends many of a few requests elsewhere
MIN_FAITHFUL = 0.5  # of the hits that the replay of the recorded routes has, the instances must report

AGAIN = 2  # replays by durations that follow from the hits of the one before
FITS = 6  # replays to find the capacity of a cache that does not tell its own: to 2 % of the most it can be

_CALLS = 1_000  # of a model, the newest
_BLOCKS = 20_000  # of these calls together: a replay takes some 30 ms
_CALL_BLOCKS = 1_024
_HASH_CHARACTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCall:
    """A request as the cache sees it. ``pages``: of its replica's cache, with the tokens of one, where it said both.

    ``timed``: how long it took, None where that is not on record.
    """

    cohort: str
    run: str
    step: str
    timed: Call | None
    replica: str
    request: Request
    tokens: int
    cached: int
    pages: tuple[int, float] | None

    @property
    def block_tokens(self) -> float:
        """Tokens of a block: where hashes are of text, a little less than 256."""
        return min(self.tokens / len(self.request.blocks), BLOCK_TOKENS)


class ReplicaCalls:
    """The newest calls of a model."""

    def __init__(self) -> None:
        self._calls: deque[ReplicaCall] = deque()
        self._blocks = 0

    def add(self, call: ReplicaCall) -> None:
        """One more; the oldest go where it would be too much."""
        self._calls.append(call)
        self._blocks += len(call.request.blocks)
        while len(self._calls) > _CALLS or (self._blocks > _BLOCKS and len(self._calls) > 1):
            self._blocks -= len(self._calls.popleft().request.blocks)

    def by_start(self) -> list[ReplicaCall]:
        """All of them, in the order in which they were made."""
        return sorted(self._calls, key=lambda call: (call.request.start, call.step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Better:
    """Routing by prefix: its bound, what caches hit by it and hit now, and by call the replica and tokens saved."""

    bound: float
    routed: Routed
    now: Routed
    calls: int
    moved: Mapping[str, tuple[str, float]]


def call_at(step: Step, *, cohort: str, run: str) -> ReplicaCall | None:
    """The step of a cohort's run as a request to one of several replicas; None where its cache says too little."""
    span = step.span
    replica = facts.text(span, attr.POOL_ID)
    blocks = facts.texts(span, attr.PROMPT_BLOCKS)
    tokens, cached = facts.whole(span, attr.GENAI_INPUT_TOKENS), facts.whole(span, attr.GENAI_CACHED_TOKENS)
    if step.operation != facts.MODEL or step.excluded or not replica.startswith("model:"):
        return None
    if not blocks or len(blocks) > _CALL_BLOCKS or not tokens or cached is None:
        return None
    pages, hits = facts.whole(span, attr.KV_TOTAL), facts.whole(span, attr.KV_HITS)
    return ReplicaCall(
        cohort=cohort,
        run=run,
        step=step.id,
        timed=call_of(step),
        replica=replica,
        request=Request(blocks=[b[:_HASH_CHARACTERS] for b in blocks], start=step.start_ns, end=step.end_ns),
        tokens=tokens,
        cached=min(cached, tokens),
        pages=(pages, min(cached, tokens) / hits) if pages and hits and cached else None,
    )


def better(calls: Sequence[ReplicaCall], bound: float | None = None) -> Better | None:
    """The best routing by prefix; None where the caches would not hold more, or do not work as they are replayed.

    ``bound``: this one, whatever comes of it.
    """
    replicas = sorted({call.replica for call in calls})
    if len(replicas) < 2:
        return None
    capacity = _told(calls) or _seen(calls)
    now = _served(calls, capacity)
    reported = sum(call.cached for call in calls)
    if not reported or reported < MIN_FAITHFUL * _hit_tokens(calls, now):
        return None
    if _told(calls) is None:
        capacity, now = _fitted(calls, capacity, now, reported)
    bounds = BOUNDS_TRIED if bound is None else (bound,)
    had = [max(hits, int(call.cached / call.block_tokens)) for call, hits in zip(calls, now.hits, strict=True)]
    tried = [(b, _routed(calls, had, bound=b, replicas=replicas, capacity=capacity)) for b in bounds]
    most = max(MAX_IMBALANCE, now.imbalance)
    balanced = [(b, routed) for b, routed in tried if bound is not None or routed.imbalance <= most]
    if not balanced:
        return None
    best, routed = max(balanced, key=lambda option: sum(option[1].hits))
    moved = {
        call.step: (replica, (becomes - was) * call.block_tokens)
        for call, replica, was, becomes in zip(calls, routed.replicas, had, routed.hits, strict=True)
    }
    if bound is None and sum(tokens for _, tokens in moved.values()) <= 0:
        return None
    return Better(bound=best, routed=routed, now=now, calls=len(calls), moved=moved)


def _routed(
    calls: Sequence[ReplicaCall], had: Sequence[int], *, bound: float, replicas: Sequence[str], capacity: int
) -> Routed:
    """The requests by prefix, and again with those that hit more under way for less long: fewer are under way then, and
    the bound sends fewer elsewhere."""
    routed = serve([c.request for c in calls], affine(bound), replicas=replicas, capacity=capacity)
    rates = [
        c.timed.prefill_s / c.timed.uncached
        for c in calls
        if c.timed is not None and c.timed.prefill_s is not None and c.timed.uncached >= BLOCK_TOKENS
    ]
    each_ns = statistics.median(rates) * 1e9 if rates else 0.0
    for _ in range(AGAIN if rates else 0):
        sooner = [
            replace(c.request, end=max(c.request.end - (hits - was) * c.block_tokens * each_ns, c.request.start))
            for c, hits, was in zip(calls, routed.hits, had, strict=True)
        ]
        routed = serve(sooner, affine(bound), replicas=replicas, capacity=capacity)
    return routed


def _served(calls: Sequence[ReplicaCall], capacity: int) -> Routed:
    """The requests where they went."""
    replicas = sorted({call.replica for call in calls})
    route = recorded(call.replica for call in calls)
    return serve([call.request for call in calls], route, replicas=replicas, capacity=capacity)


def _hit_tokens(calls: Sequence[ReplicaCall], routed: Routed) -> float:
    return sum(hits * call.block_tokens for hits, call in zip(routed.hits, calls, strict=True))


def _fitted(calls: Sequence[ReplicaCall], most: int, now: Routed, reported: float) -> tuple[int, Routed]:
    """The least capacity with which the caches hit no less than they reported, by bisection; the replay with it."""
    low, high = 0, most
    for _ in range(FITS):
        middle = (low + high) // 2
        if middle == low:
            break
        tried = _served(calls, middle)
        if _hit_tokens(calls, tried) < reported:
            low = middle
        else:
            high, now = middle, tried
    return high, now


def _told(calls: Sequence[ReplicaCall]) -> int | None:
    """Blocks that a replica holds by what they say; None where they do not."""
    pages = [call.pages for call in calls if call.pages is not None]
    if not pages:
        return None
    page_tokens = statistics.median(tokens for _, tokens in pages)
    return max(int(min(total for total, _ in pages) * page_tokens / BLOCK_TOKENS), 1)


def _seen(calls: Sequence[ReplicaCall]) -> int:
    """The largest set of blocks seen at one replica: with so many, nothing is ever forgotten."""
    seen: dict[str, set[str]] = {}
    for call in calls:
        seen.setdefault(call.replica, set()).update(call.request.blocks)
    return max(map(len, seen.values()))
