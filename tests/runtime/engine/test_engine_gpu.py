"""The engine on an accelerator: graphs, compilations, codes, memory. Not run where this was written: there was none.

Of the same logic, test_step_graphs.py and test_interpreter.py run what a CPU can.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import pytest

from antiphon.kernels.jit_monitor import watch_compilations
from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.testing import replies
from antiphon.schemas.inference import Sampling

if TYPE_CHECKING:
    from tests.runtime.engine.conftest import GgufMaker

pytestmark = pytest.mark.gpu

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}}, "required": ["a"]}
KINDS: tuple[tuple[int, dict[str, Any], dict[str, Any] | None], ...] = (
    (90, {}, None),
    (3, {"temperature": 0.8, "top_p": 0.9, "seed": 1}, None),
    (9, {"temperature": 1.0, "seed": 2}, SCHEMA),
    (2, {}, SCHEMA),
    (5, {"repetition_penalty": 1.2, "presence_penalty": 0.5}, None),
    (400, {"logprobs": 3}, None),
    (1, {}, None),
)


def asked(kinds: tuple[int, ...] = tuple(range(len(KINDS)))) -> list[Request]:
    """Requests of these kinds; prompts repeat themselves, so that drafts are made."""
    return [
        Request(
            id=str(kind),
            prompt=tuple(5 + (kind + index) % 11 for index in range(KINDS[kind][0])),
            sampling=Sampling(max_tokens=24, **KINDS[kind][1]),
            json_schema=KINDS[kind][2],
        )
        for kind in kinds
    ]


@contextmanager
def engine_at(path: Path, **config: Any) -> Iterator[Engine]:
    """An engine with little memory, which is closed."""
    engine = Engine.load(path, EngineConfig(**{"cache_tokens": 8192, "max_rows": 8, **config}))
    try:
        yield engine
    finally:
        engine.close()


def test_graphs_reply_as_eager_steps_do(tiny_path: Path) -> None:
    """Token for token in float32, masks, draws and penalties too."""
    with engine_at(tiny_path, dtype="float32", speculate=False) as engine:
        found = replies(engine, asked())
        assert engine.runner.graphs is not None
        assert engine.runner.graphs.recorded
    with engine_at(tiny_path, dtype="float32", speculate=False) as eager:
        eager.runner.graphs = None
        assert replies(eager, asked()) == found


@pytest.mark.parametrize("config", [{}, {"batch_invariant": True}, {"dtype": "float16"}])
def test_nothing_is_compiled_after_warm_up(tiny_path: Path, config: dict[str, Any]) -> None:
    """Whatever is asked for, alone and together."""
    with engine_at(tiny_path, **config) as engine, watch_compilations() as compiled:
        for kind in range(len(KINDS)):
            replies(engine, asked((kind,)))
        for _ in range(3):
            replies(engine, asked())
    assert compiled == []


def test_invariant_replies_are_those_alone(tiny_path: Path) -> None:
    """In bf16, with graphs for some steps and without for others."""
    with engine_at(tiny_path, batch_invariant=True) as engine:
        alone = {kind: replies(engine, asked((kind,)))[str(kind)] for kind in range(len(KINDS))}
        together = replies(engine, asked())
    assert together == {str(kind): tokens for kind, tokens in alone.items()}


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0])
def test_codes_reply_in_less_memory(gguf_maker: "GgufMaker", tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    """A quantised file is served from its codes, and every request gets its reply."""
    path = gguf_maker.write(tmp_path / "model.gguf", kind)
    with engine_at(path, dtype="bfloat16") as dense:
        dense_bytes = dense.runner.model.read_bytes(tokens=1, scored=1)
    with engine_at(path) as engine:
        assert engine.runner.model.read_bytes(tokens=1, scored=1) < dense_bytes
        assert all(replies(engine, asked()).values())


def test_pages_take_the_memory_that_is_left(tiny_path: Path) -> None:
    """Unless told otherwise: more than the fixed pool of a CPU."""
    with engine_at(tiny_path, cache_tokens=None) as engine:
        assert engine.runner.pages.count > 16 * 2048 // 64
        assert all(replies(engine, asked()).values())
