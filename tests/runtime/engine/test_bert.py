"""The architecture, against transformers on tiny random models."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from antiphon.runtime.engine.architectures.bert import Bert
from antiphon.runtime.engine.config import encoder_from_hf
from antiphon.runtime.engine.model_files import read_json
from antiphon.runtime.engine.testing import write_tiny_encoder
from antiphon.runtime.engine.weights import SafetensorsWeights
from antiphon.runtime.errors import ModelFileError

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one_head": {"num_attention_heads": 1},
    "eps": {"layer_norm_eps": 0.1},
    "wide_inside": {"intermediate_size": 96},
}


def load(folder: Path) -> Bert:
    """The model alone."""
    config = encoder_from_hf(read_json(folder / "config.json"))
    return Bert(config, SafetensorsWeights(folder), torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_hidden_states_agree_with_transformers(tmp_path: Path, variant: str) -> None:
    """For texts of several lengths in one batch, padding left aside."""
    folder = write_tiny_encoder(tmp_path, **VARIANTS[variant])
    ids = torch.randint(4, 14, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([9, 5, 1])[:, None]
    found = load(folder).forward(ids, mask)
    reference: Any = transformers.BertModel.from_pretrained(folder)
    reference.eval()
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing(tmp_path: Path) -> None:
    """A text alone, and beside a longer one with anything as its padding."""
    model = load(write_tiny_encoder(tmp_path))
    alone = model.forward(torch.tensor([[2, 4, 5, 3]]), torch.ones(1, 4, dtype=torch.bool))
    padded = torch.tensor([[2, 4, 5, 3, 9, 9], [2, 4, 5, 6, 7, 3]])
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    torch.testing.assert_close(model.forward(padded, mask)[0, :4], alone[0], atol=1e-5, rtol=1e-5)


def test_a_checkpoint_with_a_head_is_read(tmp_path: Path) -> None:
    """The same tensors one level down."""
    folder = write_tiny_encoder(tmp_path / "plain")
    other = write_tiny_encoder(tmp_path / "headed")
    save_file(
        {f"bert.{name}": each for name, each in load_file(folder / "model.safetensors").items()},
        other / "model.safetensors",
    )
    ids, mask = torch.tensor([[2, 4, 3]]), torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(load(other).forward(ids, mask), load(folder).forward(ids, mask))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "roberta"}, "found architecture 'roberta', supported: bert"),
        ({"hidden_act": "relu"}, "found hidden_act = 'relu', this engine computes 'gelu' only"),
        ({"position_embedding_type": "relative_key"}, "found position_embedding_type"),
        ({"num_attention_heads": 5}, "found 5 heads on width 32"),
        ({"num_hidden_layers": 0}, "found layers = 0"),
        ({"hidden_size": "wide"}, "found hidden_size = 'wide', expected a number"),
    ],
)
def test_a_model_that_is_not_computed_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """With what was found and what there is."""
    raw = read_json(write_tiny_encoder(tmp_path) / "config.json") | change
    with pytest.raises(ModelFileError, match=says):
        encoder_from_hf(raw)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Before anything is computed."""
    folder = write_tiny_encoder(tmp_path)
    raw = encoder_from_hf(read_json(folder / "config.json") | {"intermediate_size": 128})
    with pytest.raises(ModelFileError, match=r"encoder\.layer\.0\.intermediate\.dense\.weight of shape"):
        Bert(raw, SafetensorsWeights(folder), torch.float32, torch.device("cpu"))
