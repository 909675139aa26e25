"""What a kernel looks like to a compiler: argument types and default configuration, without a device or a tensor.

Each module of ``kernels/device`` ends with ``CASES``, a tuple of these; whatever compiles, counts or reports kernels
finds them there (``antiphon kernels report``, the tests, the benchmarks).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.kernels.tiles import Tile


@dataclass(frozen=True, kw_only=True)
class KernelCase:
    """One configuration of a kernel in which it really runs. Compiled for every target; it must not spill on any."""

    name: str  # unique; by habit the op and what tells its configurations apart: "rms_norm" or "paged_attention.decode"
    kernel: Any  # the function under @triton.jit
    # Triton's types, one per argument that is no constexpr, in any order: "*bf16", "*fp32", "*i8", "*fp8e4nv", "i32",
    # "i64", "fp32". ":16" behind an integer says that launches always pass a multiple of 16, as in "i32:16"; pointers
    # are taken to be 16-byte aligned, as torch allocates them.
    types: Mapping[str, str]
    constexprs: Mapping[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 2
    # Where sizes come from the tile table: the tile of an architecture ("sm_90", "gfx942"). It replaces the sizes of
    # the same names in ``constexprs``, and warps and stages.
    tile: Callable[[str], Tile] | None = None
    expects_mma: bool = False  # its tl.dot must become matrix instructions (mma.sync, wgmma, tcgen05, mfma, wmma)

    def configuration(self, arch: str) -> tuple[dict[str, Any], int, int]:
        """(constexprs, warps, stages) on ``arch``."""
        if self.tile is None:
            return dict(self.constexprs), self.num_warps, self.num_stages
        tile = self.tile(arch)
        return {**self.constexprs, **tile.sizes}, tile.num_warps, tile.num_stages
