"""What may lie at a checkpoint's path."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.testing import TEMPLATE, write_tiny_checkpoint
from antiphon.runtime.errors import ModelFileError


def test_a_folder_may_hold_one_gguf_file(gguf_maker: Any, tmp_path: Path) -> None:
    """One is taken, two are ambiguous, none is an error that says how to get a model."""
    with pytest.raises(ModelFileError, match=r"these GGUF files: none.*antiphon models pull"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelFileError, match="none"):
        open_checkpoint(tmp_path / "absent")
    gguf_maker.write(tmp_path / "a.gguf")
    assert open_checkpoint(tmp_path).config.layers == 2
    gguf_maker.write(tmp_path / "b.gguf")
    with pytest.raises(ModelFileError, match=r"a\.gguf, b\.gguf"):
        open_checkpoint(tmp_path)


def test_a_folder_and_gguf_of_one_model_agree(gguf_maker: Any, tiny_path: Path, tmp_path: Path) -> None:
    """Config, stop tokens, control tokens and ids of a text are the same."""
    ours, theirs = open_checkpoint(gguf_maker.write(tmp_path / "a.gguf")), open_checkpoint(tiny_path)
    assert replace(ours.config, norm_eps=1e-5) == theirs.config  # GGUF holds it in float32
    assert ours.tokenizer.stop_ids == theirs.tokenizer.stop_ids == {2}
    assert ours.tokenizer.control == theirs.tokenizer.control
    assert ours.tokenizer.encode("the thin héron 42") == theirs.tokenizer.encode("the thin héron 42")
    assert (ours.tokenizer.bos, ours.tokenizer.eos) == (theirs.tokenizer.bos, theirs.tokenizer.eos)


def test_an_unknown_architecture_is_named(gguf_maker: Any, tmp_path: Path) -> None:
    """In both kinds of checkpoint."""
    path = gguf_maker.write(tmp_path / "a.gguf", metadata={"general.architecture": "mamba"})
    with pytest.raises(ModelFileError, match="found architecture 'mamba', supported: llama"):
        open_checkpoint(path)
    folder = write_tiny_checkpoint(tmp_path / "folder", model_type="mamba")
    with pytest.raises(ModelFileError, match="found architecture 'mamba', supported: llama"):
        open_checkpoint(folder)


def test_a_folder_with_broken_json_or_no_tokenizer_is_refused(tmp_path: Path) -> None:
    """Each file that cannot be read is named."""
    folder = write_tiny_checkpoint(tmp_path)
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: cannot be read"):
        open_checkpoint(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"has no tokenizer\.json"):
        open_checkpoint(folder)
    (folder / "tokenizer.json").write_text(tokenizer)
    for content, message in (("{", "cannot be read"), ("[]", "found list, expected a JSON object")):
        (folder / "config.json").write_text(content)
        with pytest.raises(ModelFileError, match=message):
            open_checkpoint(folder)


def test_stop_tokens_come_from_every_place_they_are_kept(tmp_path: Path) -> None:
    """A chat model often ends turns with a token that only generation_config.json names."""
    folder = write_tiny_checkpoint(tmp_path)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}))
    assert open_checkpoint(folder).tokenizer.stop_ids == {0, 2}


def test_templates_are_found_where_transformers_puts_them(tmp_path: Path) -> None:
    """A jinja file wins, then the config's template, alone or in a named list; a base model has none."""
    folder = write_tiny_checkpoint(tmp_path)
    path = folder / "tokenizer_config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "chat_template": [{"name": "default", "template": TEMPLATE}]}))
    assert open_checkpoint(folder).template is not None
    path.write_text(json.dumps({**described, "chat_template": None}))
    assert open_checkpoint(folder).template is None
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert open_checkpoint(folder).template is not None
