"""Calls that come within a window and become one."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.model_call import ModelCall, run_model_call
from antiphon.runtime.errors import ConfigurationError, DeadlineExceeded, InvalidResult, ModelError, ToolTimeout
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.policies.batch import Batcher
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import virtual_time
from antiphon.runtime.tool import Tool, ToolRun, tool
from antiphon.schemas.inference import Embeddings, EmbedRequest, Usage
from antiphon.schemas.policy import Batch, Level, Policy, Proposal
from antiphon.schemas.task import Effect

Calls = list[list[dict[str, Any]]]


def policy(window_s: float = 0.1, most: int = 64) -> Policy:
    """A batch that is on."""
    action = Batch(window_s=window_s, most=most)
    return Policy(id="b", proposal=Proposal(action=action, target="tool price"), level=Level.ON)


def priced(calls: Calls, *, took_s: float = 0.0, answer: Any = None, timeout: float | None = None) -> Tool[Any, Any]:
    """A tool that doubles, alone or together; ``answer``: what batch returns, or raises, instead."""

    async def together(items: list[dict[str, Any]]) -> Sequence[Any]:
        calls.append(items)
        await asyncio.sleep(took_s)
        if isinstance(answer, Exception):
            raise answer
        return [item["item"] * 2 for item in items] if answer is None else answer

    @tool(effect="read", batch=together, timeout=timeout)
    async def price(item: int) -> int:
        """Twice the item."""
        calls.append([{"item": item, "alone": True}])
        return item * 2

    return price


def operation(
    used: Tool[Any, Any], item: int, *, deadline_s: float | None = None, tenant: str = "default"
) -> Operation:
    """A run of the tool."""
    now_ms = LoopClock().unix_ns() // 1_000_000
    return Operation(
        kind=OperationKind.TOOL,
        path="1",
        target="price",
        scope=Scope(tenant=tenant, run="r", agent="writer"),
        body=b"",
        effect=Effect.READ,
        request=ToolRun(used, {"item": item}),
        deadline_unix_ms=None if deadline_s is None else now_ms + int(deadline_s * 1000),
    )


async def transport(operation: Operation) -> Outcome:
    """As the real one carries out tools."""
    return Outcome(await operation.request(), b"")


@virtual_time(seeds=range(3))
async def test_calls_within_a_window_become_one() -> None:
    """Each gets its own result and its span says how many there were; a call after the window is in the next one."""
    calls: Calls = []
    used, batch = priced(calls), Batcher(LoopClock())
    made = [operation(used, item) for item in range(3)]

    async def one(number: int) -> Any:
        await asyncio.sleep(0.04 * number if number < 2 else 0.15)
        return (await batch(made[number], policy(), transport)).value

    assert await asyncio.gather(*(one(number) for number in range(3))) == [0, 2, 4]
    assert calls == [[{"item": 0}, {"item": 1}], [{"item": 2}]]
    assert [each.attributes[names.BATCH_SIZE] for each in made] == [2, 2, 1]


@virtual_time()
async def test_a_full_batch_does_not_wait() -> None:
    """With ``most`` calls it goes at once, and the next call begins another."""
    calls: Calls = []
    used, batch, rule = priced(calls), Batcher(LoopClock()), policy(window_s=1.0, most=2)
    found = [asyncio.create_task(batch(operation(used, item), rule, transport)) for item in range(4)]
    await asyncio.wait(found, timeout=0.5)
    assert all(each.done() for each in found)
    assert [len(each) for each in calls] == [2, 2]


@virtual_time()
async def test_tenants_and_tools_do_not_share() -> None:
    """Calls of another tenant, or of another tool of that name, are another batch."""
    mine, theirs = list[Any](), list[Any]()
    used, other, batch = priced(mine), priced(theirs), Batcher(LoopClock())
    made = [operation(used, 1), operation(used, 2, tenant="acme"), operation(other, 3)]
    await asyncio.gather(*(batch(each, policy(), transport) for each in made))
    assert sorted(items[0]["item"] for items in mine) == [1, 2]
    assert theirs == [[{"item": 3}]]


@virtual_time()
async def test_a_tool_without_batch_is_run_alone() -> None:
    """The policy changes nothing."""

    @tool(effect="read")
    async def price(item: int) -> int:
        """Twice the item."""
        return item * 2

    loop = asyncio.get_running_loop()
    assert (await Batcher(LoopClock())(operation(price, 4), policy(), transport)).value == 8
    assert loop.time() == 0.0


@virtual_time()
async def test_one_call_may_fail_alone() -> None:
    """An exception in place of a result is raised to that caller."""
    used, batch = priced([], answer=[1, ValueError("no such item")]), Batcher(LoopClock())
    made = [batch(operation(used, item), policy(), transport) for item in range(2)]
    first, second = await asyncio.gather(*made, return_exceptions=True)
    assert first == Outcome(1, b"")
    assert isinstance(second, ValueError)


@virtual_time()
@pytest.mark.filterwarnings("error")
async def test_a_batch_that_fails_fails_each_call() -> None:
    """What batch raises, a wrong number of results, something else than a list, a timeout: every caller is told."""
    for answer, took_s, expected, words in (
        (ConnectionError("gone"), 0.0, ConnectionError, "gone"),
        ([1], 0.0, InvalidResult, "returned 1 results for 2 calls: expected a list with one result"),
        ("ab", 0.0, InvalidResult, "returned a str for 2 calls"),
        (None, 9.0, ToolTimeout, "may take 5 s"),
    ):
        used, batch = priced([], answer=answer, took_s=took_s, timeout=5), Batcher(LoopClock())
        made = [batch(operation(used, item), policy(), transport) for item in range(2)]
        for found in await asyncio.gather(*made, return_exceptions=True):
            assert isinstance(found, expected)
            assert words in str(found)


@virtual_time()
async def test_each_caller_has_its_own_deadline() -> None:
    """Whose passes is told so, and the others are served."""
    used, batch = priced([], took_s=3.0), Batcher(LoopClock())
    made = [
        batch(operation(used, 1, deadline_s=2), policy(), transport),
        batch(operation(used, 2), policy(), transport),
    ]
    first, second = await asyncio.gather(*made, return_exceptions=True)
    assert isinstance(first, DeadlineExceeded)
    assert second == Outcome(4, b"")


@virtual_time(seeds=range(3))
async def test_whoever_leaves_leaves_the_others() -> None:
    """A cancelled caller is not waited for; when all have left, what they asked for is stopped or never begun."""
    calls: Calls = []
    used, batch = priced(calls, took_s=3.0), Batcher(LoopClock())

    async def left_after(*leave_s: float | None) -> list[Any]:
        made = [asyncio.create_task(batch(operation(used, item), policy(), transport)) for item in range(2)]
        for task, after_s in zip(made, leave_s, strict=True):
            if after_s is not None:
                asyncio.get_running_loop().call_later(after_s, task.cancel)
        return list(await asyncio.gather(*made, return_exceptions=True))

    first, second = await left_after(0.05, None)  # before the batch begins: it is without the first
    assert isinstance(first, asyncio.CancelledError)
    assert second == Outcome(2, b"")
    assert calls == [[{"item": 1}]]
    await left_after(1.0, 1.5)
    assert len(calls) == 2
    await left_after(0.05, 0.06)
    await asyncio.sleep(1.0)
    assert len(calls) == 2  # nobody was left when the window closed
    assert len(asyncio.all_tasks()) == 1


@virtual_time()
async def test_texts_for_one_model_become_one_request() -> None:
    """Each caller gets the vectors of its texts, and of the tokens its share: they add up."""
    asked: list[EmbedRequest] = []

    class Counting(ScriptedModel):
        async def embed(self, request: EmbedRequest) -> Embeddings:
            asked.append(request)
            found = await super().embed(request)
            return found.model_copy(update={"usage": Usage(input_tokens=11)})

    model = Counting([], embed=lambda text: [float(len(text))])
    batch = Batcher(LoopClock())

    async def through(made: Operation) -> Outcome:
        return await run_model_call(made, model, LoopClock(), capture_content=False)

    def embedding(*texts: str) -> Operation:
        made = operation(priced([]), 0)
        made.kind, made.request = OperationKind.MODEL, ModelCall(request=EmbedRequest(model="m", texts=texts, run="r"))
        return made

    made = [embedding("a", "bbb"), embedding("cc"), embedding("dddd")]
    found = [each.value for each in await asyncio.gather(*(batch(each, policy(), through) for each in made))]
    assert [each.vectors for each in found] == [((1.0,), (3.0,)), ((2.0,),), ((4.0,),)]
    assert [each.usage.input_tokens for each in found] == [4, 2, 5]
    assert [(each.texts, each.run) for each in asked] == [(("a", "bbb", "cc", "dddd"), "r")]


@virtual_time()
async def test_a_model_that_loses_vectors_fails_every_caller() -> None:
    """With a typed error."""

    class Short(ScriptedModel):
        async def embed(self, request: EmbedRequest) -> Embeddings:
            return Embeddings(vectors=((1.0,),), usage=Usage())

    async def through(made: Operation) -> Outcome:
        return await run_model_call(made, Short([]), LoopClock(), capture_content=False)

    made = operation(priced([]), 0)
    made.request = ModelCall(request=EmbedRequest(model="m", texts=("a", "b")))
    with pytest.raises(ModelError, match="1 vectors for 2 texts"):
        await Batcher(LoopClock())(made, policy(), through)


def test_a_write_has_no_batch() -> None:
    """Nor one that is not async: both are errors where the tool is defined."""

    async def together(items: list[dict[str, Any]]) -> list[Any]:
        return items

    with pytest.raises(ConfigurationError, match="writes and has batch="):

        @tool(batch=together)
        async def charge(item: int) -> None:
            """Charge."""

    plain: Any = list
    with pytest.raises(ConfigurationError, match="is not async: give it an async function"):

        @tool(effect="read", batch=plain)
        async def price(item: int) -> None:
            """Price."""
