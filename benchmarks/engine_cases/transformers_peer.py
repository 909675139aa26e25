"""Sixteen requests of mixed lengths, all at once: our engine and transformers' generate, tokens per second in all."""

import random
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from engine_cases.load import bench, prompt_of

REQUESTS = 16


def lengths(quick: bool) -> list[tuple[int, int]]:
    """(prompt, reply) of each request."""
    rng = random.Random(23)
    most = 64 if quick else 160
    return [(rng.randrange(16, 384), rng.randrange(8, most)) for _ in range(REQUESTS)]


def ours(path: Path, shapes: list[tuple[int, int]]) -> float:
    """Replies' tokens per second."""
    with bench(path, itl_target_s=10.0) as on:
        on.submit(prompt_of(64, 1), 4).wait()
        began_s = time.perf_counter()
        watches = [on.submit(prompt_of(prompt, 100 + at), reply) for at, (prompt, reply) in enumerate(shapes)]
        for watch in watches:
            watch.wait()
        return sum(reply for _, reply in shapes) / (time.perf_counter() - began_s)


def theirs(gguf: Path, shapes: list[tuple[int, int]]) -> dict[str, float]:
    """The same in bfloat16, ``one by one``, and ``padded`` into one batch that runs as long as its longest reply.

    Its continuous batching needs an accelerator.
    """
    model = load(gguf)
    found = {}
    with torch.inference_mode():
        _generate(model, [prompt_of(64, 1)], 4)
        began_s = time.perf_counter()
        for at, (prompt, reply) in enumerate(shapes):
            _generate(model, [prompt_of(prompt, 100 + at)], reply)
        found["one by one"] = time.perf_counter() - began_s
        began_s = time.perf_counter()
        prompts = [prompt_of(prompt, 100 + at) for at, (prompt, _) in enumerate(shapes)]
        _generate(model, prompts, max(reply for _, reply in shapes))
        found["padded"] = time.perf_counter() - began_s
    total = sum(reply for _, reply in shapes)
    return {how: total / took_s for how, took_s in found.items()}


def load(gguf: Path) -> Any:
    """transformers' model of the file, in the dtype that this processor computes natively."""
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    dtype = torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32
    torch.set_num_threads(2)
    config = transformers.AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = transformers.LlamaForCausalLM(config)
    convert: Any = load_gguf_checkpoint
    model.load_state_dict(convert(str(gguf), return_tensors=True, model_to_load=model)["tensors"], strict=False)
    rounded: Any = model
    return rounded.to(dtype).eval()


def _generate(model: Any, prompts: list[list[int]], tokens: int) -> None:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    model.generate(
        ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0
    )
