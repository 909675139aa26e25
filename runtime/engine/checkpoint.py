"""A checkpoint on disk: one GGUF file, or a Hugging Face folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.runtime.engine import config as configs
from antiphon.runtime.engine import tokenizer as tokenizers
from antiphon.runtime.engine.chat_template import ChatTemplate
from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.gguf_file import open_gguf
from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.engine.weights import GgufWeights, SafetensorsWeights, Weights
from antiphon.runtime.errors import ModelFileError


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything a model needs. A base model has no chat template."""

    config: ModelConfig
    tokenizer: Tokenizer
    template: ChatTemplate | None
    weights: Weights


def open_checkpoint(path: Path) -> Checkpoint:
    """Read what lies at ``path``: a .gguf file, a folder with one, or a folder with config.json.

    Raises:
        ModelFileError: nothing there, several candidates, or files that are damaged or not supported.
    """
    if path.is_file():
        return _open_gguf(path)
    if (path / "config.json").is_file():
        return _open_folder(path)
    found = sorted(path.glob("*.gguf"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ModelFileError(
            f"{path}: found no config.json and these GGUF files: {names}; expected a .gguf file, a folder with exactly "
            "one, or a Hugging Face folder; get one with `antiphon models pull`"
        )
    return _open_gguf(found[0])


def _open_gguf(path: Path) -> Checkpoint:
    file = open_gguf(path)
    config = configs.from_gguf(file.metadata, has_output_head="output.weight" in file.tensors)
    tokenizer = tokenizers.from_gguf(file.metadata)
    source = file.metadata.get("tokenizer.chat_template")
    template = ChatTemplate(source, tokenizer) if isinstance(source, str) else None
    return Checkpoint(config=config, tokenizer=tokenizer, template=template, weights=GgufWeights(file, config))


def _open_folder(folder: Path) -> Checkpoint:
    raw = read_json(folder / "config.json")
    config = configs.from_hf(raw)
    tokenizer_path = folder / "tokenizer.json"
    if not tokenizer_path.is_file():
        raise ModelFileError(f"{folder}: has no tokenizer.json, expected one; pull or copy it again")
    generation = read_json(folder / "generation_config.json", required=False)
    tokenizer_config = read_json(folder / "tokenizer_config.json", required=False)
    stops = _ids(raw.get("eos_token_id")) | _ids(generation.get("eos_token_id"))
    tokenizer = tokenizers.from_hf(tokenizer_path.read_text(encoding="utf-8"), tokenizer_config, stops)
    source = _template_source(folder, tokenizer_config)
    template = ChatTemplate(source, tokenizer) if source is not None else None
    return Checkpoint(config=config, tokenizer=tokenizer, template=template, weights=SafetensorsWeights(folder))


def read_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """The JSON object in a file; an empty one where a file that is not ``required`` is missing.

    Raises:
        ModelFileError: missing, unreadable or something else.
    """
    if not required and not path.exists():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error}); pull or copy it again") from error
    if not isinstance(raw, dict):
        raise ModelFileError(f"{path}: found {type(raw).__name__}, expected a JSON object; pull or copy it again")
    return raw


def _ids(value: object) -> set[int]:
    """eos_token_id is a number, a list of them, or absent."""
    values = value if isinstance(value, list) else [value]
    return {item for item in values if isinstance(item, int)}


def _template_source(folder: Path, tokenizer_config: dict[str, Any]) -> str | None:
    """``chat_template.jinja`` first, as in transformers; else the config's one, or its one called default."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    source = tokenizer_config.get("chat_template")
    if isinstance(source, list):
        named = {item.get("name"): item.get("template") for item in source if isinstance(item, dict)}
        source = named.get("default")
    return source if isinstance(source, str) else None
