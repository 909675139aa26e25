"""A checkpoint on disk: one GGUF file, or a Hugging Face folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.runtime.engine import config as configs
from antiphon.runtime.engine import gguf_tokenizer
from antiphon.runtime.engine import tokenizer as tokenizers
from antiphon.runtime.engine.chat_template import ChatTemplate
from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.gguf_file import open_gguf
from antiphon.runtime.engine.model_files import read_json, read_text
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
    config = configs.from_gguf(file.metadata, file.tensors)
    tokenizer = gguf_tokenizer.from_gguf(file.metadata)
    source = file.metadata.get("tokenizer.chat_template")
    return _checkpoint(path, config, tokenizer, source if isinstance(source, str) else None, GgufWeights(file, config))


def _open_folder(folder: Path) -> Checkpoint:
    raw = read_json(folder / "config.json")
    config = configs.from_hf(raw)
    tokenizer_path = folder / "tokenizer.json"
    if not tokenizer_path.is_file():
        raise ModelFileError(f"{folder}: has no tokenizer.json, expected one; pull or copy it again")
    generation = read_json(folder / "generation_config.json", required=False)
    tokenizer_config = read_json(folder / "tokenizer_config.json", required=False)
    stops = _ids(raw.get("eos_token_id")) | _ids(generation.get("eos_token_id"))
    tokenizer = tokenizers.from_hf(read_text(tokenizer_path), tokenizer_config, stops)
    template = _template_source(folder, tokenizer_config)
    return _checkpoint(folder, config, tokenizer, template, SafetensorsWeights(folder))


def _checkpoint(
    path: Path, config: ModelConfig, tokenizer: Tokenizer, template: str | None, weights: Weights
) -> Checkpoint:
    if tokenizer.highest_id >= config.vocabulary:
        raise ModelFileError(
            f"{path}: found token {tokenizer.highest_id} in the tokenizer, expected a vocabulary of "
            f"{config.vocabulary}; the files are of two models: pull or copy them again"
        )
    return Checkpoint(
        config=config,
        tokenizer=tokenizer,
        template=None if template is None else ChatTemplate(template, tokenizer),
        weights=weights,
    )


def _ids(value: object) -> set[int]:
    """eos_token_id is a number, a list of them, or absent."""
    values = value if isinstance(value, list) else [value]
    return {item for item in values if isinstance(item, int) and not isinstance(item, bool)}


def _template_source(folder: Path, tokenizer_config: dict[str, Any]) -> str | None:
    """``chat_template.jinja`` first, as in transformers; else the config's one, or its one called default."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_text(path)
    source = tokenizer_config.get("chat_template")
    if isinstance(source, list):
        named = [item.get("template") for item in source if isinstance(item, dict) and item.get("name") == "default"]
        source = named[0] if named else None
    return source if isinstance(source, str) else None
