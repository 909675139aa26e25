"""What makes two operations equal, and what a second one is given."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.policies.desk import MODEL, Desk, Steps, policy_of

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.guards.guard import Moment, Stage
from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.policies.chain import Operation, OperationKind, Scope
from antiphon.runtime.policies.sharing import work_of
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.runtime.tool import ToolRun
from antiphon.schemas.inference import GenerateRequest, Role, turn
from antiphon.schemas.policy import Cache, SingleFlight
from antiphon.schemas.task import Effect, Token

SEARCH = policy_of(Cache(ttl_s=30), "tool look")


@tool(effect="pure")
async def look(words: str, most: int = 3) -> dict[str, int]:
    """Look something up."""
    return {words: most}


def operation(arguments: dict[str, Any], *, tenant: str = "t", run: str = "r", agent: str = "a") -> Operation:
    """A run of the tool."""
    return Operation(
        kind=OperationKind.TOOL,
        path="1",
        target="look",
        scope=Scope(tenant, run, agent=agent),
        body=b"what the journal knows it by",
        effect=Effect.PURE,
        request=ToolRun(look, arguments),
        restore=look.restore,
    )


@given(one=st.dictionaries(st.text(), st.integers()), other=st.dictionaries(st.text(), st.integers()))
def test_equal_are_those_with_equal_arguments(one: dict[str, int], other: dict[str, int]) -> None:
    """Whoever's run and agent it is."""
    found = [work_of(operation(one), SEARCH), work_of(operation(other, run="s", agent="b"), SEARCH)]
    assert None not in found
    if list(one.items()) == list(other.items()):
        assert found[0] == found[1]
    if one != other:
        assert found[0] != found[1]


def test_tenants_policies_states_and_arms_are_apart() -> None:
    """What differs in one of them never shares a result."""
    plain = operation({"words": "a"})
    treated = operation({"words": "a"})
    treated.attributes[names.POLICY_ARM] = ["other=treated"]
    found = [
        work_of(plain, SEARCH),
        work_of(operation({"words": "a"}, tenant="u"), SEARCH),
        work_of(treated, SEARCH),
        work_of(plain, SEARCH.model_copy(update={"id": "q"})),
        work_of(plain, SEARCH.model_copy(update={"since_unix_ms": 7})),
    ]
    keys = [work.key for work in found if work is not None]
    assert len(keys) == len({*keys}) == 5


def test_requests_are_equal_whoever_makes_them() -> None:
    """Run, task, priority and deadline are not part of what a model is asked; the words are."""

    def asked(words: str, **caller: Any) -> Any:
        request = GenerateRequest(model=MODEL, conversation=(turn(Role.USER, words),), **caller)
        found = work_of(
            Operation(
                kind=OperationKind.MODEL,
                path="1",
                target=MODEL,
                scope=Scope("t", "r"),
                body=b"",
                effect=Effect.PURE,
                request=ModelCall(request=request),
                restore=bytes,
            ),
            SEARCH,
        )
        assert found is not None
        return found.key

    assert asked("a") == asked("a", run="r", task="t", priority=3, deadline_unix_ms=9)
    assert asked("a") != asked("b")


@virtual_time()
async def test_a_result_is_nobody_else_s_to_change() -> None:
    """Every handler is given its own."""

    class Bag(Message):
        things: list[str]

    agent = Agent("agent", tools=[listing])

    @agent.handles
    async def spoil(message: Bag, ctx: Context) -> Bag:
        found = await ctx.tool(listing)
        found.append("spoiled")
        return Bag(things=found)

    policies = [
        policy_of(Cache(ttl_s=30), "tool listing", id="c"),
        policy_of(SingleFlight(), "tool listing", id="s"),
    ]
    async with memory_system(System("s", agents=[agent], policies=policies)) as client:
        for _ in range(3):
            assert (await client.ask(spoil, Bag(things=[]))).things == ["one", "spoiled"]


@tool(effect="pure")
async def listing() -> list[str]:
    """A list."""
    return ["one"]


class Censor:
    """A guard that has the tool look for something else."""

    name = "censor"
    stages = (Stage.TOOL_ARGUMENTS,)

    async def check(self, value: Any, moment: Moment) -> Any:
        """Another text."""
        return {**value, "words": "something else"}


@virtual_time()
async def test_what_a_guard_put_in_its_place_is_what_counts() -> None:
    """The journal knows the operation by what the handler wanted; the cache must not."""
    desk = Desk()
    desk.clerk = Agent("clerk", tools=list(desk.desk.tools.values()), guards=[Censor()])
    desk.also = desk._handler(desk.clerk)
    async with desk.open(policy_of(Cache(ttl_s=30), "tool search")):
        assert await desk.run("search a", "ask search a", "search something else") == (
            "a 1",
            "said=('something else 2',)",
            "something else 2",
        )


@virtual_time()
async def test_whoever_listens_is_shown_an_answer_that_was_there() -> None:
    """All of it, at once."""
    agent = Agent("teller")

    @agent.handles
    async def tell(message: Steps, ctx: Context) -> Steps:
        return Steps(steps=(await ctx.model.generate(str, "tell", emit=True),))

    models = {MODEL: ScriptedModel([Scripted(text="once upon a time")])}
    system = System("s", agents=[agent], policies=[policy_of(Cache(ttl_s=30), f"model {MODEL}")])
    async with memory_system(system, models=models) as client:
        for _ in range(2):
            seen = [item async for item in client.stream(tell, Steps(steps=()))]
            assert "".join(item.text for item in seen if isinstance(item, Token)) == "once upon a time"


def test_a_read_must_have_seen_what_its_run_wrote() -> None:
    """Pure work need not; nor is it other runs' business."""
    written = Written()
    seen = written.count
    pure = work_of(operation({"words": "a"}), SEARCH)
    written.note("r")
    assert pure is not None and pure.fresh(seen, "r", written)
    reads = type(pure)(pure.key, reads=True, ttl_s=1.0)
    assert not reads.fresh(seen, "r", written)
    assert reads.fresh(seen, "other", written) and reads.fresh(written.count, "r", written)
