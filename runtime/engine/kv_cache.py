"""Keys and values of one request."""

import torch

from antiphon.runtime.engine.config import ModelConfig

_STEP = 256  # tokens; capacity grows to a multiple of it, at least by half, so that copying stays linear


class KvCache:
    """Keys and values for ``length`` tokens, [layers, key-value heads, capacity, head width] each."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.layers, config.kv_heads, 0, config.head_width)
        self.length = 0
        self._keys = torch.empty(shape, dtype=dtype, device=device)
        self._values = torch.empty(shape, dtype=dtype, device=device)
        self._limit = -(-config.context_tokens // _STEP) * _STEP

    def reserve(self, tokens: int) -> None:
        """Make room for ``tokens`` in all; what is held stays."""
        capacity = self._keys.shape[2]
        if tokens <= capacity:
            return
        wanted = min(self._limit, max(-(-tokens // _STEP) * _STEP, capacity + capacity // 2))
        self._keys, self._values = self._grown(self._keys, wanted), self._grown(self._values, wanted)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put [tokens, heads, width] after ``length``; all of the layer so far as [heads, length + tokens, width].

        ``length`` moves by ``advance`` when every layer has written.
        """
        end = self.length + keys.shape[0]
        self._keys[layer, :, self.length : end] = keys.transpose(0, 1)
        self._values[layer, :, self.length : end] = values.transpose(0, 1)
        return self._keys[layer, :, :end], self._values[layer, :, :end]

    def advance(self, tokens: int) -> None:
        """Count ``tokens`` that every layer has written."""
        self.length += tokens

    def truncate(self, tokens: int) -> None:
        """Forget everything after the first ``tokens``."""
        self.length = min(self.length, tokens)

    def _grown(self, old: torch.Tensor, capacity: int) -> torch.Tensor:
        layers, heads, _, width = old.shape
        new = torch.empty(layers, heads, capacity, width, dtype=old.dtype, device=old.device)
        new[:, :, : self.length] = old[:, :, : self.length]
        return new
