"""Ops that read, do little, and write: norms, the gate, rotation, pages, and the sampler."""

import torch
from torch.nn.functional import rms_norm as torch_rms_norm
from torch.nn.functional import silu

from antiphon.kernels import ops, samples
from antiphon.kernels.paged_layout import PAGE
from antiphon.kernels.rotation import Rotation
from antiphon.kernels.samples import numbers
from kernel_rows.case import FFN, HEAD, HEADS, KV_HEADS, WIDTH, Case, Figure, Prepared


def streams() -> list[Case]:
    """Every row of this kind."""
    sampler = Case(
        key="sample_us",
        op="sample",
        shape="64 x 151,936, top-k and top-p",
        figure=Figure.MICROS,
        goal=60,
        prepare=_sample,
    )
    return [*_elementwise(), *_memory(), sampler]


def _elementwise() -> list[Case]:
    rows = 16_384

    def norm(device: torch.device) -> Prepared:
        x, weight = numbers(rows, WIDTH, device=device), numbers(WIDTH, device=device)
        return Prepared(
            call=lambda: ops.rms_norm(x, weight, 1e-5),
            peer=lambda: torch_rms_norm(x, (WIDTH,), weight, 1e-5),
            bytes=2 * 2 * x.numel(),
        )

    def add_norm(device: torch.device) -> Prepared:
        x, residual = (numbers(rows, WIDTH, device=device) for _ in range(2))
        weight = numbers(WIDTH, device=device)
        return Prepared(
            call=lambda: ops.add_rms_norm(x, residual, weight, 1e-5),
            peer=lambda: torch_rms_norm(x + residual, (WIDTH,), weight, 1e-5),
            bytes=4 * 2 * x.numel(),
        )

    def norm_quant(device: torch.device) -> Prepared:
        x, weight = numbers(rows, WIDTH, device=device), numbers(WIDTH, device=device)
        return Prepared(call=lambda: ops.rms_norm_quant(x, weight, 1e-5, torch.int8), bytes=3 * x.numel())

    def gate(device: torch.device) -> Prepared:
        x = numbers(rows // 2, 2 * FFN, device=device)
        return Prepared(
            call=lambda: ops.silu_mul(x),
            peer=lambda: silu(x[:, :FFN]) * x[:, FFN:],
            bytes=3 * x.numel(),  # two bytes each; reads all, writes half as much
        )

    def rotate(device: torch.device) -> Prepared:
        qkv = numbers(rows, (HEADS + 2 * KV_HEADS) * HEAD, device=device)
        layout, pages = samples.layout_of([(rows, rows)], device)
        keys, values = (torch.empty(pages, PAGE, KV_HEADS, HEAD, device=device, dtype=qkv.dtype) for _ in range(2))
        rotation = Rotation(*(torch.rand(rows, HEAD // 2, device=device) for _ in range(2)))
        return Prepared(
            call=lambda: ops.rotary_cache(qkv, rotation, keys, values, layout, heads=HEADS, kv_heads=KV_HEADS),
            bytes=2 * 2 * qkv.numel() + 2 * 4 * rotation.cos.numel(),
        )

    return [
        Case(key=f"{name}_of_copy", op=name, shape=shape, figure=Figure.COPY, goal=0.85, prepare=prepare)
        for name, shape, prepare in (
            ("rms_norm", f"{rows} x {WIDTH}", norm),
            ("add_rms_norm", f"{rows} x {WIDTH}", add_norm),
            ("rms_norm_quant", f"{rows} x {WIDTH} to int8", norm_quant),
            ("silu_mul", f"{rows // 2} x {2 * FFN}", gate),
            ("rotary_cache", f"{rows} x {HEADS}+2x{KV_HEADS} heads of {HEAD}", rotate),
        )
    ]


def _memory() -> list[Case]:
    pages = 4096  # of 128 KiB: half a gigabyte each way

    def pool(device: torch.device) -> torch.Tensor:
        return numbers(2 * pages, PAGE, KV_HEADS, HEAD, device=device)

    def copy(device: torch.device) -> Prepared:
        cache, order = pool(device), torch.randperm(2 * pages).tolist()
        return Prepared(
            call=lambda: ops.copy_pages([cache], order[:pages], order[pages:]), bytes=2 * cache.numel(), graph=False
        )

    def gather(device: torch.device) -> Prepared:
        cache, order = pool(device), torch.randperm(2 * pages).tolist()[:pages]
        index = torch.tensor(order, device=device)
        return Prepared(
            call=lambda: ops.gather_pages(cache, order),
            peer=lambda: cache.index_select(0, index),
            bytes=2 * cache.numel(),
            graph=False,
        )

    return [
        Case(
            key=f"{name}_of_copy",
            op=name,
            shape=f"{pages} pages of 128 KiB",
            figure=Figure.COPY,
            goal=0.85,
            prepare=prepare,
        )
        for name, prepare in (("copy_pages", copy), ("gather_pages", gather))
    ]


def _sample(device: torch.device) -> Prepared:
    logits, draws = numbers(64, 151_936, device=device, dtype=torch.float32), samples.draws(64, device)
    return Prepared(call=lambda: ops.sample(logits, draws))
