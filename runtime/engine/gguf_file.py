"""A GGUF file: metadata and where each tensor lies.

Our own reader of the header (format: ggml's ``docs/gguf.md``, versions 2 and 3, little endian). The ``gguf`` package
makes a numpy view of every string and takes seconds for a vocabulary; this takes a tenth of one. Nothing in the file is
believed before it is checked against the file's size, so truncation and absurd counts are noticed before memory is
taken or a tensor touched. The tests hold it against that package.
"""

import math
import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from antiphon.runtime.engine.model_files import REMEDY
from antiphon.runtime.errors import ModelFileError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_HEADER_MOST = 2**26  # bytes; a vocabulary of 262,144 with its merges takes 14 MB


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
        self._end = min(len(data), _HEADER_MOST)
        self.position = 0

    def scalars(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        layout = f"<{count}{kind}"
        start = self._take(count * struct.calcsize(f"<{kind}"))
        return struct.unpack_from(layout, self._data, start)

    def number(self, kind: str) -> int:
        found: int = self.scalars(kind)[0]
        return found

    def string(self) -> str:
        length = self.number("Q")
        start = self._take(length)
        return self._data[start : start + length].decode(errors="replace")

    def value(self) -> Any:
        kind = self.number("I")
        if kind != _ARRAY:
            return self._values(kind, 1)[0]
        return self._values(self.number("I"), self.number("Q"))

    def _values(self, kind: int, count: int) -> list[Any]:
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        if kind not in _SCALARS:
            raise ModelFileError(f"{self._path}: found metadata type {kind}, expected 0 to 12; {REMEDY}")
        return list(self.scalars(_SCALARS[kind], count))

    def _take(self, length: int) -> int:
        start, self.position = self.position, self.position + length
        if self.position > self._end:
            raise ModelFileError(
                f"{self._path}: ends inside its header, which claims {self.position} of {self._end} bytes; {REMEDY}"
            )
        return start


def open_gguf(path: Path) -> GgufFile:
    """Read the header of ``path`` and map its tensors.

    Raises:
        ModelFileError: no such file, not GGUF, truncated, or with tensor types this engine does not dequantise.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise OSError("not a file")
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:  # ValueError: mmap of an empty file
        raise ModelFileError(f"{path}: cannot be read ({error}); expected a GGUF file") from error
    if data[:4] != b"GGUF":
        raise ModelFileError(f"{path}: starts with {data[:4]!r}, expected b'GGUF'; {REMEDY}")
    cursor = _Cursor(data, path)
    cursor.position = 4
    version = cursor.number("I")
    if version not in (2, 3):
        raise ModelFileError(f"{path}: found GGUF version {version}, supported: 2, 3 (little endian)")
    tensor_count, metadata_count = cursor.number("Q"), cursor.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(metadata_count):
        name = cursor.string()
        metadata[name] = cursor.value()
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
        raise ModelFileError(f"{path}: found alignment {alignment!r}, expected a power of 2 from 8 on; {REMEDY}")
    relative: dict[str, TensorInfo] = {}
    for _ in range(tensor_count):
        name = cursor.string()
        if name in relative:
            raise ModelFileError(f"{path}: found tensor {name} twice; {REMEDY}")
        relative[name] = _tensor(cursor, path)
    base = -(-cursor.position // alignment) * alignment
    tensors = {name: replace(info, offset=base + info.offset) for name, info in relative.items()}
    _expect_layout(path, tensors, base, alignment, len(data))
    return GgufFile(path=path, metadata=metadata, tensors=tensors, data=data)


def _expect_layout(path: Path, tensors: dict[str, TensorInfo], start: int, alignment: int, size: int) -> None:
    """Tensors one after another, aligned, none beyond the file's end."""
    for name, info in sorted(tensors.items(), key=lambda item: item[1].offset):
        end = info.offset + info.size
        if end > size:
            raise ModelFileError(f"{path}: {size} bytes, but tensor {name} ends at byte {end}; {REMEDY}")
        if info.offset < start or info.offset % alignment:
            raise ModelFileError(
                f"{path}: tensor {name} starts at byte {info.offset}, expected a multiple of {alignment} from "
                f"{start} on; {REMEDY}"
            )
        start = end


def _tensor(cursor: _Cursor, path: Path) -> TensorInfo:
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= 4:
        raise ModelFileError(f"{path}: a tensor claims {dimensions} dimensions, expected 1 to 4; {REMEDY}")
    shape = tuple(cursor.scalars("Q", dimensions))[::-1]
    number, offset = cursor.number("I"), cursor.number("Q")
    kind = TYPES.get(number)
    if kind is None:
        supported = ", ".join(kind.name for kind in TYPES.values())
        raise ModelFileError(
            f"{path}: found GGUF tensor type {number}, supported: {supported}; use another quantisation"
        )
    if 0 in shape or shape[-1] % kind.block:
        raise ModelFileError(
            f"{path}: found a tensor of shape {shape}, expected rows of a multiple of {kind.block} elements; {REMEDY}"
        )
    return TensorInfo(type=kind, shape=shape, offset=offset, size=math.prod(shape) // kind.block * kind.size)
