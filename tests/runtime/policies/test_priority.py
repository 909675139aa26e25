"""Model calls get the number that a policy gives them."""

import asyncio

from tests.runtime.policies.desk import MODEL, Desk, Steps, policy_of

from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.policy import Priority

LEAST = policy_of(Priority(order="least_attained"), f"model {MODEL}")


def numbers(desk: Desk) -> list[int]:
    """Of the requests, as the model was given them."""
    model = desk.models[MODEL]
    assert isinstance(model, ScriptedModel)
    return [request.priority for request in model.requests]


@virtual_time()
async def test_calls_have_the_policys_number() -> None:
    """Whatever the caller gave; another agent's calls have theirs."""
    async with Desk().open(policy_of(Priority(order=7), f"model {MODEL}", agent="desk")) as desk:
        task = await desk.client.submit(desk.do, Steps(steps=("model hi", "ask model hi")), priority=5)
        await task.result(timeout_s=60)
        assert numbers(desk) == [7, 5]


@virtual_time()
async def test_who_has_had_least_comes_first() -> None:
    """A run's number falls as it is served; a new run begins at the top."""
    desk = Desk()
    desk.models[MODEL] = ScriptedModel(lambda request: Scripted(text="one two three four"), token_s=0.25)
    async with desk.open(LEAST):
        await desk.run(*["model hi"] * 5)
        await desk.run("model hi")
        # After 0, 1, 2, 3 and 4 s of service, less 2 % for age; steps are at 0.5, 1, 2 and 4 s.
        assert numbers(desk) == [7, 6, 5, 4, 4, 7]


@virtual_time()
async def test_batch_work_stays_below() -> None:
    """It fills what online work leaves; that is no matter of what it has had."""
    async with Desk().open(LEAST) as desk:
        task = await desk.client.submit(desk.do, Steps(steps=("model hi",)), priority=-3)
        await task.result(timeout_s=60)
        assert numbers(desk) == [-3]


@virtual_time()
async def test_calls_at_once_are_counted_together() -> None:
    """What a run has had is the sum over its branches."""
    desk = Desk()
    desk.models[MODEL] = ScriptedModel(lambda request: Scripted(text="one two three four"), token_s=0.25)
    async with desk.open(LEAST):
        await asyncio.gather(desk.run("model a | model b | model c | model d", "model e"))
        assert numbers(desk) == [7, 7, 7, 7, 4]  # a little less than 4 s
