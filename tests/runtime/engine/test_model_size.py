"""What a model weighs, against checkpoints that are there."""

import math
from pathlib import Path

from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.models.checkpoint_facts import facts_of


def test_the_parameters_are_those_in_the_file(tmp_path: Path) -> None:
    """All but the norms; tied embeddings are counted once."""
    from safetensors import safe_open

    for tied in (True, False):
        folder = write_tiny_checkpoint(tmp_path / str(tied), tie_word_embeddings=tied, head_dim=16)
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - no mapping
        size = facts_of(folder).size
        assert size is not None
        assert size.parameters == sum(math.prod(shape) for shape in shapes if len(shape) > 1)
        assert size.kv_elements == 2 * 2 * 2 * 16


def test_operations_of_a_step_by_hand(tmp_path: Path) -> None:
    """Two for each weight and token, four for each layer, head element, query and key."""
    size = facts_of(write_tiny_checkpoint(tmp_path)).size
    assert size is not None
    assert size.flops(tokens=1, sampled=0, pairs=0) == 2 * size.layer_weights
    assert size.flops(tokens=0, sampled=1, pairs=0) == 2 * size.head_weights
    assert size.flops(tokens=0, sampled=0, pairs=1) == 4 * 2 * 4 * 8
