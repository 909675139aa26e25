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
    stored_bytes = 0
    for file in [*([described] if described.is_file() else ()), *weights]:
        try:
            if not file.is_file():  # opening a pipe would wait for ever
                raise FileNotFoundError("no such file")
            length = file.stat().st_size
            with file.open("rb") as opened:
                head = opened.read(_HEAD_BYTES)
        except OSError as error:
            raise ModelFileError(f"{file}: cannot be read ({error}); pull or copy it again") from error
        digest.update(f"{file.name}:{length}\n".encode() + head)
        stored_bytes += length if file in weights else 0
    size, context_tokens = _from_folder(described) if described.is_file() else _from_gguf(weights[0])
    return CheckpointFacts(
        size=size, context_tokens=context_tokens, stored_bytes=stored_bytes, digest=digest.hexdigest()
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
