"""The real model, against transformers on the same file."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field

from antiphon.runtime.engine.architectures.llama import Llama
from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.request import FinishEvent, Request, TokenEvent
from antiphon.runtime.engine.testing import logits_of
from antiphon.runtime.engine.tokenizer import IncrementalDecoder, Tokenizer
from antiphon.schemas.inference import FinishReason, Role, Sampling, Turn, turn
from antiphon.schemas.message import Message

TODAY = datetime(2025, 7, 4, tzinfo=UTC)
QUESTION = [turn(Role.USER, "Why is the sky blue? Answer in one sentence.")]
TEXTS = [
    "Hello, world!",
    "  leading and   inner spaces\n\n\ttabs\r\n",
    "Numbers 1234567890 and 3.14, dates 2024-05-06.",
    "don't we'll I'VE it's",
    "naïve café, Привет, 你好世界, مرحبا, 👩‍👩‍👧 🎉",
    "def f(x):\n    return x**2  # comment\n",
    "a" * 100,
    "",
]


class Review(Message):
    """A flat object."""

    accepted: bool
    comment: str = Field(max_length=25)


class Item(Message):
    """Part of a Plan."""

    title: str = Field(max_length=20)
    hours: int = Field(ge=0, le=99)


class Plan(Message):
    """Nested, with a list, a choice and an optional entry."""

    items: list[Item] = Field(min_length=2, max_length=2)
    mood: str = Field(pattern=r"^(good|bad)$")
    note: str | None = Field(default=None, max_length=20)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_transformers(smollm2_tokenizer: Tokenizer, hf_smollm2: Any, text: str) -> None:
    """The same ids as the pinned reference for words, digits, other scripts and code, and the text back."""
    ids = smollm2_tokenizer.encode(text)
    assert ids == hf_smollm2.tokenizer.encode(text, add_special_tokens=False)
    decoder = IncrementalDecoder(smollm2_tokenizer)
    assert "".join(decoder.push(token) for token in ids) == text


@pytest.mark.parametrize(
    "turns",
    [
        [turn(Role.USER, "Why is the sky blue?")],
        [
            turn(Role.SYSTEM, "Be brief."),
            turn(Role.USER, "Hi\n\n  there "),
            turn(Role.ASSISTANT, "Yes?"),
            turn(Role.USER, ""),
        ],
        [turn(Role.USER, "你好 42 👋")],
    ],
)
def test_the_template_equals_transformers(smollm2_path: Path, hf_smollm2: Any, turns: list[Turn]) -> None:
    """The same ids as apply_chat_template on the same file, default system turn included."""
    checkpoint = open_checkpoint(smollm2_path)
    assert checkpoint.template is not None
    messages = [{"role": item.role.value, "content": item.text} for item in turns]
    expected = hf_smollm2.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert checkpoint.template.encode(turns, today=TODAY) == expected


def test_logits_agree_with_transformers(smollm2: Engine, hf_smollm2: Any) -> None:
    """Within 1e-3 at every position of a prompt computed in two chunks (float32; 3e-5 was seen at best)."""
    prompt = smollm2.encode(QUESTION)
    ours = logits_of(smollm2.runner.model, torch.tensor(prompt), 30)
    with torch.inference_mode():
        theirs = hf_smollm2.model(torch.tensor(prompt)[None]).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def smollm2_codes(smollm2_path: Path) -> Llama:
    """The model as `auto` loads it: 4 bits for few rows, bfloat16 for many."""
    checkpoint = open_checkpoint(smollm2_path)
    return Llama(checkpoint.config, checkpoint.weights, Place(torch.device("cpu"), torch.bfloat16, codes=True))


def test_the_files_own_codes_stay_close(smollm2: Engine, smollm2_path: Path, smollm2_codes: Llama) -> None:
    """What `auto` computes with, 4 bits for few rows and bfloat16 for many, or float32 where the processor has no
    bfloat16: at most 1e-2 of divergence (KL)."""
    text = " ".join(f"{at}. The {word} is over there." for at, word in enumerate(("sea", "sky", "fox", "box") * 6))
    ids = torch.tensor(smollm2.tokenizer.encode(text)[:160])
    exact = logits_of(smollm2.runner.model, ids).log_softmax(-1)
    checkpoint = open_checkpoint(smollm2_path)
    in_full = Llama(checkpoint.config, checkpoint.weights, Place(torch.device("cpu"), torch.float32, codes=True))
    for model, chunks in ((smollm2_codes, ()), (smollm2_codes, (4,) * 39), (in_full, (4,) * 39)):
        found = logits_of(model, ids, *chunks).log_softmax(-1)
        divergence = (exact.exp() * (exact - found)).sum(-1).mean()
        assert 0 < divergence < 1e-2


def test_a_step_reads_one_form_of_each_matrix(smollm2_codes: Llama) -> None:
    """Of the 364 MB in memory a step of few tokens reads the codes, and a chunk of a prompt neither codes nor head."""
    layers, head, row = 106_168_320, 28_311_552, 576 * 2  # weights, weights, bytes of the embedding
    codes, scales = layers // 2, layers // 32 * 4
    for tokens in (1, 8):
        few = codes + scales + head + 49_152 * 2 + tokens * row
        assert smollm2_codes.read_bytes(tokens=tokens, scored=tokens) == few
    assert smollm2_codes.read_bytes(tokens=512, scored=0) == 2 * layers + 512 * row
    assert smollm2_codes.read_bytes(tokens=512, scored=1) == 2 * layers + head + 49_152 * 2 + 512 * row


def test_greedy_tokens_agree_with_transformers(smollm2: Engine, hf_smollm2: Any) -> None:
    """Token for token."""
    prompt = smollm2.encode(QUESTION)
    events = smollm2.generate(Request(id="r", prompt=prompt, sampling=Sampling(max_tokens=24)))
    ours = [event.token for event in events if isinstance(event, TokenEvent)]
    with torch.inference_mode():
        theirs = hf_smollm2.model.generate(
            torch.tensor(prompt)[None], max_new_tokens=24, do_sample=False, eos_token_id=2, pad_token_id=2
        )
    assert ours == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize(("schema", "temperature"), [(Review, 0.0), (Review, 1.0), (Plan, 0.5)])
def test_constrained_replies_fit_their_schema(smollm2: Engine, schema: type[Message], temperature: float) -> None:
    """What comes validates, whatever the sampling."""
    prompt = smollm2.encode([turn(Role.USER, f"Give a {schema.__name__} as JSON.")])
    sampling = Sampling(max_tokens=100, temperature=temperature, seed=1)
    request = Request(id="r", prompt=prompt, sampling=sampling, json_schema=schema.model_json_schema())
    text, finish = collect(smollm2, request)
    assert finish.reason is FinishReason.STOP
    schema.model_validate_json(text)
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


def test_a_constrained_reply_may_run_out_of_tokens(smollm2: Engine) -> None:
    """Then it ends with LENGTH, and what came begins a fitting reply."""
    prompt = smollm2.encode(QUESTION)
    request = Request(id="r", prompt=prompt, sampling=Sampling(max_tokens=4), json_schema=Review.model_json_schema())
    text, finish = collect(smollm2, request)
    assert finish.reason is FinishReason.LENGTH
    assert '{"accepted":true'.startswith(text[:10])


def collect(engine: Engine, request: Request) -> tuple[str, Any]:
    """Text and end of a reply."""
    text = ""
    for event in engine.generate(request):
        if isinstance(event, FinishEvent):
            return text, event.finish
        if isinstance(event, TokenEvent):
            text += event.text
    raise AssertionError("no end")
