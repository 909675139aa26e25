"""Attention over the paged cache."""

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from antiphon.kernels import ops, samples
from antiphon.kernels.paged_layout import PAGE
from antiphon.kernels.samples import numbers
from kernel_rows.case import HEAD, HEADS, KV_HEADS, Case, Figure, Prepared


def attention() -> list[Case]:
    """Every row of this kind."""

    def decode(rows: int, context: int) -> Callable[[torch.device], Prepared]:
        def prepare(device: torch.device) -> Prepared:
            layout, pages = samples.layout_of([(1, context)] * rows, device)
            keys, values = (numbers(pages, PAGE, KV_HEADS, HEAD, device=device) for _ in range(2))
            q = numbers(rows, HEADS, HEAD, device=device)
            moved = 2 * 2 * rows * context * KV_HEADS * HEAD
            return Prepared(call=lambda: ops.paged_attention(q, keys, values, layout), bytes=moved)

        return prepare

    def prompt(device: torch.device) -> Prepared:
        rows, length = 4, 4096
        layout, pages = samples.layout_of([(length, length)] * rows, device)
        keys, values = (numbers(pages, PAGE, KV_HEADS, HEAD, device=device) for _ in range(2))
        q = numbers(rows * length, HEADS, HEAD, device=device)
        dense_q = numbers(rows, HEADS, length, HEAD, device=device)
        dense_k, dense_v = (numbers(rows, KV_HEADS, length, HEAD, device=device) for _ in range(2))

        def flash() -> torch.Tensor:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return scaled_dot_product_attention(dense_q, dense_k, dense_v, is_causal=True, enable_gqa=True)

        return Prepared(call=lambda: ops.paged_attention(q, keys, values, layout), peer=flash)

    def narrow(dtype: torch.dtype) -> Callable[[torch.device], Prepared]:
        def prepare(device: torch.device) -> Prepared:
            layout, pages = samples.layout_of([(1, 4096)] * 64, device)
            keys, values = (numbers(pages, PAGE, KV_HEADS, HEAD, device=device) for _ in range(2))
            narrow_keys, narrow_values = keys.mul(16).to(dtype), values.mul(16).to(dtype)
            scales = torch.full((pages, PAGE, KV_HEADS), 1 / 16, device=device)
            q = numbers(64, HEADS, HEAD, device=device)
            return Prepared(
                call=lambda: ops.paged_attention(
                    q, narrow_keys, narrow_values, layout, key_scales=scales, value_scales=scales
                ),
                peer=lambda: ops.paged_attention(q, keys, values, layout),
            )

        return prepare

    return [
        *(
            Case(
                key=f"decode_{rows}x{context}_of_copy",
                op="paged_attention",
                shape=f"{rows} decodes at {context}",
                figure=Figure.COPY,
                goal=0.75,
                prepare=decode(rows, context),
            )
            for rows, context in ((64, 4096), (1, 262_144))
        ),
        Case(
            key="prompt_4096_gain",
            op="paged_attention",
            shape="4 prompts of 4096, peer SDPA flash",
            figure=Figure.GAIN,
            goal=0.6,
            prepare=prompt,
        ),
        *(
            Case(
                key=f"kv_{name}_gain",
                op=f"paged_attention, {name} cache",
                shape="64 decodes at 4096, peer bf16",
                figure=Figure.GAIN,
                goal=1.6,
                prepare=narrow(dtype),
            )
            for name, dtype in (("int8", torch.int8), ("fp8", torch.float8_e4m3fn))
        ),
    ]
