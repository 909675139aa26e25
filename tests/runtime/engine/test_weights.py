"""Tensors by name, from either kind of file."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.gguf_file import open_gguf
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.engine.weights import SafetensorsWeights
from antiphon.runtime.errors import ModelFileError

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
GATE = "model.layers.1.mlp.gate_proj.weight"


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0"])
def test_every_type_equals_the_gguf_packages_dequantiser(gguf_maker: Any, tmp_path: Path, kind: str) -> None:
    """Not close: equal, for a plain matrix and for one whose rows are put back in order."""
    number = gguf.GGMLQuantizationType[kind]
    weights = open_checkpoint(gguf_maker.write(tmp_path / "tiny.gguf", number)).weights
    for name in (GATE, Q_PROJ):
        original = gguf_maker.tensors[name]
        expected = gguf.dequantize(gguf.quantize(original, number), number)  # blocks lie along rows: order is free
        found = weights.get(name, original.shape).float().numpy()
        assert np.array_equal(found, expected.reshape(original.shape))


def test_gguf_and_folder_hold_the_same_tensors(gguf_maker: Any, tiny_path: Path, tmp_path: Path) -> None:
    """Names map one to one, and interleaved rows are undone for q and k alone."""
    ours = open_checkpoint(gguf_maker.write(tmp_path / "tiny.gguf")).weights
    for name, expected in load_file(tiny_path / "model.safetensors").items():
        assert torch.equal(ours.get(name, tuple(expected.shape)), expected)


def test_a_missing_or_misshapen_tensor_is_named(gguf_maker: Any, tiny_path: Path, tmp_path: Path) -> None:
    """In GGUF and in safetensors, with found and expected shape."""
    gguf_weights = open_checkpoint(gguf_maker.write(tmp_path / "tiny.gguf", drop=GATE)).weights
    with pytest.raises(ModelFileError, match=r"has no tensor blk\.1\.ffn_gate\.weight"):
        gguf_weights.get(GATE, (64, 32))
    for weights in (gguf_weights, SafetensorsWeights(tiny_path)):
        with pytest.raises(ModelFileError, match=r"shape \(32, 32\), expected \(1, 2\)"):
            weights.get(Q_PROJ, (1, 2))
    with pytest.raises(ModelFileError, match="has no tensor absent"):
        SafetensorsWeights(tiny_path).get("absent", (1,))


def test_shards_are_found_through_their_index(tiny_path: Path, tmp_path: Path) -> None:
    """Tensors of two files are one checkpoint; a missing shard or a broken index is an error."""
    tensors = load_file(tiny_path / "model.safetensors")
    halves = {"a.safetensors": list(tensors)[:5], "b.safetensors": list(tensors)[5:]}
    for file, names in halves.items():
        save_file({name: tensors[name] for name in names}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, names in halves.items() for name in names}}))
    weights = SafetensorsWeights(tmp_path)
    assert all(torch.equal(weights.get(name, tuple(tensor.shape)), tensor) for name, tensor in tensors.items())
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"b\.safetensors: cannot be read"):
        SafetensorsWeights(tmp_path)
    index.write_text("[]")
    with pytest.raises(ModelFileError, match="expected a JSON object with weight_map"):
        SafetensorsWeights(tmp_path)


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    """Truncated, not safetensors at all, absent, or integers: each says what to do."""
    folder = write_tiny_checkpoint(tmp_path)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not safetensors", b""):
        file.write_bytes(damaged)
        with pytest.raises(ModelFileError, match="pull or copy it again"):
            SafetensorsWeights(folder)
    save_file({"x": torch.zeros(2, dtype=torch.int32)}, file)
    with pytest.raises(ModelFileError, match=r"torch\.int32, expected float32"):
        SafetensorsWeights(folder).get("x", (2,))
    file.unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        SafetensorsWeights(folder)


def test_the_real_file_has_the_layout_we_rely_on(smollm2_path: Path) -> None:
    """210 Q4_1 matrices, a Q8_0 embedding, F32 norms, no output head."""
    file = open_gguf(smollm2_path / "model.gguf")
    kinds = [info.type.name for info in file.tensors.values()]
    assert [kinds.count(kind) for kind in ("Q4_1", "Q8_0", "F32")] == [210, 1, 61]
    assert file.tensors["token_embd.weight"].shape == (49152, 576)
