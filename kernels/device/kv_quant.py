"""Keys and values into an 8-bit cache: one program a token and head, both of them."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.device.quantise import quantised


@triton.jit(do_not_specialize=["key_token_stride", "value_token_stride"])  # type: ignore[untyped-decorator]
def _write_quantised_kv_kernel(
    # tensors
    key_ptr: tl.tensor,  # [tokens, kv_heads, WIDTH], the last dimension contiguous
    value_ptr: tl.tensor,  # [tokens, kv_heads, WIDTH], likewise
    key_pages_ptr: tl.tensor,  # [slots, kv_heads, WIDTH]; e4m3 as bytes
    value_pages_ptr: tl.tensor,  # [slots, kv_heads, WIDTH]
    key_scales_ptr: tl.tensor,  # [slots, kv_heads]
    value_scales_ptr: tl.tensor,  # [slots, kv_heads]
    slots_ptr: tl.tensor,  # [tokens], int64; -1: nothing is written
    # scalars
    key_token_stride: int,
    key_head_stride: int,
    value_token_stride: int,
    value_head_stride: int,
    # constexprs
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    FP8: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    slot = tl.load(slots_ptr + token)
    if slot < 0:
        return
    lane = tl.arange(0, BLOCK)
    inside = lane < WIDTH
    key = tl.load(key_ptr + token * key_token_stride + head * key_head_stride + lane, mask=inside, other=0.0)
    value = tl.load(value_ptr + token * value_token_stride + head * value_head_stride + lane, mask=inside, other=0.0)
    place = slot * tl.num_programs(1) + head
    codes, scale = quantised(key.to(tl.float32), FP8)
    tl.store(key_pages_ptr + place * WIDTH + lane, codes, mask=inside)
    tl.store(key_scales_ptr + place, scale)
    codes, scale = quantised(value.to(tl.float32), FP8)
    tl.store(value_pages_ptr + place * WIDTH + lane, codes, mask=inside)
    tl.store(value_scales_ptr + place, scale)


def write_quantised_kv_launcher(
    keys: torch.Tensor,  # [tokens, kv_heads, width], the last dimension contiguous
    values: torch.Tensor,  # [tokens, kv_heads, width], likewise
    key_pages: torch.Tensor,  # [pages, 64, kv_heads, width], contiguous, int8 or float8_e4m3fn
    value_pages: torch.Tensor,  # [pages, 64, kv_heads, width], likewise
    key_scales: torch.Tensor,  # [pages, 64, kv_heads], contiguous, float32
    value_scales: torch.Tensor,  # [pages, 64, kv_heads], likewise
    slots: torch.Tensor,  # [tokens], contiguous, int64
) -> None:
    """Write pages and scales."""
    tokens, kv_heads, width = keys.shape
    fp8 = key_pages.dtype is torch.float8_e4m3fn
    _write_quantised_kv_kernel[tokens, kv_heads](
        keys,
        values,
        key_pages.view(torch.uint8) if fp8 else key_pages,
        value_pages.view(torch.uint8) if fp8 else value_pages,
        key_scales,
        value_scales,
        slots,
        keys.stride(0),
        keys.stride(1),
        values.stride(0),
        values.stride(1),
        WIDTH=width,
        BLOCK=triton.next_power_of_2(width),
        FP8=fp8,
        num_warps=1,
    )


def _case(name: str, pages: str, *, fp8: bool) -> KernelCase:
    return KernelCase(
        name=f"kv_quant.{name}",
        kernel=_write_quantised_kv_kernel,
        types={
            **dict.fromkeys(("key_ptr", "value_ptr"), "*bf16"),
            **dict.fromkeys(("key_pages_ptr", "value_pages_ptr"), pages),
            **dict.fromkeys(("key_scales_ptr", "value_scales_ptr"), "*fp32"),
            "slots_ptr": "*i64",
            **dict.fromkeys(("key_token_stride", "value_token_stride"), "i32"),
            **dict.fromkeys(("key_head_stride", "value_head_stride"), "i32:16"),
        },
        constexprs={"WIDTH": 128, "BLOCK": 128, "FP8": fp8},
        num_warps=1,
    )


CASES = (_case("e4m3", "*u8", fp8=True), _case("int8", "*i8", fp8=False))
