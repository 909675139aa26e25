"""Steps on the device: what they leave behind in memory."""

from pathlib import Path

import pytest
import torch

from antiphon.runtime.engine import runner as runners
from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.plan import Row, Sampled, Sequence, StepPlan
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.runner import Runner
from antiphon.runtime.engine.sampler import SampleRow


def test_large_steps_give_their_activations_back(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a chunk of a prompt, once its tensors are free; not after a token, which leaves next to nothing."""
    checkpoint = open_checkpoint(tiny_path)
    place = Place(torch.device("cpu"), torch.float32)
    runner = Runner(checkpoint.config, checkpoint.weights, place, pages=8, max_rows=4)
    prompt = tuple(range(5, 200)) * 2
    sequence = Sequence(request=Request(id="r", prompt=prompt), tokens=list(prompt), pages=list(range(8)))
    trims: list[int] = []
    monkeypatch.setattr(runners, "trim_heap", lambda: trims.append(sequence.computed))

    def step(count: int) -> list[Sampled | Exception]:
        end = sequence.computed + count
        row = Row(sequence=sequence, start=sequence.computed, count=count, samples=end == len(sequence.tokens))
        found = runner.run(StepPlan(rows=(row,)), lambda row: SampleRow(sequence=row.sequence))
        sequence.computed = end
        return found

    for count in (256, 133, 1):
        found = step(count)
    assert trims == [0]
    assert len(found) == 1
