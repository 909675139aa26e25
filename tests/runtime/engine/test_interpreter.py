"""The engine on its Triton kernels, in the interpreter. A process of its own: Triton reads the switch when imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.request import Request, TokenEvent
from antiphon.schemas.inference import Sampling

SCRIPT = Path(__file__).with_name("interpreted.py")
TOKENS = 4


def interpreted(case: str, path: Path, *given: Any) -> Any:
    """What the script finds."""
    command = [sys.executable, str(SCRIPT), case, str(path), *map(json.dumps, given)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(120)
def test_a_model_of_two_layers_replies_as_in_torch(tiny: Engine, tiny_path: Path) -> None:
    """A chunk of several prompts and then decodes, through every kernel of a step: token for token, in float32."""
    prompts = [list(range(5, 17)), [9, 8, 7], [20]]
    expected = []
    for prompt in prompts:
        request = Request(id="r", prompt=tuple(prompt), sampling=Sampling(max_tokens=TOKENS))
        expected.append([event.token for event in tiny.generate(request) if isinstance(event, TokenEvent)])
    assert [len(reply) for reply in expected] == [TOKENS] * 3
    assert interpreted("greedy", tiny_path, prompts, TOKENS) == expected


@pytest.mark.timeout(120)
def test_serving_meets_no_variant_of_a_kernel_that_warm_up_did_not(tiny_path: Path) -> None:
    """Graphs, chunks, drafts, grammars, draws and penalties launch what was launched before: nothing is compiled.

    By Triton's rule for what it compiles anew, as the interpreter sees it; the gpu mark counts compilations.
    """
    found = interpreted("variants", tiny_path)
    assert found["warm"] > 20
    assert found["recorded"] == [1, 2, 3]
    assert found["drafted"]
    assert found["new"] == []
