"""Tensors of a checkpoint by their Hugging Face names, whatever file they lie in."""

import re
from pathlib import Path
from typing import Any, Protocol

import torch

from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.gguf_file import GgufFile, TensorInfo
from antiphon.runtime.engine.model_files import REMEDY, read_json
from antiphon.runtime.engine.packed_weight import QUANTISED, PackedWeight, unpack
from antiphon.runtime.errors import ModelFileError

_ROTATED = tuple(f"{part}_proj.{kind}" for part in "qk" for kind in ("weight", "bias"))
_LAYER = re.compile(r"^blk\.\d+\.")


class Weights(Protocol):
    """Where an architecture gets its tensors."""

    def __contains__(self, name: str) -> bool:
        """Whether the checkpoint has the tensor."""
        ...

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor in a floating dtype, on the CPU; its memory may be shared with the file's.

        Raises:
            ModelFileError: missing, of another shape, unreadable, or not finite.
        """
        ...

    def packed(self, name: str, shape: tuple[int, ...]) -> PackedWeight | None:
        """The tensor's codes as they are in the file, or None for one in a floating dtype.

        Raises:
            ModelFileError: as ``get``.
        """
        ...


_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class GgufWeights:
    """Tensors of a GGUF file."""

    def __init__(self, file: GgufFile, config: ModelConfig) -> None:
        """Raises ModelFileError for a tensor that this engine would leave out, and so compute another model."""
        self._file = file
        self._head_width = config.head_width
        # llama.cpp's converter lays the rows of a head out for its own rotation, in this architecture alone.
        self._interleaved = file.metadata["general.architecture"] == "llama"
        known = {"rope_freqs.weight", *(f"{name}.weight" for name in _GGUF_NAMES.values())}
        known |= {f"attn_{part}.bias" for part in "qkv"}
        for name in file.tensors:
            if _LAYER.sub("", name) not in known:
                raise ModelFileError(f"{file.path}: found tensor {name}, which this engine does not compute with")

    def __contains__(self, name: str) -> bool:
        """Whether the file has the tensor."""
        return gguf_name(name) in self._file.tensors

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor, dequantised. Rows of q and k that llama.cpp interleaves are put back in half-split order.

        Raises:
            ModelFileError: missing, of another shape, or not finite.
        """
        packed = self.packed(name, shape)
        if packed is not None:
            return packed.dequantised()
        info = self._info(name, shape)
        tensor = self._raw(info).view(_FLOATS[info.type.name]).view(shape)
        return self._in_order(name, _expect_finite(self._file.path, name, tensor))

    def packed(self, name: str, shape: tuple[int, ...]) -> PackedWeight | None:
        """The tensor's codes, in the order of rows that ``get`` gives them.

        Raises:
            ModelFileError: missing, of another shape, or not finite.
        """
        info = self._info(name, shape)
        if info.type.name not in QUANTISED:
            return None
        found = unpack(info.type.name, self._raw(info), shape)
        scales = _expect_finite(self._file.path, name, found.scales)
        offsets = None if found.offsets is None else _expect_finite(self._file.path, name, found.offsets)
        return PackedWeight(
            bits=found.bits,
            codes=self._in_order(name, found.codes),
            scales=self._in_order(name, scales),
            offsets=None if offsets is None else self._in_order(name, offsets),
        )

    def _info(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        info = self._file.tensors.get(gguf_name(name))
        if info is None:
            raise ModelFileError(f"{self._file.path}: has no tensor {gguf_name(name)}; {REMEDY}")
        _expect_shape(self._file.path, name, info.shape, shape)
        return info

    def _raw(self, info: TensorInfo) -> torch.Tensor:
        return torch.frombuffer(self._file.data, dtype=torch.uint8, count=info.size, offset=info.offset)

    def _in_order(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not self._interleaved or not name.endswith(_ROTATED):
            return tensor
        pairs = tensor.reshape(-1, self._head_width // 2, 2, *tensor.shape[1:])  # [heads, pairs, 2, ...]
        return pairs.transpose(1, 2).reshape(tensor.shape)


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
                if not path.is_file():  # opening a pipe would wait for ever
                    raise OSError("no such file")
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
            ModelFileError: missing, of another shape, not floating, not finite, or unreadable.
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
        return _expect_finite(self._folder, name, tensor)

    def packed(self, name: str, shape: tuple[int, ...]) -> None:
        """None: these files hold floats."""
        return None


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
    """The files an index names. They lie beside it: it came with a download, and no path of its making is followed."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ModelFileError(f"{index}: expected a JSON object with weight_map; {REMEDY}")
    for name in names.values():
        if name in ("", ".", "..") or name != Path(name).name:
            raise ModelFileError(f"{index}: found shard {name!r}, expected the name of a file beside it; {REMEDY}")
    return [index.parent / name for name in sorted(set(names.values()))]


def _expect_shape(path: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ModelFileError(f"{path}: found {name} of shape {found}, expected {expected}; {REMEDY}")


def _expect_finite(path: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    least, most = torch.aminmax(tensor)  # NaN comes through
    if not (least.isfinite() and most.isfinite()):
        raise ModelFileError(f"{path}: found values in {name} that are not finite; {REMEDY}")
    return tensor
