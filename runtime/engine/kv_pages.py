"""The memory of the page pool: keys and values of every layer, 64 tokens a page."""

from collections.abc import Sequence

import torch

from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.device import Place, free_bytes
from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.errors import ConfigurationError


class KvPages:
    """``keys`` and ``values``: [layers, pages, 64, key-value heads, head width].

    Memory that no page was written to costs nothing on a CPU: the system hands it out at the first write.
    """

    def __init__(self, config: ModelConfig, pages: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.layers, pages, PAGE_TOKENS, config.kv_heads, config.head_width)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    @property
    def count(self) -> int:
        """Pages in the pool."""
        return self.keys.shape[1]

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages (from, to) in every layer, before the step writes to them."""
        for source, target in pairs:
            self.keys[:, target] = self.keys[:, source]
            self.values[:, target] = self.values[:, source]


def pages_that_fit(config: ModelConfig, place: Place) -> int:
    """Pages for 85 % of the memory that an accelerator has free: the rest is for a step's activations and graphs.

    Raises:
        ConfigurationError: not even one fits.
    """
    pages = int(0.85 * free_bytes(place.device)) // (PAGE_TOKENS * token_bytes(config, place.dtype))
    if not pages:
        raise ConfigurationError("found no memory left for a page beside the weights, expected a smaller model")
    return pages


def token_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Memory of one token's keys and values."""
    return 2 * config.layers * config.kv_heads * config.head_width * dtype.itemsize
