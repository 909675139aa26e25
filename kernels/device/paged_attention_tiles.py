"""How attention over a paged cache is cut on each architecture."""

from dataclasses import dataclass, replace

import torch
import triton  # type: ignore[import-untyped]  # ships no types

from antiphon.kernels.paged_layout import PAGE, PagedLayout
from antiphon.kernels.platform import DeviceFacts
from antiphon.kernels.tiles import Tile, find_tile

_PROGRAMS_PER_UNIT = 4  # about two run at a time on a multiprocessor, and rows of different length even out
LEAST_SPLIT_PAGES = 4  # below, writing and joining a split costs more than 5 % of reading it
INVARIANT_SPLIT_PAGES = 8


@dataclass(frozen=True, kw_only=True)
class AttentionPlan:
    """How one step's attention is launched; follows from what the host knows, so that a captured graph stays valid.

    Rows with up to ``few`` queries go to ``small`` tiles, where ``splits`` programs share their pages, each at least
    ``split_pages``. Longer rows go to ``large`` tiles; where nothing is split, short ones with them if there are any.
    """

    small: Tile
    large: Tile
    few: int
    splits: int
    split_pages: int


def plan_attention(
    heads: int, kv_heads: int, width: int, dtype: torch.dtype, layout: PagedLayout, facts: DeviceFacts, invariant: bool
) -> AttentionPlan:
    """The plan for a step with pages of ``dtype``.

    Each row has its own pages divided evenly among the splits. An ``invariant`` plan fixes the size of a split instead
    of their number, and all rows go to small tiles.
    """
    group, rows, pages = heads // kv_heads, layout.context_tokens.shape[0], triton.cdiv(layout.most_context, PAGE)
    small = attention_tile("decode", facts.arch, group, width, dtype)
    wanted = triton.cdiv(_PROGRAMS_PER_UNIT * facts.units, rows * kv_heads)
    split_pages = INVARIANT_SPLIT_PAGES if invariant else LEAST_SPLIT_PAGES
    most = max(1, triton.cdiv(pages, split_pages))
    return AttentionPlan(
        small=small,
        large=small if invariant else attention_tile("prompt", facts.arch, group, width, dtype),
        few=min(small.sizes["BLOCK_M"] // group, layout.most_queries),
        splits=most if invariant else min(wanted, most),
        split_pages=split_pages,
    )


def attention_tile(bucket: str, arch: str, group: int, width: int, dtype: torch.dtype) -> Tile:
    """The tile of ``bucket`` "decode" or "prompt" on ``arch``, for pages of ``dtype``."""
    default = _default_tile(bucket, arch, width, dtype.itemsize)
    name = str(dtype).removeprefix("torch.")
    found = find_tile("paged_attention", arch=arch, dtype=name, bucket=f"{bucket}-{width}", default=default)
    sizes = {**default.sizes, **found.sizes}
    sizes["BLOCK_M"] = max(sizes["BLOCK_M"], triton.next_power_of_2(group))  # all heads that share keys
    sizes["NATIVE_E4M3"] = arch == "gfx950" or (arch.startswith("sm_") and int(arch[3:]) >= 89)
    return replace(found, sizes=sizes)


def _default_tile(bucket: str, arch: str, width: int, itemsize: int) -> Tile:
    """The largest tiles of several tried that compile without a spill for every target; not measured."""
    if arch.startswith(("gfx11", "gfx12")):  # every warp holds all keys of a tile
        return Tile(sizes={"BLOCK_M": 16, "BLOCK_N": 16}, num_warps=4, num_stages=1)
    narrow = width * max(itemsize, 2) > 256  # keys and values of a page would take more than 64 KiB
    if arch.startswith("gfx"):
        sizes = {"BLOCK_M": 16 if bucket == "decode" else 64, "BLOCK_N": 32 if narrow or itemsize == 1 else 64}
        return Tile(sizes=sizes, num_warps=4, num_stages=2)
    keys = 32 if narrow else 64
    if bucket == "decode":
        ampere = arch == "sm_80"
        warps = 8 if itemsize == 1 and not ampere else 4
        return Tile(sizes={"BLOCK_M": 16, "BLOCK_N": keys}, num_warps=warps, num_stages=2 if ampere else 3)
    # From Hopper on products read shared memory themselves, which leaves registers for more queries.
    queries = 128 if arch in ("sm_90", "sm_100") and not narrow else 64
    return Tile(sizes={"BLOCK_M": queries, "BLOCK_N": keys}, num_warps=8, num_stages=3)
