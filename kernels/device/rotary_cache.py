"""From the fused projection to what attention reads: norms, rotation and the paged cache, one program a token."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase


@triton.jit  # type: ignore[untyped-decorator]
def _rotary_cache_kernel(
    # tensors
    q_ptr: tl.tensor,  # [tokens, heads, 2 * half]
    key_ptr: tl.tensor,  # [slots, kv_heads, 2 * half]
    value_ptr: tl.tensor,  # [slots, kv_heads, 2 * half]
    qkv_ptr: tl.tensor,  # [tokens, (heads + 2 * kv_heads) * 2 * half], any stride between tokens
    cos_ptr: tl.tensor,  # [tokens, half]
    sin_ptr: tl.tensor,  # [tokens, half]
    slots_ptr: tl.tensor,  # [tokens], int64
    q_norm_ptr: tl.tensor,  # [2 * half]; not read without NORM
    k_norm_ptr: tl.tensor,  # [2 * half]; not read without NORM
    # scalars
    heads: int,
    kv_heads: int,
    half: int,
    qkv_stride: int,
    eps: float,
    # constexprs
    NORM: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HALF: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, HALF)[None, :]
    q_head = tl.arange(0, HEADS)[:, None]
    kv_head = tl.arange(0, KV_HEADS)[:, None]
    cos = tl.load(cos_ptr + token * half + lane, mask=lane < half, other=0.0)
    sin = tl.load(sin_ptr + token * half + lane, mask=lane < half, other=0.0)
    source = qkv_ptr + token * qkv_stride

    q_inside = (q_head < heads) & (lane < half)
    q_place = q_head * 2 * half + lane
    q_first, q_second = _rotated(source + q_place, q_inside, q_norm_ptr, lane, half, eps, cos, sin, NORM)
    q_target = q_ptr + token * heads * 2 * half + q_place
    tl.store(q_target, q_first.to(q_ptr.dtype.element_ty), mask=q_inside)
    tl.store(q_target + half, q_second.to(q_ptr.dtype.element_ty), mask=q_inside)

    slot = tl.load(slots_ptr + token)
    written = tl.where(slot >= 0, kv_heads, 0)  # a padding token has slot -1
    kv_inside = (kv_head < written) & (lane < half)
    kv_place = kv_head * 2 * half + lane
    keys = source + heads * 2 * half + kv_place
    k_first, k_second = _rotated(keys, kv_inside, k_norm_ptr, lane, half, eps, cos, sin, NORM)
    cell = slot * kv_heads * 2 * half + kv_place
    tl.store(key_ptr + cell, k_first.to(key_ptr.dtype.element_ty), mask=kv_inside)
    tl.store(key_ptr + cell + half, k_second.to(key_ptr.dtype.element_ty), mask=kv_inside)
    values = keys + kv_heads * 2 * half
    tl.store(value_ptr + cell, tl.load(values, mask=kv_inside), mask=kv_inside)
    tl.store(value_ptr + cell + half, tl.load(values + half, mask=kv_inside), mask=kv_inside)


@triton.jit  # type: ignore[untyped-decorator]
def _rotated(
    source: tl.tensor,  # [heads, half] pointers to the first halves
    inside: tl.tensor,
    norm_ptr: tl.tensor,
    lane: tl.tensor,
    half: int,
    eps: float,
    cos: tl.tensor,
    sin: tl.tensor,
    NORM: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Both halves of each head, turned, in float32."""
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        squares = tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)
        scale = (1.0 / tl.sqrt(squares / (2 * half) + eps))[:, None]
        first = first * scale * tl.load(norm_ptr + lane, mask=lane < half, other=0.0).to(tl.float32)
        second = second * scale * tl.load(norm_ptr + half + lane, mask=lane < half, other=0.0).to(tl.float32)
    return first * cos - second * sin, second * cos + first * sin


def rotary_cache_launcher(
    q: torch.Tensor,  # [tokens, heads, width], contiguous
    key_pages: torch.Tensor,  # [pages, 64, kv_heads, width], contiguous
    value_pages: torch.Tensor,  # [pages, 64, kv_heads, width], contiguous
    qkv: torch.Tensor,  # [tokens, (heads + 2 * kv_heads) * width], last dimension contiguous
    cos: torch.Tensor,  # [tokens, width / 2], contiguous, float32
    sin: torch.Tensor,  # [tokens, width / 2], contiguous, float32
    slots: torch.Tensor,  # [tokens], contiguous, int64
    q_norm: torch.Tensor | None,  # [width], contiguous
    k_norm: torch.Tensor | None,  # [width], contiguous; a tensor exactly if q_norm is one
    eps: float,
) -> None:
    """Fill ``q`` and the cells of ``slots`` in both pools."""
    tokens, heads, width = q.shape
    kv_heads = key_pages.shape[2]
    _rotary_cache_kernel[(tokens,)](
        q,
        key_pages,
        value_pages,
        qkv,
        cos,
        sin,
        slots,
        q_norm,
        k_norm,
        heads,
        kv_heads,
        width // 2,
        qkv.stride(0),
        eps,
        NORM=q_norm is not None,
        HEADS=triton.next_power_of_2(heads),
        KV_HEADS=triton.next_power_of_2(kv_heads),
        HALF=triton.next_power_of_2(width // 2),
        num_warps=8,
    )


_TYPES = {
    **dict.fromkeys(("q_ptr", "key_ptr", "value_ptr", "qkv_ptr", "q_norm_ptr", "k_norm_ptr"), "*bf16"),
    **dict.fromkeys(("cos_ptr", "sin_ptr"), "*fp32"),
    "slots_ptr": "*i64",
    **dict.fromkeys(("heads", "kv_heads"), "i32"),
    **dict.fromkeys(("half", "qkv_stride"), "i32:16"),
    "eps": "fp32",
}
CASES = tuple(
    KernelCase(
        name=f"rotary_cache.{name}",
        kernel=_rotary_cache_kernel,
        types=_TYPES,
        constexprs={"NORM": norm, "HEADS": 32, "KV_HEADS": 8, "HALF": 64},
        num_warps=8,
    )
    for name, norm in (("plain", False), ("norm", True))
)
