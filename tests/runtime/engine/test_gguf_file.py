"""Reading GGUF headers, whole and damaged."""

from pathlib import Path
from typing import Any

import gguf
import pytest

from antiphon.runtime.engine.gguf_file import open_gguf
from antiphon.runtime.errors import ModelFileError


@pytest.fixture(scope="module")
def path(gguf_maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file."""
    written: Path = gguf_maker.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    return written


def test_agrees_with_the_gguf_package(path: Path) -> None:
    """Metadata, shapes, types and offsets are those its own reader finds."""
    ours, theirs = open_gguf(path), gguf.GGUFReader(path)
    for name, value in ours.metadata.items():
        assert theirs.fields[name].contents() == value
    assert {field for field in theirs.fields if not field.startswith("GGUF.")} == set(ours.metadata)
    assert [tensor.name for tensor in theirs.tensors] == list(ours.tensors)
    for tensor in theirs.tensors:
        info = ours.tensors[tensor.name]
        assert info.shape == tuple(int(length) for length in reversed(tensor.shape))
        assert (info.type.name, info.offset) == (tensor.tensor_type.name, tensor.data_offset)
        assert ours.data[info.offset : info.offset + info.size] == tensor.data.tobytes()


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.01, 0.05, 0.1, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused_at_once(path: Path, tmp_path: Path, share: float) -> None:
    """Wherever the file ends early, opening it says so and what to do."""
    whole = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelFileError, match=r"pull or copy it again|cannot be read"):
        open_gguf(cut)


def test_a_damaged_header_is_refused(path: Path, tmp_path: Path) -> None:
    """Flipping any early byte gives a readable file or a ModelFileError, never another exception."""
    whole = bytearray(path.read_bytes())
    damaged = tmp_path / "damaged.gguf"
    refused = 0
    for position in range(0, 400):
        changed = whole.copy()
        changed[position] ^= 0xFF
        damaged.write_bytes(changed)
        try:
            open_gguf(damaged)
        except ModelFileError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("start", "message"),
    [(b"PK\x03\x04", "expected b'GGUF'"), (b"GGUF\x01\x00\x00\x00", "version 1"), (b"GGUF\x00\x00\x00\x03", "version")],
)
def test_another_format_is_named(tmp_path: Path, start: bytes, message: str) -> None:
    """A wrong magic, an old version and a big-endian file are told apart."""
    file = tmp_path / "other.gguf"
    file.write_bytes(start + bytes(64))
    with pytest.raises(ModelFileError, match=message):
        open_gguf(file)


def test_a_missing_file_and_an_unknown_tensor_type_are_named(gguf_maker: Any, tmp_path: Path) -> None:
    """The list of supported types is in the message."""
    with pytest.raises(ModelFileError, match="cannot be read"):
        open_gguf(tmp_path / "absent.gguf")
    file = gguf_maker.write(tmp_path / "q5.gguf", gguf.GGMLQuantizationType.Q5_0)
    with pytest.raises(ModelFileError, match="tensor type 6, supported: F32, F16, Q4_0"):
        open_gguf(file)
