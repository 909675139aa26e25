"""The mean of a text's tokens at length 1: how most encoders make a vector of a text."""

import torch

from antiphon.kernels.checks import expect_float
from antiphon.kernels.reference.mean_pool import mean_pool as mean_pool_reference
from antiphon.kernels.registry import Backend, backend_for


def mean_pool(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """[texts, width], float32: the mean of the first ``lengths`` tokens of each text, scaled to length 1.

    ``hidden`` is [texts, longest, width], ``lengths`` [texts], int64. What lies behind a text's length is never read;
    a text without tokens gives zeros; a length beyond ``longest`` (refused where it lies in the host's memory) counts
    as ``longest``.

    Raises:
        ValueError: shapes, dtypes or devices do not fit, or a length does not.
    """
    expect_float("hidden", hidden)
    if hidden.dim() != 3:
        raise ValueError(f"hidden: found shape {tuple(hidden.shape)}, expected [texts, longest, width]")
    if lengths.shape != hidden.shape[:1] or lengths.dtype is not torch.int64 or lengths.device != hidden.device:
        found = f"{lengths.dtype} {tuple(lengths.shape)} on {lengths.device}"
        raise ValueError(f"lengths: found {found}, expected torch.int64 ({hidden.shape[0]},) on {hidden.device}")
    if lengths.device.type == "cpu" and lengths.numel():
        least, most = int(lengths.min()), int(lengths.max())
        if least < 0 or most > hidden.shape[1]:
            found = str(least if least < 0 else most)
            raise ValueError(f"lengths: found {found}, expected 0 to {hidden.shape[1]}")
    if backend_for(hidden) is Backend.REFERENCE:
        return mean_pool_reference(hidden, lengths)
    from antiphon.kernels.device.mean_pool import mean_pool_launcher

    out = torch.empty(hidden.shape[0], hidden.shape[2], dtype=torch.float32, device=hidden.device)
    if out.numel():
        mean_pool_launcher(out, hidden.contiguous(), lengths.contiguous())
    return out
