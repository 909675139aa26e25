"""Tensors of a checkpoint by their Hugging Face names, whatever file they lie in."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.gguf_file import REMEDY, GgufFile
from antiphon.runtime.errors import ModelFileError


class Weights(Protocol):
    """Where an architecture gets its tensors."""

    def __contains__(self, name: str) -> bool:
        """Whether the checkpoint has the tensor."""
        ...

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor in a floating dtype, on the CPU; its memory may be shared with the file's.

        Raises:
            ModelFileError: missing, of another shape, or unreadable.
        """
        ...


def _split(raw: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks of bytes as (float16 scale in float32 [blocks, 1], the bytes after it)."""
    blocks = raw.view(-1, block)
    return blocks[:, :2].contiguous().view(torch.float16).float(), blocks[:, 2:]


def _nibbles(packed: torch.Tensor) -> torch.Tensor:
    """16 bytes as 32 numbers: low nibbles are elements 0 to 15, high ones 16 to 31."""
    return torch.cat((packed & 0x0F, packed >> 4), dim=1).float()


def _q4_0(raw: torch.Tensor) -> torch.Tensor:
    scale, packed = _split(raw, 18)
    return (_nibbles(packed) - 8) * scale


def _q4_1(raw: torch.Tensor) -> torch.Tensor:
    scale, rest = _split(raw, 20)
    offset = rest[:, :2].contiguous().view(torch.float16).float()
    return _nibbles(rest[:, 2:]) * scale + offset


def _q8_0(raw: torch.Tensor) -> torch.Tensor:
    scale, codes = _split(raw, 34)
    return codes.view(torch.int8).float() * scale


_DEQUANTISE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "F32": lambda raw: raw.view(torch.float32),
    "F16": lambda raw: raw.view(torch.float16),
    "BF16": lambda raw: raw.view(torch.bfloat16),
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q8_0": _q8_0,
}

_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class GgufWeights:
    """Tensors of a GGUF file of the llama architecture."""

    def __init__(self, file: GgufFile, config: ModelConfig) -> None:
        self._file = file
        self._config = config

    def __contains__(self, name: str) -> bool:
        """Whether the file has the tensor."""
        return gguf_name(name) in self._file.tensors

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor, dequantised. Rows of q and k, which llama.cpp interleaves for its own rotary layout, are put
        back in half-split order.

        Raises:
            ModelFileError: missing or of another shape.
        """
        info = self._file.tensors.get(gguf_name(name))
        if info is None:
            raise ModelFileError(f"{self._file.path}: has no tensor {gguf_name(name)}; {REMEDY}")
        _expect_shape(self._file.path, name, info.shape, shape)
        raw = torch.frombuffer(self._file.data, dtype=torch.uint8, count=info.size, offset=info.offset)
        tensor = _DEQUANTISE[info.type.name](raw).view(info.shape)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            half = self._config.head_width // 2
            tensor = tensor.view(-1, half, 2, shape[-1]).transpose(1, 2).reshape(shape)
        return tensor


class SafetensorsWeights:
    """Tensors of a folder with ``model.safetensors``, or shards and their index."""

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self._folder = folder
        self._errors = SafetensorError
        index = folder / "model.safetensors.index.json"
        self._files: dict[str, Any] = {}
        for path in _shards(index) if index.exists() else [folder / "model.safetensors"]:
            try:
                opened: Any = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise ModelFileError(f"{path}: cannot be read ({error}); {REMEDY}") from error
            self._files.update(dict.fromkeys(opened.keys(), opened))

    def __contains__(self, name: str) -> bool:
        """Whether one of the files has the tensor."""
        return name in self._files

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor as stored.

        Raises:
            ModelFileError: missing, of another shape, not floating, or unreadable.
        """
        if name not in self._files:
            raise ModelFileError(f"{self._folder}: has no tensor {name}; {REMEDY}")
        try:
            tensor: torch.Tensor = self._files[name].get_tensor(name)
        except self._errors as error:
            raise ModelFileError(f"{self._folder}: tensor {name} cannot be read ({error}); {REMEDY}") from error
        _expect_shape(self._folder, name, tuple(tensor.shape), shape)
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ModelFileError(
                f"{self._folder}: found {name} in {tensor.dtype}, expected float32, float16 or bfloat16"
            )
        return tensor


def gguf_name(name: str) -> str:
    """What llama.cpp calls the tensor that transformers calls ``name``."""
    if name == "rope_freqs.weight":
        return name
    stem, _, suffix = name.rpartition(".")
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    if layer is not None:
        return f"blk.{layer[1]}.{_GGUF_NAMES[layer[2]]}.{suffix}"
    return f"{_GGUF_NAMES[stem]}.{suffix}"


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{index}: expected a JSON object with weight_map; {REMEDY}") from error
    return [index.parent / Path(name).name for name in sorted(names)]


def _expect_shape(path: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ModelFileError(f"{path}: found {name} of shape {found}, expected {expected}; {REMEDY}")
