"""P9 fires where replicas compute the same beginnings again, and nowhere else."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p9_no_affinity import NoAffinity
from antiphon.agents.logging_agent.prefix_routing import Request, recorded, serve
from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Affinity

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.agents.logging_agent.detectors.base import Observed
    from antiphon.runtime.whatif.testing import Traced

GROUPS = 16


def runs(
    traced: "type[Traced]",
    *,
    count: int = 48,
    group: Callable[[int], int] = lambda number: number // 3 % GROUPS,
    replica: Callable[[int], int] = lambda number: number % 3 % 2,
    caching: bool = True,
    at_ms: float = 10_000,
    served: bool = False,
    **model: Any,
) -> "list[Traced]":
    """Runs of one call each. A prompt has four blocks of its group and one of its own, 1,280 tokens; each group comes
    three times in a row, first and last at replica 0, in between at replica 1. Prefill 1 ms a token, decoding 0.2 s."""
    chosen = [f"model:m@n{replica(number)}" for number in range(count)]
    prompts = [[*(f"g{group(n)}.{i}" for i in range(4)), f"own{n}"] for n in range(count)]
    hits = serve([Request(blocks=p) for p in prompts], recorded(chosen), replicas=sorted(set(chosen)), capacity=10**9)
    found = []
    for number, blocks in enumerate(prompts):
        cached = 256 * hits.hits[number] if caching else 0
        prefill_ms = 1_280 - cached
        trace = traced(number + 1, at_ms=at_ms * number)
        root = trace.ask(None, "chat.say", 0, prefill_ms + 200)
        said = {
            "antiphon.prompt.block_hashes": blocks,
            "antiphon.pool.id": chosen[number],
            "antiphon.pool.capacity": 1,
            "gen_ai.usage.cache_read.input_tokens": cached,
            "antiphon.model.prefill_s": prefill_ms / 1_000,
            "antiphon.model.decode_s": 0.2,
            **model,
        }
        call = trace.model(root, 0, prefill_ms + 200, tokens=1_280, **said)
        if served:
            pool = f"model:m@server{replica(number)}"
            server: dict[str, Any] = {"antiphon.pool.id": pool, "antiphon.pool.capacity": 1}
            trace.add(call, "process antiphon.{tenant}.model.{model}", 0, prefill_ms + 200, kind=4, **server)
        found.append(trace)
    return found


@pytest.mark.parametrize("served", [False, True])
def test_beginnings_that_are_computed_at_each_replica_are_found(
    traced: "type[Traced]", look: "Look", served: bool
) -> None:
    """The second call of each three would find 1,024 tokens: a third of that a run, at 1 ms each."""
    finding = look(runs(traced, served=served)).one("p9")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert (finding.subject, finding.required, finding.support_unit) == ("model m", 20, "requests")
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.target == "model m"
    assert finding.remedy.proposal.action == Affinity(imbalance=1.25)
    assert finding.saving is not None and finding.saving.tokens is not None and finding.saving.latency_s is not None
    assert finding.saving.tokens.point == pytest.approx(1_024 / 3, rel=0.05)
    assert finding.saving.latency_s.point == pytest.approx(1.024 / 3, rel=0.05)


def test_below_twenty_requests_nothing_is_claimed(traced: "type[Traced]", look: "Look") -> None:
    """A candidate without a saving."""
    found = look(runs(traced, count=19)).of("p9")
    assert all((finding.state, finding.saving) == (FindingState.CANDIDATE, None) for finding in found)


def _affine(number: int) -> int:
    return number // 3 % 2


def _own(number: int) -> int:
    return number


def _same(number: int) -> int:
    return 0


@pytest.mark.parametrize(
    "decoy",
    [
        {"replica": _affine},
        {"group": _own},
        {"replica": _same},
        {"group": _same},
        {"caching": False},
        {"gen_ai.usage.cache_read.input_tokens": None},
        {"antiphon.prompt.block_hashes": None},
        {"antiphon.prompt.block_hashes": "g1"},
        {"antiphon.prompt.block_hashes": ["x"] * 5_000},
        {"antiphon.pool.id": None},
        {"antiphon.pool.id": "agent:chat@n1"},
    ],
    ids=["affine already", "nothing shared", "one replica", "one beginning for all", "caching is off",
         "no cached tokens", "no blocks", "blocks of another type", "endless blocks", "no replica",
         "no replica of a model"],
)  # fmt: skip
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", decoy: dict[str, Any]) -> None:
    """Routed by prefix already, nothing to gain, nowhere to go, no balance, no cache, or no evidence."""
    assert look(runs(traced, **decoy)).of("p9") == []


def test_a_small_cache_is_taken_as_small(traced: "type[Traced]", look: "Look") -> None:
    """Sixteen pages of 256 tokens hold three prompts: enough for what comes in a row, as the finding above."""
    small: dict[str, Any] = {"antiphon.kv.blocks_total": 16, "antiphon.kv.hit_blocks": 4}
    made = runs(traced, **small)
    assert look(made).one("p9").saving is not None
    shuffled = runs(traced, group=lambda n: n % GROUPS, replica=lambda n: n // GROUPS % 3 % 2, **small)
    assert look(shuffled).of("p9") == []


def test_waiting_for_the_favoured_replica_counts(traced: "type[Traced]", look: "Look") -> None:
    """Calls of 0.46 and 1.48 s that come every 0.9 s queue at a replica with one slot: less is saved than without."""
    finding = look(runs(traced, at_ms=900)).one("p9")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert 0 < finding.saving.latency_s.point < 0.5 * 1.024 / 3


def test_its_memory_is_bounded(traced: "type[Traced]", observed: "Callable[[Traced], Observed]") -> None:
    """Many models, and long prompts, leave no more than a fixed number of blocks."""
    detector = NoAffinity(random.Random(1))
    for number in range(1, 60):
        trace = traced(number)
        root = trace.ask(None, "chat.say", 0, 1_000)
        facts: dict[str, Any] = {"antiphon.pool.id": "model:m@n1", "gen_ai.usage.cache_read.input_tokens": 0}
        long: dict[str, Any] = {**facts, "antiphon.prompt.block_hashes": [f"{number}.{i}" for i in range(1_000)]}
        trace.model(root, 0, 10, tokens=256_000, **long)
        trace.model(root, 10, 20, model=f"m{number}", **(facts | {"antiphon.prompt.block_hashes": ["a"]}))
        detector.trace(observed(trace))
    assert len(detector._calls) == 32
    kept = detector._calls.get("model m")
    assert kept is not None and kept._blocks == 20_000
