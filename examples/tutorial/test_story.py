"""The story without network, model or waiting: cd examples && python -m pytest tutorial"""

import asyncio

import pytest
from tutorial.story import Wish, system, tell

from antiphon.runtime.errors import ModelUnavailable, TaskDead
from antiphon.runtime.testing import ScriptedModel, memory_cluster, memory_system, virtual_time

CHAPTERS = ["It rained.", "It rained on.", "A boat came.", "The end."]


@virtual_time()
async def test_each_chapter_goes_on_from_the_last() -> None:
    model = ScriptedModel(CHAPTERS)
    async with memory_system(system, models={"smollm2-135m": model}) as client:
        story = await (await client.submit(tell, Wish(about="rain"))).result()
    assert story.chapters == CHAPTERS
    assert "Before: A boat came." in model.requests[-1].conversation[-1].text


@virtual_time(seeds=range(20))
async def test_a_killed_worker_repeats_no_chapter_that_was_told() -> None:
    """A word takes ten virtual seconds; the node dies in the second chapter, in twenty orders of events."""
    model = ScriptedModel([*CHAPTERS[:2], *CHAPTERS[1:]], token_s=10.0)
    async with memory_cluster(system, models={"smollm2-135m": model}) as cluster:
        task = await cluster.client.submit(tell, Wish(about="rain"))
        await asyncio.sleep(35)
        await cluster.kill("node-0")
        await cluster.start("node-0")
        assert (await task.result()).chapters == CHAPTERS
    assert len(model.requests) == 5


@virtual_time()
async def test_a_model_that_stays_away_ends_the_task_with_its_reason() -> None:
    away = ScriptedModel(lambda request: ModelUnavailable("nobody is at home"))
    async with memory_system(system, models={"smollm2-135m": away}) as client:
        task = await client.submit(tell, Wish(about="rain"))
        with pytest.raises(TaskDead, match="nobody is at home"):
            await task.result()
