"""Budgets of a run, on all its nodes together."""

import asyncio
import random
from collections.abc import Callable

import msgspec
import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.model_call import run_model_call
from antiphon.runtime.errors import (
    BudgetExceeded,
    BusUnavailable,
    ConfigurationError,
    InvalidMessage,
    ModelUnavailable,
)
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.models.setting import BusSetting, LocalSetting, ModelSetting
from antiphon.runtime.policies.account import Account
from antiphon.runtime.policies.budget import BudgetInterceptor
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome, build
from antiphon.runtime.policies.ledger import BUCKET, Ledger
from antiphon.runtime.telemetry.attributes import BUDGET_USED

MakeLedger = Callable[[], Ledger]
MakeOperation = Callable[..., Operation]

MODELS: dict[str, ModelSetting] = {
    "m": LocalSetting(path="m"),
    "dear": BusSetting(usd_per_million_input=1_000.0, usd_per_million_output=10_000.0),
    "unpriced": BusSetting(),
}
MODEL, CALL, ASK, TOOL = OperationKind.MODEL, OperationKind.CALL, OperationKind.ASK, OperationKind.TOOL


def node(ledger: Ledger, model: ModelInstance) -> Next:
    """The chain of one process: model operations reach ``model``, all others are done at once."""

    async def transport(operation: Operation) -> Outcome:
        if operation.kind is MODEL:
            return await run_model_call(operation, model, SystemClock(), capture_content=False)
        return Outcome(operation.target, b"")

    return build([BudgetInterceptor(ledger, MODELS)], transport)


def used(server: MemoryServer, budget: str) -> tuple[float, int]:
    """Spent and held of a budget, as the bucket says; and how many holds there are."""
    entry = server.stores[BUCKET].live["default.r"]
    account = msgspec.json.decode(entry.value or b"", type=Account)
    return account.used(budget), len(account.held)


async def test_a_run_s_tokens_are_counted_over_its_nodes(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """Two nodes call the model until one is refused: budget, limit, what was used and the operation are named."""
    model = ScriptedModel(lambda request: "a reply of five words")
    nodes = [node(ledger_of_a_node(), model) for _ in range(2)]
    done = 0
    with pytest.raises(BudgetExceeded) as refused:
        for turn in range(20):
            operation = make_operation(MODEL, {"tokens": 50.0}, path=str(turn + 1))
            await nodes[turn % 2](operation)
            done += 1
    assert done == 5  # 8 tokens each; a sixth one could take 11, and 40 are used
    assert str(refused.value) == (
        "model m: the run may use 50 tokens, 40 are used or reserved, and this takes up to 11; "
        "give the run more, or have it do less"
    )
    assert refused.value.details == {
        "budget": "tokens",
        "limit": "50",
        "used": "40",
        "operation": "model m",
        "path": "6",
    }
    assert not refused.value.retryable
    assert operation.attributes[BUDGET_USED] == ["tokens:40:50"]
    assert len(model.requests) == 5


@pytest.mark.parametrize("nodes", [1, 3])
async def test_calls_at_once_cannot_overrun_by_more_than_their_inputs(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation, nodes: int
) -> None:
    """Twelve start together with outputs up to 10 tokens of a budget of 60: five may, and use their inputs of 30."""
    began, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_: float) -> None:
        began.release()
        await go_on.wait()

    reply = " ".join(["word"] * 10)
    model = ScriptedModel(lambda request: reply, sleep=wait)
    chains = [node(ledger_of_a_node(), model) for _ in range(nodes)]
    words = " ".join(["word"] * 30)
    calls = {
        asyncio.ensure_future(chains[n % nodes](make_operation(MODEL, {"tokens": 60.0}, path=str(n), words=words)))
        for n in range(12)
    }
    async with asyncio.timeout(60):
        for _ in range(5):
            await began.acquire()
        refused, running = set[asyncio.Future[Outcome]](), calls
        while len(refused) < 7:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            refused |= ended
    assert all(isinstance(call.exception(), BudgetExceeded) for call in refused)
    assert used(server, "tokens") == (55.0, 5)
    go_on.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*running)
    assert used(server, "tokens") == (5 * 40.0, 0)


async def test_money_is_counted_at_the_model_s_price(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """A local model is free; a remote one costs its tokens, and is refused where it could cost too much."""
    perform = node(ledger_of_a_node(), ScriptedModel(lambda request: "two words"))
    budget = {"usd": 0.13}
    await perform(make_operation(MODEL, budget, path="1"))
    assert BUCKET not in server.stores
    await perform(make_operation(MODEL, budget, path="2", target="dear"))
    assert (used(server, "usd"))[0] == pytest.approx(0.003 + 0.02)
    await perform(make_operation(MODEL, budget, path="3", target="dear"))
    with pytest.raises(BudgetExceeded, match=r"the run may use 0\.13 usd, 0\.046 are used.*takes up to 0\.101"):
        await perform(make_operation(MODEL, budget, path="4", target="dear"))
    await perform(make_operation(MODEL, budget, path="5"))


async def test_a_remote_model_without_a_price_is_an_error_where_money_is_limited(
    ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """It says what to set; a run without a budget of money does not care."""
    model = ScriptedModel(["fine"])
    perform = node(ledger_of_a_node(), model)
    with pytest.raises(ConfigurationError, match=r"'unpriced' has no price.*usd_per_million_input.*models\.unpriced"):
        await perform(make_operation(MODEL, {"usd": 1.0}, target="unpriced"))
    assert not model.requests
    await perform(make_operation(MODEL, {"tokens": 100.0}, target="unpriced"))


async def test_embeddings_are_counted(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """By their input."""
    perform = node(ledger_of_a_node(), ScriptedModel([], embed=lambda text: [1.0]))
    await perform(make_operation(MODEL, {"tokens": 3.0}, embed=True))
    assert used(server, "tokens") == (3.0, 0)
    with pytest.raises(BudgetExceeded, match="3 are used"):
        await perform(make_operation(MODEL, {"tokens": 3.0}, path="2", embed=True))


async def test_steps_are_operations_other_than_state_and_events(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """Each kind counts one; what costs no step still works when all are used."""
    perform = node(ledger_of_a_node(), ScriptedModel(lambda request: "x"))
    budget = {"steps": 6.0, "wall_s": 60.0}
    counted = {MODEL, CALL, ASK, TOOL, OperationKind.SUBMIT, OperationKind.RUN}
    for number, kind in enumerate(OperationKind):
        await perform(make_operation(kind, budget, path=str(number)))
    assert used(server, "steps") == (6.0, 0)
    for kind in OperationKind:
        if kind not in counted:
            await perform(make_operation(kind, budget, path="9"))
        else:
            with pytest.raises(BudgetExceeded, match=rf"{kind} m: the run may use 6 steps, 6 are used.*up to 1;"):
                await perform(make_operation(kind, budget, path="9"))


@pytest.mark.parametrize(
    ("reply", "counted"),
    [
        pytest.param(ModelUnavailable("gone"), 0.0, id="before the first chunk: nothing"),
        pytest.param(Scripted(text="some words", error=ModelUnavailable("gone")), 11.0, id="after it: what was held"),
    ],
)
async def test_a_call_that_fails_cannot_hide_what_it_used(
    server: MemoryServer,
    ledger_of_a_node: MakeLedger,
    make_operation: MakeOperation,
    reply: Scripted | ModelUnavailable,
    counted: float,
) -> None:
    """The error comes through, and nothing stays reserved."""
    perform = node(ledger_of_a_node(), ScriptedModel([reply]))
    budget = {"tokens": 50.0, "steps": 5.0}
    with pytest.raises(ModelUnavailable):
        await perform(make_operation(MODEL, budget))
    assert used(server, "tokens") == (counted, 0)
    assert used(server, "steps") == (1.0, 0)


async def test_work_of_a_killed_node_is_not_reserved_twice(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """The next attempt's call takes over the reservation that the killed one left."""
    budget = {"tokens": 12.0}
    left = make_operation(MODEL, budget)
    await ledger_of_a_node().change("default", "r", lambda account: account.hold("t:1", {"tokens": 11.0}))
    await node(ledger_of_a_node(), ScriptedModel(["x"]))(left)
    assert used(server, "tokens") == (4.0, 0)


@pytest.mark.parametrize(
    ("error", "held"),
    [(asyncio.CancelledError(), 1), (BusUnavailable("away"), 1), (InvalidMessage("no"), 0)],
    ids=["parked", "tried again", "ended"],
)
async def test_a_child_that_is_waited_for_again_is_one_step(
    server: MemoryServer,
    ledger_of_a_node: MakeLedger,
    make_operation: MakeOperation,
    error: BaseException,
    held: int,
) -> None:
    """A task that parks or fails over comes back to the same child; one that ended is settled."""

    async def waits(operation: Operation) -> Outcome:
        raise error

    async def answers(operation: Operation) -> Outcome:
        return Outcome(1, b"1")

    ledger, budget = ledger_of_a_node(), {"steps": 1.0}
    with pytest.raises(type(error)):
        await build([BudgetInterceptor(ledger, MODELS)], waits)(make_operation(CALL, budget))
    assert used(server, "steps") == (1.0, held)
    if held:
        await build([BudgetInterceptor(ledger_of_a_node(), MODELS)], answers)(make_operation(CALL, budget))
        assert used(server, "steps") == (1.0, 0)


async def test_a_run_without_a_budget_touches_nothing(server: MemoryServer, make_operation: MakeOperation) -> None:
    """No bucket is opened, and the operation goes straight on."""
    perform = node(Ledger(MemoryBus(server), rng=random.Random(1)), ScriptedModel(["x"]))
    await perform(make_operation(MODEL, {}))
    await perform(make_operation(TOOL, {"wall_s": 9.0}))
    assert BUCKET not in server.stores


async def test_an_ask_from_outside_closes_its_run(
    server: MemoryServer, ledger_of_a_node: MakeLedger, make_operation: MakeOperation
) -> None:
    """It counts no step itself, and with its answer the account goes away."""
    inside, budget = node(ledger_of_a_node(), ScriptedModel(["x"])), {"steps": 1.0}

    async def handled(operation: Operation) -> Outcome:
        assert BUCKET not in server.stores
        await inside(make_operation(TOOL, budget, task=""))
        assert used(server, "steps") == (1.0, 0)
        return Outcome(1, b"1")

    outside = build([BudgetInterceptor(ledger_of_a_node(), MODELS)], handled)
    await outside(make_operation(ASK, budget, agent="", task=""))
    assert "default.r" not in server.stores[BUCKET].live


async def test_a_count_that_cannot_be_reached_refuses_before_a_call_and_not_after(
    server: MemoryServer,
    ledger_of_a_node: MakeLedger,
    make_operation: MakeOperation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reply that is there is given; its reservation stays, so the run has less and never more."""

    async def loses_the_bucket(operation: Operation) -> Outcome:
        outcome = await run_model_call(operation, ScriptedModel(["x"]), SystemClock(), capture_content=False)
        monkeypatch.setattr(server.stores[BUCKET], "put", _away)
        return outcome

    perform = build([BudgetInterceptor(ledger_of_a_node(), MODELS)], loses_the_bucket)
    assert (await perform(make_operation(MODEL, {"tokens": 50.0}))).value.text == "x"
    assert used(server, "tokens") == (11.0, 1)
    with pytest.raises(BusUnavailable):
        await perform(make_operation(MODEL, {"tokens": 50.0}, path="2"))


def _away(key: str, value: bytes, revision: int | None) -> int:
    raise BusUnavailable("no server")
