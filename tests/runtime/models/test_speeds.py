"""Measuring a model whose speed is known."""

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.clock import LoopClock
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.models.speeds import Speeds, SpeedTest
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.inference import Chunk, Finish, FinishReason, GenerateRequest, Timing, Usage


class Known(ScriptedModel):
    """1,000 prompt tokens a second, one prompt after another; a token of each reply every 10 ms and 2 ms a reply."""

    def __init__(self) -> None:
        super().__init__([], context_tokens=4096)
        self.prompting = asyncio.Lock()
        self.prompts: set[str] = set()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance."""
        text = request.conversation[0].text
        assert text not in self.prompts  # it would be found in a cache
        self.prompts.add(text)
        tokens = len(text.split())
        async with self.prompting:
            await asyncio.sleep(tokens / 1000)
        self.active += 1
        began_s = asyncio.get_running_loop().time()
        for _ in range(request.sampling.max_tokens - 1):
            await asyncio.sleep(0.010 + 0.002 * self.active)
        self.active -= 1
        yield Finish(
            reason=FinishReason.LENGTH,
            usage=Usage(input_tokens=tokens, output_tokens=request.sampling.max_tokens),
            timing=Timing(decode_s=asyncio.get_running_loop().time() - began_s),
        )


async def measured(target_s: float, stages: list[str] | None = None) -> Speeds:
    """The speeds of such a model."""

    def progress(stage: str, done: float) -> None:
        assert 0 <= done <= 1
        if stages is not None:
            stages.append(stage)

    return await SpeedTest(Known(), clock=LoopClock(), rng=random.Random(7), progress=progress).run(target_s)


@virtual_time()
async def test_speeds_are_what_they_are() -> None:
    """Prompts exactly; replies as many at once as gain and keep the target, and so the weight of a token."""
    stages: list[str] = []
    found = await measured(0.030, stages)
    assert found.prompt_tokens_per_s == pytest.approx(1000, rel=0.01)
    assert found.streams == 8  # 16 would have 42 ms between tokens
    assert 0.010 < found.inter_token_s <= 0.030
    assert 8 / 0.026 * 0.8 < found.output_tokens_per_s < 8 / 0.024
    assert found.output_weight == pytest.approx(1000 / found.output_tokens_per_s, rel=0.01)
    assert 0 < found.mixed_tokens_per_s < 2000
    assert stages[0] == "loading"
    assert stages[-1] == "done"


@virtual_time()
async def test_a_tighter_target_leaves_fewer_at_once() -> None:
    """And one that not even a single reply keeps is an error with both numbers."""
    assert (await measured(0.0145)).streams == 2
    with pytest.raises(ConfigurationError, match=r"0\.012 s between tokens here, and the target is 0\.01 s"):
        await measured(0.01)


async def test_vectors_are_not_sold_in_units() -> None:
    """A model that embeds is refused before anything is measured."""
    instance = ScriptedModel([], embed=lambda text: [1.0])
    test = SpeedTest(instance, clock=LoopClock(), rng=random.Random(1), progress=lambda stage, done: None)
    with pytest.raises(ConfigurationError, match="makes vectors"):
        await test.run(0.1)
