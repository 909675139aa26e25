"""The whole engine: one stream, and many requests at once; and the same of transformers."""

import time
from typing import Any

import torch
from engine_cases.load import Bench

from antiphon.kernels.jit_monitor import watch_compilations
from antiphon.runtime.engine.device import Place
from engine_gpu_cases.shape import Shape, engine_of, prompts_of


def ours(shape: Shape, place: Place) -> tuple[float, float, int]:
    """(tokens per second of one stream, of all requests in and out together, kernels compiled meanwhile)."""
    engine = engine_of(shape, place)
    try:
        on, prompts = Bench(engine), prompts_of(shape)
        with watch_compilations() as compiled:
            on.submit(prompts[0], 8).wait()
            token_s = on.submit(prompts[0], shape.stream).wait().token_s
            for watch in [on.submit(prompt[:16], 8) for prompt in prompts]:  # the graphs of its buckets are recorded
                watch.wait()
            began_s = time.perf_counter()
            for watch in [on.submit(prompt, shape.reply) for prompt in prompts]:
                watch.wait()
            took_s = time.perf_counter() - began_s
    finally:
        engine.close()
    return (len(token_s) - 1) / (token_s[-1] - token_s[0]), shape.tokens / took_s, len(compiled)


def transformers(shape: Shape, place: Place) -> float:
    """Tokens per second, in and out, of its continuous batching; from the first request's arrival to the last's end,
    so that its own warm-up is left out.

    Raises:
        RuntimeError: a reply has another length than was asked for.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

    config = shape.config
    like = LlamaConfig(
        num_hidden_layers=config.layers,
        hidden_size=config.width,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_width,
        intermediate_size=config.ffn_width,
        vocab_size=config.vocabulary,
        max_position_embeddings=config.context_tokens,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=False,
    )
    kind: Any = AutoModelForCausalLM
    with torch.device(place.device):
        model = kind.from_config(like, dtype=place.dtype, attn_implementation="sdpa").eval()
    wanted: Any = GenerationConfig
    asked = wanted(max_new_tokens=shape.reply, do_sample=False, eos_token_id=-1, pad_token_id=0)
    outputs = list(model.generate_batch(inputs=prompts_of(shape), generation_config=asked).values())
    lengths = {len(output.generated_tokens) for output in outputs}
    if len(outputs) != shape.requests or lengths != {shape.reply}:
        raise RuntimeError(f"found {len(outputs)} replies of {lengths} tokens, expected {shape.requests}")
    took_s: float = max(output.lifespan[1] for output in outputs) - min(output.created_time for output in outputs)
    return shape.tokens / took_s
