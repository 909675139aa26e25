"""A GGUF file: metadata and where each tensor lies.

Our own reader of the header (format: ggml's ``docs/gguf.md``, versions 2 and 3, little endian). The ``gguf`` package
makes a numpy view of every string and takes seconds for a vocabulary; this takes a tenth of one, and it notices
truncation before a tensor is touched. The tests hold it against that package.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.runtime.errors import ModelFileError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

REMEDY = "the file is damaged or incomplete: pull or copy it again"


@dataclass(frozen=True, kw_only=True)
class TensorType:
    """How a GGUF type lays out its elements."""

    name: str
    block: int  # elements a block
    size: int  # bytes a block


TYPES = {
    0: TensorType(name="F32", block=1, size=4),
    1: TensorType(name="F16", block=1, size=2),
    2: TensorType(name="Q4_0", block=32, size=18),
    3: TensorType(name="Q4_1", block=32, size=20),
    8: TensorType(name="Q8_0", block=32, size=34),
    30: TensorType(name="BF16", block=1, size=2),
}


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor: ``shape`` outermost first, as torch has it; ``offset`` in bytes from the start of the file."""

    type: TensorType
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """An open file; ``data`` maps all of it, copy-on-write, so that torch may view it without a warning."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    data: mmap.mmap


class _Cursor:
    """Reads values one after another; running off the end means a truncated file."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self.position = 0

    def scalar(self, layout: str) -> Any:
        try:
            (value,) = struct.unpack_from(layout, self._data, self.position)
        except struct.error as error:
            raise ModelFileError(f"{self._path}: ends inside its header; {REMEDY}") from error
        self.position += struct.calcsize(layout)
        return value

    def string(self) -> str:
        length = self.scalar("<Q")
        raw = self._data[self.position : self.position + length]
        if len(raw) != length:
            raise ModelFileError(f"{self._path}: ends inside its header; {REMEDY}")
        self.position += length
        return raw.decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            element, count = self.scalar("<I"), self.scalar("<Q")
            if count > len(self._data):
                raise ModelFileError(f"{self._path}: an array claims {count} elements; {REMEDY}")
            return [self.value(element) for _ in range(count)]
        if kind not in _SCALARS:
            raise ModelFileError(f"{self._path}: found metadata type {kind}, expected 0 to 12; {REMEDY}")
        return self.scalar(_SCALARS[kind])


def open_gguf(path: Path) -> GgufFile:
    """Read the header of ``path`` and map its tensors.

    Raises:
        ModelFileError: no such file, not GGUF, truncated, or with tensor types this engine does not dequantise.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:  # ValueError: mmap of an empty file
        raise ModelFileError(f"{path}: cannot be read ({error}); expected a GGUF file") from error
    if data[:4] != b"GGUF":
        raise ModelFileError(f"{path}: starts with {data[:4]!r}, expected b'GGUF'; {REMEDY}")
    cursor = _Cursor(data, path)
    cursor.position = 4
    version = cursor.scalar("<I")
    if version not in (2, 3):
        raise ModelFileError(f"{path}: found GGUF version {version}, supported: 2, 3 (little endian)")
    tensor_count, metadata_count = cursor.scalar("<Q"), cursor.scalar("<Q")
    metadata: dict[str, Any] = {}
    for _ in range(metadata_count):
        name = cursor.string()
        metadata[name] = cursor.value(cursor.scalar("<I"))
    relative = {cursor.string(): _tensor(cursor, path) for _ in range(tensor_count)}
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ModelFileError(f"{path}: found alignment {alignment!r}, expected a positive number; {REMEDY}")
    base = -(-cursor.position // alignment) * alignment
    tensors = {}
    for name, info in relative.items():
        end = base + info.offset + info.size
        if end > len(data):
            raise ModelFileError(f"{path}: {len(data)} bytes, but tensor {name} ends at byte {end}; {REMEDY}")
        tensors[name] = TensorInfo(type=info.type, shape=info.shape, offset=base + info.offset, size=info.size)
    return GgufFile(path=path, metadata=metadata, tensors=tensors, data=data)


def _tensor(cursor: _Cursor, path: Path) -> TensorInfo:
    dimensions = cursor.scalar("<I")
    if dimensions > 4:
        raise ModelFileError(f"{path}: a tensor claims {dimensions} dimensions, expected 4 at most; {REMEDY}")
    shape = tuple(cursor.scalar("<Q") for _ in range(dimensions))[::-1]
    number, offset = cursor.scalar("<I"), cursor.scalar("<Q")
    kind = TYPES.get(number)
    if kind is None:
        supported = ", ".join(kind.name for kind in TYPES.values())
        raise ModelFileError(
            f"{path}: found GGUF tensor type {number}, supported: {supported}; use another quantisation"
        )
    elements = 1
    for length in shape:
        elements *= length
    if shape and shape[-1] % kind.block:
        raise ModelFileError(
            f"{path}: found a row of {shape[-1]} elements, expected a multiple of {kind.block}; {REMEDY}"
        )
    return TensorInfo(type=kind, shape=shape, offset=offset, size=elements // kind.block * kind.size)
