"""Tensors by name, from either kind of file."""

import json
from copy import deepcopy
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
    for broken in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {"x": 1}}'):
        index.write_text(broken)
        with pytest.raises(ModelFileError, match="expected a JSON object"):
            SafetensorsWeights(tmp_path)


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ""])
def test_an_index_names_files_beside_it(tiny_path: Path, tmp_path: Path, name: str) -> None:
    """It came with a download: a path that leads elsewhere is refused, even to a file that is whole."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "a.safetensors").write_bytes((tiny_path / "model.safetensors").read_bytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(ModelFileError, match="expected the name of a file beside it"):
        SafetensorsWeights(folder)


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


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_codes_come_as_the_file_has_them(gguf_maker: Any, tmp_path: Path, kind: str) -> None:
    """Small whole numbers, a scale for each 32, rows in the tensor's order; dequantised they are the tensor."""
    number = gguf.GGMLQuantizationType[kind]
    weights = open_checkpoint(gguf_maker.write(tmp_path / "tiny.gguf", number)).weights
    for name in (GATE, Q_PROJ):
        shape = gguf_maker.tensors[name].shape
        packed = weights.packed(name, shape)
        assert packed is not None
        expected = (8, torch.int8, False) if kind == "Q8_0" else (4, torch.uint8, True)
        assert (packed.bits, packed.codes.dtype, packed.offsets is not None) == expected
        assert packed.codes.shape == shape
        assert packed.scales.shape == (shape[0], shape[1] // 32)
        assert packed.bits == 8 or packed.codes.max() <= 15
        assert torch.equal(packed.dequantised(), weights.get(name, shape))
        blocks = gguf.quantize(gguf_maker.tensors[name], number).reshape(shape[0], shape[1] // 32, -1)
        assert np.array_equal(packed.scales.numpy(), blocks[..., :2].copy().view(np.float16)[..., 0])
        last = blocks[..., -1].view(np.int8) if kind == "Q8_0" else blocks[..., -1] >> 4
        assert np.array_equal(packed.codes.numpy()[:, 31::32], last)


def test_floats_have_no_codes(gguf_maker: Any, tiny_path: Path, tmp_path: Path) -> None:
    """In either kind of file."""
    path = gguf_maker.write(tmp_path / "tiny.gguf", gguf.GGMLQuantizationType.BF16)
    for weights in (open_checkpoint(path).weights, SafetensorsWeights(tiny_path)):
        assert weights.packed(GATE, (64, 32)) is None


def test_rows_of_other_architectures_are_not_moved(gguf_maker_of: Any, tmp_path: Path) -> None:
    """llama.cpp's converter interleaves the rows of q and k in one architecture alone; biases go with their rows."""
    for family in ("mistral", "qwen2", "qwen3"):
        folder = write_tiny_checkpoint(tmp_path / family, family=family)
        weights = open_checkpoint(gguf_maker_of(folder).write(tmp_path / f"{family}.gguf")).weights
        for name, expected in load_file(folder / "model.safetensors").items():
            assert torch.equal(weights.get(name, tuple(expected.shape)), expected), name


def test_a_tensor_that_would_be_left_out_is_refused(gguf_maker: Any, tmp_path: Path) -> None:
    """A bias on the output, say: without it this would be another model that runs and is wrong."""
    maker = deepcopy(gguf_maker)
    maker.tensors["model.layers.1.self_attn.o_proj.bias"] = np.zeros(32, dtype=np.float32)
    with pytest.raises(ModelFileError, match=r"found tensor blk\.1\.attn_output\.bias, which this engine does not"):
        open_checkpoint(maker.write(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize("kind", ["F32", "BF16", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(gguf_maker: Any, tmp_path: Path, kind: str, value: float) -> None:
    """One bad number makes every answer nonsense; it is said at loading, with the tensor."""
    maker, path = deepcopy(gguf_maker), tmp_path / "tiny.gguf"
    maker.tensors[GATE][3, 3] = value
    with np.errstate(all="ignore"):
        maker.write(path, gguf.GGMLQuantizationType[kind])
    with pytest.raises(ModelFileError, match=f"found values in {GATE} that are not finite"):
        open_checkpoint(path).weights.get(GATE, (64, 32))


def test_the_real_file_has_the_layout_we_rely_on(smollm2_path: Path) -> None:
    """210 Q4_1 matrices, a Q8_0 embedding, F32 norms, no output head."""
    file = open_gguf(smollm2_path / "model.gguf")
    kinds = [info.type.name for info in file.tensors.values()]
    assert [kinds.count(kind) for kind in ("Q4_1", "Q8_0", "F32")] == [210, 1, 61]
    assert file.tensors["token_embd.weight"].shape == (49152, 576)
