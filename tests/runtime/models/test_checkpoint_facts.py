"""What is read of a checkpoint before it is loaded: files that cannot be read are named."""

import os
from pathlib import Path

import pytest

from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import ModelFileError
from antiphon.runtime.models.checkpoint_facts import facts_of


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    """As an unfinished download of a hub's cache leaves it."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    (folder / "model-2.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match=r"model-2\.safetensors: cannot be read"):
        facts_of(folder)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening one blocks until somebody writes."""
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    os.mkfifo(folder / "model-2.safetensors")
    with pytest.raises(ModelFileError, match="no such file"):
        facts_of(folder)


def test_stored_bytes_are_those_of_the_weights(tmp_path: Path) -> None:
    """Without the configuration beside them."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", shards=2)
    weights = list(folder.glob("*.safetensors"))
    assert len(weights) == 2
    assert facts_of(folder).stored_bytes == sum(file.stat().st_size for file in weights)
