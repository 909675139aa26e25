"""Repeated work is answered from its last result, as long as that is good, and to nobody else."""

from tests.runtime.policies.desk import MODEL, Desk, Steps, policy_of

from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.policy import Cache, Level

SEARCH = policy_of(Cache(ttl_s=30), "tool search")


@virtual_time()
async def test_the_second_is_answered_from_the_first() -> None:
    """In this run and in others; the span says by which policy."""
    async with Desk().open(SEARCH) as desk:
        assert await desk.run("search a", "search a", "search b") == ("a 1", "a 1", "b 2")
        assert await desk.run("search a") == ("a 1",)
    assert desk.runs["search"] == 2
    assert desk.attribute("tool", names.ANSWERED_BY) == ["p", "p"]
    assert desk.attribute("tool", names.POLICY_ARM) == [["p=treated"]] * 4


@virtual_time()
async def test_a_result_is_as_old_as_the_shorter_ttl() -> None:
    """The policy's 30 s end before the tool's 60 s; the age counts from when the work began."""
    async with Desk().open(SEARCH) as desk:
        await desk.run("search a", *["sleep 2"] * 14)  # 1 s of work and 28 s
        assert await desk.run("search a") == ("a 1",)
        await desk.run("sleep 1")
        assert await desk.run("search a") == ("a 2",)
    async with Desk().open(policy_of(Cache(ttl_s=3600), "tool search")) as desk:
        await desk.run("search a", *["sleep 2"] * 30)
        assert await desk.run("search a") == ("a 2",)


@virtual_time()
async def test_what_a_run_has_written_is_not_hidden_by_what_was_read_before() -> None:
    """Other runs still get it; a pure tool's result cannot have changed."""
    async with Desk().open(SEARCH, policy_of(Cache(ttl_s=30), "tool count", id="q")) as desk:
        said = await desk.run("search a", "count abc", "note x", "search a", "count abc", "search a")
        assert said == ("a 1", "3", "x", "a 2", "3", "a 2")
        assert await desk.run("search a") == ("a 2",)
    assert desk.runs["count"] == 1


@virtual_time()
async def test_a_read_during_a_write_is_not_trusted_after_it() -> None:
    """The write may have happened when the read had been done."""
    desk = Desk()
    async with desk.open(SEARCH):
        said = await desk.run("note x | search a", "search a")
    assert said == ("x", "a 1", "a 2")


@virtual_time()
async def test_only_declared_tools_and_repeatable_model_calls() -> None:
    """No ttl, a tuple that JSON would make a list, and a temperature: each is done again."""
    policies = [
        policy_of(Cache(ttl_s=30), "tool pair", id="pair"),
        policy_of(Cache(ttl_s=30), f"model {MODEL}", id="model"),
    ]
    async with Desk().open(*policies) as desk:
        assert await desk.run("pair x", "pair x") == ("('x', 'x')", "('x', 'x')")
        said = await desk.run("model hi", "model hi", "drawn hi", "drawn hi", "model ho")
    assert said == ("small says hello",) * 5
    assert (desk.runs["pair"], desk.runs["small"]) == (2, 4)
    assert desk.attribute("model", names.GENAI_REQUEST_MODEL) == [MODEL] * 5  # the one from the cache too
    for spent in (names.GENAI_INPUT_TOKENS, names.GENAI_OUTPUT_TOKENS):
        assert len(desk.attribute("model", spent)) == 4  # by the one from the cache nothing was spent


@virtual_time()
async def test_one_policy_for_one_agent() -> None:
    """The clerk's own search is done."""
    async with Desk().open(policy_of(Cache(ttl_s=30), "tool search", agent="desk")) as desk:
        assert await desk.run("search a", "search a", "ask search a", "ask search a") == (
            "a 1",
            "a 1",
            "said=('a 2',)",
            "said=('a 3',)",
        )


@virtual_time()
async def test_tools_of_one_name_are_not_the_same() -> None:
    """Two agents may mean different things by it."""
    one, two = Desk(), Desk()
    one.clerk.tools = two.desk.tools
    async with one.open(SEARCH):
        await one.run("search a", "ask search a", "search a")
    assert (one.runs["search"], two.runs["search"]) == (1, 1)


@virtual_time()
async def test_shadow_serves_the_new_and_says_whether_the_old_was_equal() -> None:
    """A tool whose result changes is not equal; a pure one is."""
    policies = [
        policy_of(Cache(ttl_s=30), "tool search", level=Level.SHADOW),
        policy_of(Cache(ttl_s=30), "tool count", id="q", level=Level.SHADOW),
    ]
    async with Desk().open(*policies) as desk:
        assert await desk.run("search a", "search a", "count a", "count a") == ("a 1", "a 2", "1", "1")
    assert desk.attribute("tool", names.SHADOW_EQUAL) == [False, True]
    assert desk.attribute("tool", names.ANSWERED_BY) == []


@virtual_time()
async def test_what_a_cache_answers_costs_nothing() -> None:
    """The budget is inside: two steps are the two model calls that were made."""
    async with Desk().open(policy_of(Cache(ttl_s=30), f"model {MODEL}")) as desk:
        steps = Steps(steps=("model a", "model a", "model b", "model a"))
        await desk.client.ask(desk.do, steps, budget={"steps": 2})
    assert desk.runs["small"] == 2
