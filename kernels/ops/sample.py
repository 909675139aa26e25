"""Drawing tokens."""

import torch

from antiphon.kernels.checks import expect_float, expect_shape
from antiphon.kernels.draws import Draws, Penalties
from antiphon.kernels.reference.sample import sample as sample_reference
from antiphon.kernels.registry import Backend, backend_for

_DRAWS = {
    "temperature": torch.float32,
    "top_k": torch.int32,
    "top_p": torch.float32,
    "min_p": torch.float32,
    "seed": torch.int64,
    "position": torch.int32,
}
_PENALTIES = {"rows": torch.int32, "tokens": torch.int32, "factors": torch.float32, "offsets": torch.float32}


def sample(
    logits: torch.Tensor,
    draws: Draws | None = None,
    mask: torch.Tensor | None = None,
    penalties: Penalties | None = None,
) -> torch.Tensor:
    """One token id a row, [rows], int64; -1 where the best score is not a finite number.

    The order is: penalties, mask, temperature, then Gumbel noise (Gumbel-max) on the tokens that pass top-k, top-p and
    min-p, each judged on the whole distribution. Tokens with equal scores pass or fail together. Without ``draws``
    every row takes its best token, the first of equals.

    ``logits`` is [rows, vocabulary] and is overwritten where ``penalties`` change it; bit ``token % 32`` of word
    ``token // 32`` in ``mask`` [rows, ceil(vocabulary / 32)], int32, says whether a token may come. Entries of
    ``penalties`` must lie inside: on an accelerator nobody looks.

    Raises:
        ValueError: a wrong shape, dtype or device, or a tensor that is not contiguous.
    """
    expect_float("logits", logits)
    if logits.dim() != 2 or not logits.shape[1] or not logits.is_contiguous():
        raise ValueError(
            f"logits: found shape {tuple(logits.shape)} with strides {logits.stride()}, "
            "expected a contiguous [rows, a vocabulary of one or more]"
        )
    rows, vocabulary = logits.shape
    if draws is not None:
        for name, dtype in _DRAWS.items():
            _expect(name, getattr(draws, name), (rows,), dtype, logits)
    if mask is not None:
        _expect("mask", mask, (rows, (vocabulary + 31) // 32), torch.int32, logits)
    if penalties is not None:
        for name, dtype in _PENALTIES.items():
            _expect(name, getattr(penalties, name), (penalties.rows.numel(),), dtype, logits)
    if not rows:
        return torch.empty(0, dtype=torch.int64, device=logits.device)
    if backend_for(logits) is Backend.REFERENCE:
        return sample_reference(logits, draws, mask, penalties)
    from antiphon.kernels.device.sample import sample_launcher

    tokens = torch.empty(rows, dtype=torch.int64, device=logits.device)
    sample_launcher(tokens, logits, draws, mask, penalties)
    return tokens


def _expect(name: str, tensor: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, like: torch.Tensor) -> None:
    expect_shape(name, tensor, shape)
    if tensor.dtype is not dtype or tensor.device != like.device or not tensor.is_contiguous():
        raise ValueError(
            f"{name}: found {tensor.dtype} on {tensor.device} with strides {tensor.stride()}, "
            f"expected a contiguous {dtype} on {like.device}"
        )
