"""E4M3 in integer arithmetic: the same bits on every accelerator, and in the interpreter.

sm_80 and RDNA3 have no fp8 at all and CDNA3 has another one (no negative zero, twice the range); Triton's interpreter
rounds 2 to 3 % of the values otherwise than torch. A handful of integer instructions an element is nothing beside the
memory that kernels of one byte an element wait for. Tensors of torch.float8_e4m3fn are passed as their uint8 view.
"""

import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]


@triton.jit  # type: ignore[untyped-decorator]
def to_e4m3(x: tl.tensor) -> tl.tensor:
    """float32 to the bits of torch.float8_e4m3fn (uint8), rounded to nearest even; beyond ±448 it saturates."""
    magnitude = tl.minimum(tl.abs(x), 448.0)
    bits = magnitude.to(tl.uint32, bitcast=True)
    # 20 of 23 bits of mantissa go: add just under half a step, and one more where the last kept bit is odd.
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - ((127 - 7) << 3)
    # Below 2^-6 steps are 2^-9 wide, which is a unit in the last place of 2^14: the addition rounds.
    small = (magnitude + 16384.0).to(tl.uint32, bitcast=True) - 0x46800000
    code = tl.where(magnitude < 0.015625, small, normal)
    code = tl.where(x == x, code, 0x7F)  # NaN stays one
    return (code | ((x.to(tl.uint32, bitcast=True) >> 24) & 0x80)).to(tl.uint8)


@triton.jit  # type: ignore[untyped-decorator]
def from_e4m3(code: tl.tensor) -> tl.tensor:
    """The bits of torch.float8_e4m3fn (uint8) to float32. NaN, which no quantised tensor holds, becomes ±480."""
    wide = code.to(tl.uint16)
    # As float16 the same exponent and mantissa are 2^8 too small; its subnormals are never flushed.
    half = (((wide & 0x80) << 8) | ((wide & 0x7F) << 7)).to(tl.float16, bitcast=True)
    return half.to(tl.float32) * 256.0
