"""Requests on the tiny checkpoint: how replies begin, end and are cut short."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.runtime.engine.engine import CHUNK_TOKENS, Engine
from antiphon.runtime.engine.request import Request, TokenEvent
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import ConfigurationError, ContextTooLong, InvalidRequest, ModelFileError
from antiphon.schemas.inference import Finish, FinishReason, Role, Sampling, turn

PROMPT = tuple(range(5, 25))
LONG = tuple(5 + at % 250 for at in range(600))


@dataclass
class TickingClock:
    """Every look at it costs a millisecond."""

    now_ms: int = 0

    def unix_ns(self) -> int:
        """Milliseconds since the epoch, in nanoseconds."""
        self.now_ms += 1
        return self.now_ms * 1_000_000

    def monotonic_s(self) -> float:
        """The same, in seconds."""
        self.now_ms += 1
        return self.now_ms / 1000


def run(engine: Engine, request: Request, cancelled: threading.Event | None = None) -> tuple[list[TokenEvent], Finish]:
    """All tokens of the reply and its end."""
    *tokens, finish = engine.generate(request, cancelled)
    assert isinstance(finish, Finish)
    return [token for token in tokens if isinstance(token, TokenEvent)], finish


def ids(engine: Engine, prompt: tuple[int, ...] = PROMPT, **sampling: Any) -> list[int]:
    """The reply's token ids."""
    return [token.token for token in run(engine, Request(prompt=prompt, sampling=Sampling(**sampling)))[0]]


def endless(engine: Engine) -> Engine:
    """An engine whose model never says that it is done: random weights say so by chance."""
    engine.tokenizer.stop_ids = frozenset()
    return engine


def test_max_tokens_ends_the_reply(tiny: Engine) -> None:
    """With LENGTH, and usage and timing to the token."""
    tokens, finish = run(tiny, Request(prompt=PROMPT, sampling=Sampling(max_tokens=7)))
    assert len(tokens) == 7
    assert finish.reason is FinishReason.LENGTH
    assert (finish.usage.input_tokens, finish.usage.output_tokens, finish.usage.cached_tokens) == (20, 7, 0)
    assert finish.timing.prefill_s is not None
    assert finish.timing.decode_s is not None
    assert finish.timing.prefill_s > 0 < finish.timing.decode_s


def test_a_stop_token_ends_the_reply_and_is_not_shown(tiny: Engine) -> None:
    """Whatever the model says next becomes its stop token here."""
    said = ids(tiny, max_tokens=5)
    tiny.tokenizer.stop_ids = frozenset({said[2]})
    tokens, finish = run(tiny, Request(prompt=PROMPT))
    cut = said.index(said[2])
    assert [token.token for token in tokens] == said[: cut + 1]
    assert tokens[-1].text == ""
    assert finish.reason is FinishReason.STOP


def test_a_stop_string_cuts_across_tokens(tiny: Engine) -> None:
    """Neither it nor what follows is shown, though it came in two tokens."""
    text = "".join(token.text for token in run(tiny, Request(prompt=PROMPT, sampling=Sampling(max_tokens=30)))[0])
    at = next(at for at in range(4, len(text) - 1) if text.find(text[at : at + 2]) == at)
    stop = text[at : at + 2]
    tokens, finish = run(tiny, Request(prompt=PROMPT, sampling=Sampling(max_tokens=30, stop=(stop,))))
    assert "".join(token.text for token in tokens) == text[:at]
    assert finish.reason is FinishReason.STOP


def test_what_a_stop_string_held_back_is_shown_at_the_end(tiny: Engine) -> None:
    """The beginning of one that never came is text."""
    plain = "".join(token.text for token in run(tiny, Request(prompt=PROMPT, sampling=Sampling(max_tokens=12)))[0])
    sampling = Sampling(max_tokens=12, stop=(plain[-1] + "never comes",))
    assert "".join(token.text for token in run(tiny, Request(prompt=PROMPT, sampling=sampling))[0]) == plain


def test_a_full_context_ends_the_reply(tmp_path: Path) -> None:
    """Prompt and reply fill it to the last token; a prompt that leaves no room is refused with both numbers."""
    engine = endless(Engine.load(write_tiny_checkpoint(tmp_path, max_position_embeddings=64), dtype="float32"))
    tokens, finish = run(engine, Request(prompt=PROMPT, sampling=Sampling(max_tokens=500)))
    assert (len(tokens), finish.reason) == (44, FinishReason.LENGTH)
    with pytest.raises(ContextTooLong, match="prompt of 64 tokens, expected fewer than this model's 64") as caught:
        run(engine, Request(prompt=LONG[:64]))
    assert caught.value.details == {"prompt_tokens": "64", "context_tokens": "64"}
    with pytest.raises(InvalidRequest, match="empty prompt"):
        run(engine, Request(prompt=()))


def test_cancelling_stops_before_the_next_token(tiny: Engine) -> None:
    """The flag is seen at once, and the end says what was used."""
    cancelled = threading.Event()
    events = tiny.generate(Request(prompt=PROMPT, sampling=Sampling(max_tokens=100)), cancelled)
    for _ in range(3):
        assert isinstance(next(events), TokenEvent)
    cancelled.set()
    (finish,) = events
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.usage.output_tokens) == (FinishReason.CANCELLED, 3)


def test_cancelling_stops_inside_a_long_prompt(tiny: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefill looks at the flag before each chunk."""
    cancelled = threading.Event()
    forward = tiny.model.forward
    chunks = []

    def cancelling(part: torch.Tensor, cache: Any) -> torch.Tensor:
        chunks.append(len(part))
        cancelled.set()
        return forward(part, cache)

    monkeypatch.setattr(tiny.model, "forward", cancelling)
    tokens, finish = run(tiny, Request(prompt=LONG), cancelled)
    assert (tokens, chunks, finish.reason) == ([], [CHUNK_TOKENS], FinishReason.CANCELLED)
    assert finish.usage.input_tokens == 600


def test_a_deadline_cancels(tiny_path: Path) -> None:
    """Before the first token if it has passed already, else between tokens."""
    clock = TickingClock()
    engine = endless(Engine.load(tiny_path, dtype="float32", clock=clock))
    past = run(engine, Request(prompt=PROMPT, deadline_unix_ms=0))
    assert (past[0], past[1].reason) == ([], FinishReason.CANCELLED)
    request = Request(prompt=PROMPT, sampling=Sampling(max_tokens=500), deadline_unix_ms=clock.now_ms + 20)
    tokens, finish = run(engine, request)
    assert 5 < len(tokens) < 20
    assert finish.reason is FinishReason.CANCELLED


def test_a_shared_prefix_is_reused_bit_for_bit(tiny_path: Path) -> None:
    """Whole chunks the last prompt had in common are not computed again, and the scores are the same to the bit."""
    warm, cold = Engine.load(tiny_path, dtype="bfloat16"), Engine.load(tiny_path, dtype="bfloat16")
    run(warm, Request(prompt=LONG, sampling=Sampling(max_tokens=40)))
    other = (*LONG[:580], 7, 8, 9)
    request = Request(prompt=other, sampling=Sampling(max_tokens=40, temperature=1.5, seed=3))
    tokens, finish = run(warm, request)
    expected, fresh = run(cold, request)
    assert tokens == expected
    assert (finish.usage.cached_tokens, fresh.usage.cached_tokens) == (512, 0)
    assert finish.prompt_blocks == fresh.prompt_blocks
    assert len(finish.prompt_blocks) == 2


@pytest.mark.parametrize(("length", "cached"), [(256, 0), (257, 256), (512, 256), (300, 256)])
def test_the_whole_prompt_again_still_computes_its_end(tiny: Engine, length: int, cached: int) -> None:
    """At least the last token is computed, since its scores are needed; an unlike prompt reuses nothing."""
    first = ids(tiny, LONG[:length], max_tokens=5)
    tokens, finish = run(tiny, Request(prompt=LONG[:length], sampling=Sampling(max_tokens=5)))
    assert [token.token for token in tokens] == first
    assert finish.usage.cached_tokens == cached
    assert run(tiny, Request(prompt=LONG[1:300], sampling=Sampling(max_tokens=1)))[1].usage.cached_tokens == 0


def test_an_abandoned_reply_leaves_no_trace(tiny: Engine) -> None:
    """A reader who goes away in the middle, and two replies read in turns, do not disturb one another."""
    alone = ids(tiny, LONG, max_tokens=6)
    abandoned = tiny.generate(Request(prompt=LONG))
    next(abandoned)
    other = tiny.generate(Request(prompt=LONG, sampling=Sampling(max_tokens=6)))
    next(abandoned)
    first = [event.token for event in (next(other), next(other)) if isinstance(event, TokenEvent)]
    abandoned.close()  # type: ignore[attr-defined]  # a generator, though the type says iterator
    rest = [event.token for event in other if isinstance(event, TokenEvent)]
    assert first + rest == alone == ids(tiny, LONG, max_tokens=6)


def test_a_seed_repeats_the_reply(tiny: Engine) -> None:
    """The same request, the same tokens."""
    drawn = [ids(tiny, temperature=1.0, seed=seed, max_tokens=20) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_schema_that_cannot_be_compiled_fails_its_request_alone(tiny: Engine) -> None:
    """The engine answers the next one."""
    with pytest.raises(InvalidRequest, match="output schema"):
        run(tiny, Request(prompt=PROMPT, json_schema={"type": "nonsense"}))
    assert len(ids(tiny, max_tokens=2)) == 2


def test_encode_needs_a_chat_template(tmp_path: Path) -> None:
    """A base model cannot hold a conversation, and says so."""
    folder = write_tiny_checkpoint(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelFileError, match="no chat template"):
        Engine.load(folder).encode([turn(Role.USER, "hi")])


def test_wrong_settings_are_refused(tiny_path: Path) -> None:
    """The message lists what is accepted."""
    with pytest.raises(ConfigurationError, match="found dtype 'int3', expected auto, float32"):
        Engine.load(tiny_path, dtype="int3")
    with pytest.raises(ConfigurationError, match="found 0 threads"):
        Engine.load(tiny_path, threads=0)


def test_auto_dtype_follows_the_processor(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where it is native, float32 where it would be emulated."""
    for facts, expected in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda facts=facts: facts)
        assert Engine.load(tiny_path).model.dtype is expected
