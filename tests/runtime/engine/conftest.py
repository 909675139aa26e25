"""Checkpoints for the engine's tests: tiny random ones, and the real one, which is pulled once and kept."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from safetensors.torch import load_file

from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.testing import CONTROL, TEMPLATE, write_tiny_checkpoint
from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.engine.weights import gguf_name
from antiphon.runtime.models.pull import pull

if TYPE_CHECKING:  # five seconds, in each process that runs tests
    from transformers import LlamaForCausalLM

    from antiphon.runtime.engine.engine import Engine


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(tiny_path: Path) -> "Iterator[Engine]":
    """An engine of its own on the tiny checkpoint, in float32."""
    from antiphon.runtime.engine.engine import Engine

    engine = Engine.load(tiny_path, EngineConfig(dtype="float32"))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The folder of SmolLM2-135M-Instruct, pulled into a cache that outlives the test run."""
    home = os.environ.get("ANTIPHON_TEST_MODELS")
    models_dir = Path(home) if home else Path.home() / ".cache" / "antiphon-test" / "models"
    return pull("smollm2-135m", models_dir, lambda progress: None)


class GgufMaker:
    """Writes GGUF files with the ``gguf`` package, from the config and the tensors of a Hugging Face folder."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.tensors: dict[str, np.ndarray[Any, Any]] = {
            name: tensor.numpy() for name, tensor in load_file(folder / "model.safetensors").items()
        }

    def write(
        self,
        path: Path,
        kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
        *,
        metadata: Mapping[str, Any] | None = None,
        drop: str | None = None,
    ) -> Path:
        """The tensors at ``path``, matrices in ``kind``; q and k interleaved as llama.cpp's converter does for its
        llama architecture, which is Mistral's too."""
        config, family = self.config, self.config["model_type"]
        writer = gguf.GGUFWriter(path, "llama" if family == "mistral" else family)
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(config["num_attention_heads"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(config["rope_theta"])
        if "head_dim" in config:
            writer.add_key_length(config["head_dim"])
            writer.add_value_length(config["head_dim"])
        alphabet = sorted(_alphabet())
        tokens = [*CONTROL, *alphabet, "he", "Ġt", "Ġthe", "in"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3] * len(CONTROL) + [1] * (len(tokens) - len(CONTROL)))
        writer.add_token_merges(["h e", "Ġ t", "Ġt he", "i n"])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template(TEMPLATE)
        for name, value in (metadata or {}).items():
            writer.kv_data[0].pop(name, None)
            writer.add_string(name, value)
        for name, tensor in self.tensors.items():
            if name == drop:
                continue
            if "q_proj" in name or "k_proj" in name:
                tensor = self._interleaved(name, tensor)
            stored = gguf.GGMLQuantizationType.F32 if tensor.ndim == 1 else kind
            writer.add_tensor(gguf_name(name), gguf.quantize(tensor, stored), raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def _interleaved(self, name: str, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self.config["model_type"] not in ("llama", "mistral"):
            return tensor
        heads = self.config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, -1)
        return halves.swapaxes(1, 2).reshape(tensor.shape)


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return list(pre_tokenizers.ByteLevel.alphabet())


@pytest.fixture(scope="session")
def gguf_maker(tiny_path: Path) -> GgufMaker:
    """Writes the tiny checkpoint as GGUF."""
    return GgufMaker(tiny_path)


@pytest.fixture(scope="session")
def gguf_maker_of() -> type[GgufMaker]:
    """Writes the checkpoint in a folder as GGUF."""
    return GgufMaker


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What transformers makes of the real file, in float32."""

    tokenizer: Any
    model: "LlamaForCausalLM"


@pytest.fixture(scope="session")
def hf_smollm2(smollm2_path: Path) -> Reference:
    """transformers' tokenizer and model from the same file.

    Its readers share one header and one map of names, since making these takes longer than all the rest; and the
    tensors are loaded by its converter but without ``from_pretrained``, which asks for accelerate.
    """
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    file = smollm2_path / "model.gguf"
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(gguf, "GGUFReader", cache(gguf.GGUFReader))
        patch.setattr(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map))
        tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2_path, gguf_file=file.name)
        config = transformers.AutoConfig.from_pretrained(smollm2_path, gguf_file=file.name)
        model = transformers.LlamaForCausalLM(config)
        convert: Any = load_gguf_checkpoint
        tensors = convert(str(file), return_tensors=True, model_to_load=model)["tensors"]
        missing = model.load_state_dict(tensors, strict=False).missing_keys
        assert set(missing) <= {"lm_head.weight"}  # tied
    return Reference(tokenizer=tokenizer, model=model)


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> "Iterator[Engine]":
    """The real model in float32. Shared: it keeps the prefixes of earlier prompts, which must never show."""
    from antiphon.runtime.engine.engine import Engine

    engine = Engine.load(smollm2_path, EngineConfig(dtype="float32"))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_path: Path) -> Tokenizer:
    """The real tokenizer."""
    return open_checkpoint(smollm2_path).tokenizer
