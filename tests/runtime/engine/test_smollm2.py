"""The real model, against transformers on the same file."""

import json
from typing import Any

import pytest
import torch
from pydantic import Field

from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.request import Request, TokenEvent
from antiphon.schemas.inference import Finish, FinishReason, Role, Sampling, turn
from antiphon.schemas.message import Message

QUESTION = [turn(Role.USER, "Why is the sky blue? Answer in one sentence.")]


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


def test_logits_agree_with_transformers(smollm2: Engine, hf_smollm2: Any) -> None:
    """Within 1e-3 at every position of a prompt computed in two chunks (float32; 3e-5 was seen at best)."""
    ids = torch.tensor(smollm2.encode(QUESTION))
    cache = smollm2.model.new_cache()
    ours = torch.cat([smollm2.model.logits(smollm2.model.forward(part, cache)) for part in (ids[:30], ids[30:])])
    with torch.inference_mode():
        theirs = hf_smollm2.model(ids[None]).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_greedy_tokens_agree_with_transformers(smollm2: Engine, hf_smollm2: Any) -> None:
    """Token for token."""
    prompt = smollm2.encode(QUESTION)
    events = smollm2.generate(Request(prompt=prompt, sampling=Sampling(max_tokens=24)))
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
    request = Request(prompt=prompt, sampling=sampling, json_schema=schema.model_json_schema())
    text, finish = collect(smollm2, request)
    assert finish.reason is FinishReason.STOP
    schema.model_validate_json(text)
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


def test_a_constrained_reply_may_run_out_of_tokens(smollm2: Engine) -> None:
    """Then it ends with LENGTH, and what came begins a fitting reply."""
    prompt = smollm2.encode(QUESTION)
    request = Request(prompt=prompt, sampling=Sampling(max_tokens=4), json_schema=Review.model_json_schema())
    text, finish = collect(smollm2, request)
    assert finish.reason is FinishReason.LENGTH
    assert '{"accepted":true'.startswith(text[:10])


def collect(engine: Engine, request: Request) -> tuple[str, Any]:
    """Text and end of a reply."""
    text = ""
    for event in engine.generate(request):
        if isinstance(event, Finish):
            return text, event
        text += event.text
    raise AssertionError("no Finish")
