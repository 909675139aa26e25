"""A step of the same model in our kernels, and in the vendor's: cuBLAS for products, torch's SDPA for attention.

Both are captured in a CUDA graph on an accelerator, so that what is compared is kernels and not Python. The peer's
cache lies as SDPA likes it best, a whole row of keys side by side. Products of more than 16 rows are the vendor's in
ours too, as the op says; up to there every kernel of ours is Triton.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.kernels.platform import gpu_seconds
from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.kv_pages import KvPages
from antiphon.runtime.engine.step_graphs import Work, record_cuda_graphs
from engine_gpu_cases.shape import RandomWeights


def ours(config: ModelConfig, place: Place, rows: int, count: int, context: int) -> Work:
    """A step of ``rows`` with ``count`` new tokens each, of ``context``, through our engine's model."""
    model = Llama(config, RandomWeights(place), place)
    each = -(-context // PAGE_TOKENS)
    pages = KvPages(config, rows * each, place.dtype, place.device)
    for pool in (pages.keys, pages.values):
        pool.normal_()
    table = torch.arange(rows * each, dtype=torch.int32, device=place.device).view(rows, each)
    positions = torch.arange(context - count, context, device=place.device)
    slots = table.long()[:, positions // PAGE_TOKENS] * PAGE_TOKENS + positions % PAGE_TOKENS
    layout = PagedLayout(
        query_starts=torch.arange(rows + 1, dtype=torch.int32, device=place.device) * count,
        context_tokens=torch.full((rows,), context, dtype=torch.int32, device=place.device),
        page_table=table,
        slots=slots.flatten(),
        most_queries=count,
        most_context=context,
    )
    ids = torch.zeros(rows * count, dtype=torch.int64, device=place.device)
    last = torch.arange(1, rows + 1, device=place.device) * count - 1
    tiled = positions.repeat(rows)
    return lambda: model.logits(model.forward(ids, tiled, layout, pages)[last])


def theirs(config: ModelConfig, place: Place, rows: int, count: int, context: int) -> Work:
    """The same step in torch."""
    weights = RandomWeights(place)
    width, head_width, ffn = config.width, config.head_width, config.ffn_width
    heads, kv_heads = config.heads, config.kv_heads
    table = weights.get("embedding", (config.vocabulary, width))
    head = weights.get("head", (config.vocabulary, width))
    norm = weights.get("norm", (width,))
    qkv_rows = (heads + 2 * kv_heads) * head_width
    shapes = ((qkv_rows, width), (width, heads * head_width), (2 * ffn, width), (width, ffn))
    layers = [[weights.get("matrix", shape) for shape in shapes] for _ in range(config.layers)]
    cache = torch.randn(config.layers, 2, rows, kv_heads, context, head_width, device=place.device).to(place.dtype)
    positions = torch.arange(context - count, context, device=place.device)
    frequencies = config.rope_theta ** -(torch.arange(0, head_width, 2, device=place.device) / head_width)
    angles = (positions[:, None] * frequencies).repeat(1, 2)
    cos, sin = angles.cos().to(place.dtype), angles.sin().to(place.dtype)
    ids = torch.zeros(rows, count, dtype=torch.int64, device=place.device)

    def turned(x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    def step() -> torch.Tensor:
        x = embedding(ids, table)
        for (qkv, out, gate_up, down), (keys, values) in zip(layers, cache, strict=True):
            parts = linear(rms_norm(x, (width,), norm), qkv).view(rows, count, -1, head_width).transpose(1, 2)
            q, k, v = torch.split(parts, [heads, kv_heads, kv_heads], dim=1)
            keys[:, :, context - count :] = turned(k)
            values[:, :, context - count :] = v
            attended = scaled_dot_product_attention(turned(q), keys, values, is_causal=count > 1, enable_gqa=True)
            x = x + linear(attended.transpose(1, 2).flatten(2), out)
            gate, up = linear(rms_norm(x, (width,), norm), gate_up).chunk(2, dim=-1)
            x = x + linear(silu(gate) * up, down)
        return linear(rms_norm(x[:, -1], (width,), norm), head).float()

    return step


def ratio(config: ModelConfig, place: Place, *, rows: int, count: int, context: int, rounds: int) -> float:
    """How many times as fast ours is; medians.

    Raises:
        ValueError: a chunk in the middle of a prompt: SDPA's causal mask is that of a whole one.
    """
    if count not in (1, context):
        raise ValueError(f"found {count} of {context} tokens, expected 1 or all")
    took_s = []
    for make in (theirs, ours):
        took_s.append(_median_s(make(config, place, rows, count, context), place, rounds))
        if place.device.type == "cuda":
            torch.cuda.empty_cache()
    return took_s[0] / took_s[1]


@torch.inference_mode()
def _median_s(work: Work, place: Place, rounds: int) -> float:
    timed: Callable[[Work], float] = _cpu_seconds
    if place.device.type == "cuda":
        work, timed = record_cuda_graphs()(work), gpu_seconds
    for _ in range(3):
        work()
    return statistics.median(timed(work) for _ in range(rounds))


def _cpu_seconds(work: Work) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
