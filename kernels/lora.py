"""Adapters on the device, and which rows of a batch use which.

A low-rank adapter (arXiv 2106.09685) adds ``scaling * (x @ A.T) @ B.T`` to a projection. Many of them lie in one pool;
a batch is cut into segments of up to 16 rows that share an adapter (the shape of SGLang's csgmv), so a kernel's program
meets one adapter, and a matrix instruction has its 16 rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from antiphon.kernels.checks import expect_contiguous, expect_float, expect_like, expect_shape

SEGMENT = 16  # rows of a segment
RANKS = (8, 16, 32, 64)  # pools hold adapters up to one of these ranks
MOST_SLICES = 3  # query, key and value
NO_ADAPTER = -1


@dataclass(frozen=True, kw_only=True)
class LoraLayout:
    """The segments of a batch, on the device."""

    rows: torch.Tensor  # [segments, 16], int32: rows of the batch, -1 behind the last of a segment
    slots: torch.Tensor  # [segments], int32: the slot of the pool, -1 for a segment without rows
    most_row: int  # what the tensors hold, known here without asking the device; -1 where there is no row
    most_slot: int


def lora_layout(slots: Sequence[int], *, device: torch.device | str, segments: int | None = None) -> LoraLayout:
    """Segments for a batch whose row i uses the adapter in slot ``slots[i]``, or none where that is -1.

    ``segments`` pads to a fixed number, so that a captured graph can be replayed for another batch.

    Raises:
        ValueError: a slot under -1, or more segments than ``segments``.
    """
    if min(slots, default=0) < NO_ADAPTER:
        raise ValueError(f"slots: found {min(slots)}, expected a slot, or {NO_ADAPTER} for a row without an adapter")
    rows_of: dict[int, list[int]] = {}
    for row, slot in enumerate(slots):
        if slot != NO_ADAPTER:
            rows_of.setdefault(slot, []).append(row)
    cut = [
        (slot, rows[first : first + SEGMENT])
        for slot, rows in sorted(rows_of.items())
        for first in range(0, len(rows), SEGMENT)
    ]
    if segments is not None and len(cut) > segments:
        raise ValueError(f"segments: found a batch of {len(cut)}, expected at most {segments}")
    cut += [(NO_ADAPTER, [])] * ((segments or 0) - len(cut))
    padded = [rows + [-1] * (SEGMENT - len(rows)) for _, rows in cut]
    return LoraLayout(
        rows=torch.tensor(padded, dtype=torch.int32, device=device).view(-1, SEGMENT),
        slots=torch.tensor([slot for slot, _ in cut], dtype=torch.int32, device=device),
        most_row=max((row for _, rows in cut for row in rows), default=-1),
        most_slot=max(rows_of, default=-1),
    )


@dataclass(frozen=True, kw_only=True)
class LoraPool:
    """Adapters of one projection, or of several that run as one (query, key, value; gate, up): its slices.

    What lies behind an adapter's own rank is never read. Changing a slot changes no address, so graphs stay valid.
    """

    a: torch.Tensor  # [slots, slices, largest rank, inputs]
    b: torch.Tensor  # [slots, outputs of all slices, largest rank]
    ranks: torch.Tensor  # [slots], int32; 0 is an empty slot
    scalings: torch.Tensor  # [slots], float32
    widths: tuple[int, ...]  # outputs of each slice

    @property
    def most_rank(self) -> int:
        """The largest rank that fits."""
        return self.a.shape[2]

    def put(self, slot: int, a: torch.Tensor, b: torch.Tensor, scaling: float) -> None:
        """Fill a slot: ``a`` is [slices, rank, inputs], ``b`` [outputs of all slices, rank].

        Raises:
            ValueError: no such slot, a rank above the pool's, or shapes, dtypes or devices that do not fit.
        """
        slots, slices, most, inputs = self.a.shape
        if not 0 <= slot < slots:
            raise ValueError(f"slot: found {slot}, expected one from 0 to {slots - 1}")
        if a.dim() != 3 or not 1 <= a.shape[1] <= most:
            raise ValueError(f"a: found shape {tuple(a.shape)}, expected ({slices}, a rank from 1 to {most}, {inputs})")
        rank = a.shape[1]
        expect_shape("a", a, (slices, rank, inputs))
        expect_shape("b", b, (sum(self.widths), rank))
        expect_like("a", a, self.a)
        expect_like("b", b, self.b)
        self.a[slot, :, :rank] = a
        self.b[slot, :, :rank] = b
        self.ranks[slot] = rank
        self.scalings[slot] = scaling


def lora_pool(
    *, slots: int, rank: int, inputs: int, widths: Sequence[int], dtype: torch.dtype, device: torch.device | str
) -> LoraPool:
    """An empty pool for adapters up to ``rank``, which is rounded up to 8, 16, 32 or 64.

    Raises:
        ValueError: a rank above 64 or below 1, no slice or more than 3.
    """
    most = next((bucket for bucket in RANKS if rank <= bucket), None)
    if most is None or rank < 1:
        raise ValueError(f"rank: found {rank}, expected one from 1 to {RANKS[-1]}")
    if not 1 <= len(widths) <= MOST_SLICES:
        raise ValueError(f"widths: found {len(widths)} slices, expected 1 to {MOST_SLICES}")
    return LoraPool(
        a=torch.empty(slots, len(widths), most, inputs, dtype=dtype, device=device),
        b=torch.empty(slots, sum(widths), most, dtype=dtype, device=device),
        ranks=torch.zeros(slots, dtype=torch.int32, device=device),
        scalings=torch.zeros(slots, dtype=torch.float32, device=device),
        widths=tuple(widths),
    )


def expect_lora(x: torch.Tensor, y: torch.Tensor, layout: LoraLayout, pool: LoraPool) -> None:
    """The four fit together.

    Raises:
        ValueError: with what was found and what was expected.
    """
    expect_float("x", x)
    slots, _, most, inputs = pool.a.shape
    if x.dim() != 2:
        raise ValueError(f"x: found shape {tuple(x.shape)}, expected [rows, {inputs}]")
    expect_shape("x", x, (x.shape[0], inputs))
    expect_shape("y", y, (x.shape[0], sum(pool.widths)))
    expect_shape("pool.a", pool.a, (slots, len(pool.widths), most, inputs))
    expect_shape("pool.b", pool.b, (slots, sum(pool.widths), most))
    if most not in RANKS:
        raise ValueError(f"pool.a: found rank {most}, expected one of {RANKS}")
    expect_shape("layout.rows", layout.rows, (layout.slots.shape[0], SEGMENT))
    if layout.most_row >= x.shape[0]:
        raise ValueError(f"layout: found rows up to {layout.most_row}, expected a batch of at most {x.shape[0]}")
    if layout.most_slot >= slots:
        raise ValueError(f"layout: found slot {layout.most_slot}, expected one from 0 to {slots - 1}")
    for name, tensor in (("y", y), ("pool.a", pool.a), ("pool.b", pool.b)):
        expect_like(name, tensor, x)
    for name, tensor in (("x", x), ("y", y), ("pool.a", pool.a), ("pool.b", pool.b), ("layout.rows", layout.rows)):
        expect_contiguous(name, tensor)
    for name, tensor, dtype in (
        ("layout.rows", layout.rows, torch.int32),
        ("layout.slots", layout.slots, torch.int32),
        ("pool.ranks", pool.ranks, torch.int32),
        ("pool.scalings", pool.scalings, torch.float32),
    ):
        if tensor.dtype is not dtype or tensor.device != x.device:
            raise ValueError(f"{name}: found {tensor.dtype} on {tensor.device}, expected {dtype} on {x.device}")
