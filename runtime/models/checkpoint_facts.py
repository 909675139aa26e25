"""What a checkpoint's headers say, without torch and without reading its weights."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from antiphon.runtime.engine import config as configs
from antiphon.runtime.engine.gguf_file import open_gguf
from antiphon.runtime.engine.model_files import read_json
from antiphon.runtime.engine.model_size import ModelSize, size_of
from antiphon.runtime.errors import ModelFileError

_HEAD_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """``size`` is None for a model that makes vectors. ``stored_bytes``: of the files with weights.

    ``digest`` tells models apart, and not fine-tuned copies of one: it covers the configuration and each weight
    file's name, length and first MiB, in which the shapes stand, since hashing all of a large model takes minutes.
    """

    size: ModelSize | None
    context_tokens: int
    stored_bytes: int
    digest: str


def facts_of(path: Path) -> CheckpointFacts:
    """The facts of a .gguf file, a folder with one, or a Hugging Face folder.

    Raises:
        ModelFileError: nothing there, or headers that are damaged or not supported.
    """
    described = path / "config.json"
    weights = sorted(path.glob("*.safetensors")) if described.is_file() else sorted(path.glob("*.gguf"))
    if path.is_file():
        weights = [path]
    if not weights:
        raise ModelFileError(f"{path}: found no weights, expected a .gguf file or a folder with config.json")
    digest = hashlib.sha256()
    for file in [*([described] if described.is_file() else ()), *weights]:
        digest.update(f"{file.name}:{file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_HEAD_BYTES))
    size, context_tokens = _from_folder(described) if described.is_file() else _from_gguf(weights[0])
    return CheckpointFacts(
        size=size,
        context_tokens=context_tokens,
        stored_bytes=sum(file.stat().st_size for file in weights),
        digest=digest.hexdigest(),
    )


def _from_gguf(file: Path) -> tuple[ModelSize, int]:
    opened = open_gguf(file)
    config = configs.from_gguf(opened.metadata, opened.tensors)
    return size_of(config), config.context_tokens


def _from_folder(described: Path) -> tuple[ModelSize | None, int]:
    raw = read_json(described)
    if raw.get("model_type") in configs.ENCODERS:
        return None, configs.encoder_from_hf(raw).context_tokens
    config = configs.from_hf(raw)
    return size_of(config), config.context_tokens
