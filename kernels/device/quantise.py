"""One row of float32 to 8 bits and a scale."""

import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.device.fp8 import to_e4m3


@triton.jit  # type: ignore[untyped-decorator]
def quantised(x: tl.tensor, FP8: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """(codes, scale) of a row whose padding is 0: its largest magnitude becomes 127, or 448 in e4m3."""
    most = 448.0 if FP8 else 127.0
    largest = tl.max(tl.abs(x), axis=0)
    scale = largest / most
    x = x / tl.where(largest > 0.0, scale, 1.0)
    # int8 to the nearest, ties to even as torch does: 1.5 * 2^23 pushes the fraction out of float32's mantissa.
    codes = to_e4m3(x) if FP8 else ((x + 12582912.0) - 12582912.0).to(tl.int8)
    return codes, scale
