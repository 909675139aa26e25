"""Checkpoints small enough to write in a test (random weights, tokenizers of a few entries), and what a model says."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from antiphon.kernels.paged_layout import PagedLayout
from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.kv_pages import KvPages
from antiphon.runtime.engine.request import Event, FailureEvent, FinishEvent, Request, TokenEvent

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_BERT_CONTROL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_WORD_PIECES = {
    piece: index
    for index, piece in enumerate(
        (*_BERT_CONTROL, "the", "sea", "sky", "is", "blue", "##ish", "fox", "##es", "red", ".")
    )
}
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 16}),
}
_MERGES = [("h", "e"), ("Ġ", "t"), ("Ġt", "he"), ("i", "n")]


def write_tiny_checkpoint(
    folder: Path, *, family: str = "llama", shards: int = 1, seed: int = 0, **overrides: Any
) -> Path:
    """Write a Hugging Face folder of a random llama, mistral, qwen2 or qwen3; ``overrides`` replace entries of its
    config.json.

    It speaks gibberish, but deterministic gibberish, and runs thousands of tokens a second. Returns ``folder``.
    """
    tokenizer = _tokenizer()
    architecture, own = _FAMILIES[family]
    config: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": family,
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **own,
        **overrides,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _save(_tensors(config, seed), folder, shards)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": CONTROL[1],
        "eos_token": CONTROL[2],
        "chat_template": TEMPLATE,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return folder


def write_tiny_encoder(folder: Path, *, seed: int = 0, **overrides: Any) -> Path:
    """Write a Hugging Face folder of a random BERT model; ``overrides`` replace entries of its config.json."""
    tokenizer = Tokenizer(models.WordPiece(_WORD_PIECES, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(_BERT_CONTROL))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config: dict[str, Any] = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        **overrides,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_encoder_tensors(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _tokenizer() -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(CONTROL)}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    for pair in _MERGES:
        vocabulary["".join(pair)] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    return tokenizer


def _save(tensors: dict[str, torch.Tensor], folder: Path, shards: int) -> None:
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    files: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in list(tensors)[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def _tensors(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * 0.3

    width, ffn, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_width = config.get("head_dim", width // heads)
    tensors = {"model.embed_tokens.weight": normal(vocabulary, width), "model.norm.weight": 1 + normal(width)}
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = normal(vocabulary, width)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        tensors |= {
            f"{at}.input_layernorm.weight": 1 + normal(width),
            f"{at}.self_attn.q_proj.weight": normal(heads * head_width, width),
            f"{at}.self_attn.k_proj.weight": normal(kv_heads * head_width, width),
            f"{at}.self_attn.v_proj.weight": normal(kv_heads * head_width, width),
            f"{at}.self_attn.o_proj.weight": normal(width, heads * head_width),
            f"{at}.post_attention_layernorm.weight": 1 + normal(width),
            f"{at}.mlp.gate_proj.weight": normal(ffn, width),
            f"{at}.mlp.up_proj.weight": normal(ffn, width),
            f"{at}.mlp.down_proj.weight": normal(width, ffn),
        }
        if config["model_type"] == "qwen2":
            rows = {"q": heads * head_width, "k": kv_heads * head_width, "v": kv_heads * head_width}
            tensors |= {f"{at}.self_attn.{part}_proj.bias": normal(rows[part]) for part in rows}
        if config["model_type"] == "qwen3":
            tensors |= {f"{at}.self_attn.{part}_norm.weight": 1 + normal(head_width) for part in "qk"}
    return tensors


def _encoder_tensors(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * 0.3

    width, ffn = config["hidden_size"], config["intermediate_size"]

    def norm(name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 1 + normal(width), f"{name}.bias": normal(width)}

    def product(name: str, rows: int, columns: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": normal(rows, columns), f"{name}.bias": normal(rows)}

    tensors = {
        "embeddings.word_embeddings.weight": normal(config["vocab_size"], width),
        "embeddings.position_embeddings.weight": normal(config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": normal(config["type_vocab_size"], width),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            tensors |= product(f"{at}.attention.self.{part}", width, width)
        tensors |= product(f"{at}.attention.output.dense", width, width)
        tensors |= norm(f"{at}.attention.output.LayerNorm")
        tensors |= product(f"{at}.intermediate.dense", ffn, width)
        tensors |= product(f"{at}.output.dense", width, ffn)
        tensors |= norm(f"{at}.output.LayerNorm")
    return tensors


def logits_of(model: Llama, ids: torch.Tensor, *chunks: int) -> torch.Tensor:
    """Scores of every position of one sequence, computed in chunks of these lengths, the rest in one."""
    pages = -(-len(ids) // PAGE_TOKENS)
    memory = KvPages(model.config, pages, model.place.dtype, model.place.device)
    found, start = [], 0
    for part in torch.split(ids, [*chunks, len(ids) - sum(chunks)]):
        positions = torch.arange(start, start + len(part))
        start += len(part)
        layout = PagedLayout(
            query_starts=torch.tensor([0, len(part)], dtype=torch.int32),
            context_tokens=torch.tensor([start], dtype=torch.int32),
            page_table=torch.arange(pages, dtype=torch.int32)[None],
            slots=positions,
            most_queries=len(part),
            most_context=start,
        )
        if len(part):
            found.append(model.logits(model.forward(part, positions, layout, memory)))
    return torch.cat(found)


def replies(engine: Engine, requests: Sequence[Request], timeout_s: float = 60.0) -> dict[str, list[int]]:
    """The tokens of requests that are submitted together, by request.

    Raises:
        AntiphonError: what the first of them failed with.
        TimeoutError: one has not ended after ``timeout_s``.
    """
    tokens: dict[str, list[int]] = {request.id: [] for request in requests}
    ends = {request.id: Future[None]() for request in requests}

    def on_event(event: Event) -> None:
        match event:
            case TokenEvent():
                tokens[event.request].append(event.token)
            case FinishEvent():
                ends[event.request].set_result(None)
            case FailureEvent():
                ends[event.request].set_exception(event.error)

    for request in requests:
        engine.submit(request, on_event)
    for end in ends.values():
        end.result(timeout_s)
    return tokens
