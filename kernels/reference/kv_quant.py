"""Keys and values into an 8-bit cache, in plain torch."""

import torch

from antiphon.kernels.reference.quantise import quantise


def write_quantised_kv(
    keys: torch.Tensor,
    values: torch.Tensor,
    key_pages: torch.Tensor,
    value_pages: torch.Tensor,
    key_scales: torch.Tensor,
    value_scales: torch.Tensor,
    slots: torch.Tensor,
) -> None:
    """Each [tokens, kv heads, width] goes to its slot in 8 bits, its scale for each head beside; slot -1 is skipped."""
    real = slots >= 0
    for new, pages, scales in ((keys, key_pages, key_scales), (values, value_pages, value_scales)):
        codes, scale = quantise(new[real], pages.dtype)
        # As bytes: torch cannot write e4m3 by index.
        pages.view(torch.uint8).flatten(0, 1)[slots[real]] = codes.view(torch.uint8)
        scales.flatten(0, 1)[slots[real]] = scale
