"""Run by test_interpreter.py in a process whose Triton interprets: the engine on a tiny checkpoint; prints JSON."""

import inspect
import json
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from triton.runtime.interpreter import InterpretedFunction  # type: ignore[import-untyped]

from antiphon.kernels import registry
from antiphon.kernels.platform import DeviceFacts
from antiphon.kernels.registry import Accelerator, Backend
from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.step_graphs import StepGraphs, Work
from antiphon.runtime.engine.testing import replies
from antiphon.runtime.engine.warm_up import warm_up
from antiphon.schemas.inference import Sampling


def greedy(path: Path, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    """What the engine replies to prompts, ``tokens`` each."""
    engine = Engine.load(path, EngineConfig(dtype="float32", cache_tokens=512))
    asked = [
        Request(id=str(index), prompt=tuple(prompt), sampling=Sampling(max_tokens=tokens))
        for index, prompt in enumerate(prompts)
    ]
    found = replies(engine, asked)
    engine.close()
    return list(found.values())


def variants(path: Path) -> dict[str, Any]:
    """What Triton would have to compile after warm-up, on an accelerator with 132 multiprocessors.

    Of launches only the sampler's are carried out, and only where a grammar masks: for the others it is enough to know
    them, and token 0 is drawn.
    """
    allocator: Any = torch
    allocator.empty, allocator.empty_like = torch.zeros, torch.zeros_like
    facts = DeviceFacts(name="made up", arch="sm_90", units=132, memory_bytes=0)
    cpu = Accelerator(backend=Backend.REFERENCE, facts=lambda index: facts)
    registry.ACCELERATORS = MappingProxyType({"cpu": cpu})
    met: set[str] = set()
    serving = False
    run = InterpretedFunction.run

    def noted(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        met.add(variant_of(kernel, arguments, named))
        if serving and named.get("MASKED"):
            return run(kernel, *arguments, grid=grid, warmup=warmup, **named)
        return None

    InterpretedFunction.run = noted
    engine = Engine.load(path, EngineConfig(dtype="float32", cache_tokens=640, itl_target_s=1e3))
    # By request and not by measured times, so that every run meets the same steps.
    engine.scheduler.propose = lambda sequence, most: (0,) * min(most, sequence.request.priority)
    runner = engine.runner

    def record(work: Work) -> Work:
        return work

    runner.graphs = StepGraphs(
        lambda ids, positions, layout: runner.model.forward(ids, positions, layout, runner.pages),
        record,
        most_rows=3,
        most_pages=runner.pages.count,
        device=torch.device("cpu"),
    )
    warm_up(runner)
    warm, serving = set(met), True
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "yy"]}}, "required": ["a"]}
    drawn, penalised = {"temperature": 0.8, "top_k": 9}, {"repetition_penalty": 1.2, "presence_penalty": 0.5}
    batches: list[list[tuple[int, dict[str, Any], Any, int]]] = [  # prompt, sampling, schema, drafts
        [(70, {}, None, 0), (3, drawn, None, 0), (9, drawn, schema, 0)],
        [(2, {}, schema, 0), (5, drawn | penalised, None, 3), (6, {}, None, 2)],
        [(300, drawn, None, 0), (4, drawn, None, 1)],
        [(1, penalised, None, 0)],
    ]
    for batch in batches:
        asked = [
            Request(
                id=str(length),
                prompt=tuple(5 + index % 7 for index in range(length)),
                sampling=Sampling(max_tokens=10, seed=1, **fields),
                json_schema=shape,
                priority=drafts,
            )
            for length, fields, shape, drafts in batch
        ]
        replies(engine, asked)
    drafted = engine.metrics().draft_acceptance is not None
    engine.close()
    recorded = sorted(runner.graphs.recorded)
    return {"warm": len(warm), "recorded": recorded, "drafted": drafted, "new": sorted(met - warm)}


def variant_of(kernel: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    """What Triton compiles a kernel by: types, constants, and of other numbers and addresses whether they are 1 or a
    multiple of 16."""
    signature = inspect.signature(kernel.fn)
    passed = dict(zip(signature.parameters, arguments, strict=False)) | named
    plain = kernel.kwargs.get("do_not_specialize") or ()
    parts = []
    for name, value in passed.items():
        constant = name not in signature.parameters or "constexpr" in str(signature.parameters[name].annotation)
        if isinstance(value, torch.Tensor):
            part = f"{value.dtype}:{value.data_ptr() % 16 == 0}"
        elif constant or value is None:
            part = repr(value)
        elif isinstance(value, float) or name in plain:
            part = type(value).__name__
        else:
            part = "1" if value == 1 else f"int:{value % 16 == 0}"
        parts.append(f"{name}={part}")
    return f"{kernel.fn.__name__}({', '.join(parts)})"


if __name__ == "__main__":
    case, folder, *given = sys.argv[1:]
    cases: dict[str, Any] = {"greedy": greedy, "variants": variants}
    print(json.dumps(cases[case](Path(folder), *map(json.loads, given))))
