"""Requests on the tiny checkpoint: how replies begin, share steps and pages, and end."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig, TenantPolicy
from antiphon.runtime.engine.plan import Row, StepPlan
from antiphon.runtime.engine.request import Event, FailureEvent, FinishEvent, Request, TokenEvent
from antiphon.runtime.engine.testing import write_tiny_checkpoint
from antiphon.runtime.errors import (
    AntiphonError,
    ConfigurationError,
    ContextTooLong,
    InvalidRequest,
    ModelFileError,
    ModelUnavailable,
    NotEnoughMemory,
)
from antiphon.schemas.inference import Finish, FinishReason, Role, Sampling, turn

PROMPT = tuple(range(5, 25))
LONG = tuple(5 + at % 250 for at in range(600))
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


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


@dataclass
class Reader:
    """Collects the events of one request."""

    events: list[Event] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, FinishEvent | FailureEvent):
            assert not self.over.is_set(), "a request ended twice"
            self.over.set()

    @property
    def ids(self) -> list[int]:
        """The tokens so far."""
        return [event.token for event in self.events if isinstance(event, TokenEvent)]

    @property
    def end(self) -> Finish | Exception:
        """How it ended, once it has."""
        assert self.over.wait(120), "the request did not end"
        last = self.events[-1]
        assert isinstance(last, FinishEvent | FailureEvent)
        return last.finish if isinstance(last, FinishEvent) else last.error


class Steps:
    """Sees every step of an engine before it is computed."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans: list[StepPlan] = []
        self.before: Callable[[int], None] = lambda step: None
        real = engine.runner.run

        def run(plan: StepPlan, sample_row: Callable[[Row], Any]) -> Any:
            self.plans.append(plan)
            self.before(len(self.plans))
            return real(plan, sample_row)

        monkeypatch.setattr(engine.runner, "run", run)


@contextmanager
def engine_of(path: Path, **config: Any) -> Iterator[Engine]:
    """An engine in float32, or as ``config`` says."""
    engine = Engine.load(path, EngineConfig(**{"dtype": "float32", **config}))
    try:
        yield engine
    finally:
        engine.close()


def request(id: str = "r", prompt: tuple[int, ...] = PROMPT, **fields: Any) -> Request:
    """One request; ``max_tokens`` and the like go to the sampling."""
    sampling = {name: fields.pop(name) for name in list(fields) if name in Sampling.model_fields}
    return Request(id=id, prompt=prompt, sampling=Sampling(**{"max_tokens": 8, **sampling}), **fields)


def run(engine: Engine, asked: Request) -> tuple[list[TokenEvent], Finish]:
    """All tokens of the reply and its end."""
    *tokens, end = engine.generate(asked)
    assert isinstance(end, FinishEvent)
    return [token for token in tokens if isinstance(token, TokenEvent)], end.finish


def ids(engine: Engine, prompt: tuple[int, ...] = PROMPT, **fields: Any) -> list[int]:
    """The reply's token ids."""
    return [token.token for token in run(engine, request(prompt=prompt, **fields))[0]]


def submit(engine: Engine, *asked: Request) -> list[Reader]:
    """Submit all; their readers."""
    readers = []
    for each in asked:
        reader = Reader()
        engine.submit(each, reader)
        readers.append(reader)
    return readers


def endless(engine: Engine) -> Engine:
    """An engine whose model never says that it is done: random weights say so by chance."""
    engine.tokenizer.stop_ids = frozenset()
    return engine


def nothing_held(engine: Engine) -> None:
    """No request is under way and no page is referred to."""
    metrics = engine.metrics()
    assert (engine.active, metrics.waiting, metrics.running, metrics.pages_used) == (0, 0, 0, 0)


def test_max_tokens_ends_the_reply(tiny: Engine) -> None:
    """With LENGTH, and usage and timing to the token."""
    tokens, finish = run(tiny, request(max_tokens=7))
    assert len(tokens) == 7
    assert finish.reason is FinishReason.LENGTH
    assert (finish.usage.input_tokens, finish.usage.output_tokens, finish.usage.cached_tokens) == (20, 7, 0)
    timing = finish.timing
    assert timing.queue_s is not None and timing.prefill_s is not None and timing.decode_s is not None
    assert timing.queue_s >= 0 < timing.prefill_s
    assert timing.decode_s > 0


def test_a_stop_token_ends_the_reply_and_is_not_shown(tiny: Engine) -> None:
    """Whatever the model says next becomes its stop token here."""
    said = ids(tiny, max_tokens=5)
    tiny.tokenizer.stop_ids = frozenset({said[2]})
    tokens, finish = run(tiny, request(max_tokens=100))
    cut = said.index(said[2])
    assert [token.token for token in tokens] == said[: cut + 1]
    assert tokens[-1].text == ""
    assert finish.reason is FinishReason.STOP


def test_a_stop_string_cuts_across_tokens(tiny: Engine) -> None:
    """Neither it nor what follows is shown, though it came in two tokens."""
    text = "".join(token.text for token in run(tiny, request(max_tokens=30))[0])
    at = next(at for at in range(4, len(text) - 1) if text.find(text[at : at + 2]) == at)
    tokens, finish = run(tiny, request(max_tokens=30, stop=(text[at : at + 2],)))
    assert "".join(token.text for token in tokens) == text[:at]
    assert finish.reason is FinishReason.STOP


def test_what_a_stop_string_held_back_is_shown_at_the_end(tiny: Engine) -> None:
    """The beginning of one that never came is text."""
    plain = "".join(token.text for token in run(tiny, request(max_tokens=12))[0])
    held = request(max_tokens=12, stop=(plain[-1] + "never comes",))
    assert "".join(token.text for token in run(tiny, held)[0]) == plain


def test_a_full_context_ends_the_reply(tmp_path: Path) -> None:
    """Prompt and reply fill it to the last token; a prompt that leaves no room is refused with both numbers."""
    with engine_of(write_tiny_checkpoint(tmp_path, max_position_embeddings=64)) as engine:
        tokens, finish = run(endless(engine), request(max_tokens=500))
        assert (len(tokens), finish.reason) == (44, FinishReason.LENGTH)
        with pytest.raises(ContextTooLong, match="prompt of 64 tokens, expected fewer than this model's 64") as caught:
            run(engine, request(prompt=LONG[:64]))
        assert caught.value.details == {"prompt_tokens": "64", "context_tokens": "64"}


def test_bad_requests_are_refused_at_the_edge(tiny: Engine) -> None:
    """An empty prompt, ids that no vocabulary has, and an id that is taken."""
    with pytest.raises(InvalidRequest, match="empty prompt"):
        run(tiny, request(prompt=()))
    for wrong in (-1, 10_000):
        with pytest.raises(InvalidRequest, match=f"{wrong}"):
            run(tiny, request(prompt=(5, wrong)))
    (reader,) = submit(endless(tiny), request("same", max_tokens=900))
    with pytest.raises(InvalidRequest, match="'same' twice"):
        submit(tiny, request("same"))
    tiny.abort("same")
    assert isinstance(reader.end, Finish)


def test_a_request_larger_than_the_pool_is_refused_with_the_numbers(tiny_path: Path) -> None:
    """It could never run; a smaller one does."""
    with engine_of(tiny_path, cache_tokens=128) as engine:
        with pytest.raises(AntiphonError, match="128"):
            run(engine, request(prompt=LONG))
        assert len(ids(endless(engine), max_tokens=4)) == 4
        nothing_held(engine)


def test_a_default_number_of_tokens_is_lowered_to_the_pool(tiny_path: Path) -> None:
    """Nobody asked for so many: the reply ends where the pool does."""
    with engine_of(tiny_path, cache_tokens=128) as engine:
        with pytest.raises(ContextTooLong, match="lower max_tokens"):
            run(engine, request(max_tokens=4096))
        tokens, finish = run(endless(engine), request(max_tokens=4096, clip=True))
        assert (len(PROMPT) + len(tokens), finish.reason) == (128, FinishReason.LENGTH)


def test_company_changes_no_reply(tiny_path: Path) -> None:
    """Twelve requests at once, in a pool so small that some are put back, say what each says alone."""
    asked = [
        request(f"r{at}", prompt=tuple(5 + (at * 7 + step) % 250 for step in range(10 + 23 * at)), max_tokens=40)
        for at in range(12)
    ]
    with engine_of(tiny_path) as engine:
        alone = [ids(endless(engine), each.prompt, max_tokens=40) for each in asked]
    with engine_of(tiny_path, cache_tokens=640, max_rows=8) as engine:
        readers = submit(endless(engine), *asked)
        assert all(isinstance(reader.end, Finish) for reader in readers)
        assert [reader.ids for reader in readers] == alone
        assert engine.metrics().preemptions > 0
        nothing_held(engine)


def test_prompts_and_tokens_share_steps(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long prompt is computed in pieces while another request goes on, in the same steps; with ``prefill`` "first",
    the other waits."""
    mixed = {}
    for prefill in ("mixed", "first"):
        with engine_of(tiny_path, prefill=prefill) as engine:
            steps = Steps(endless(engine), monkeypatch)
            early = engine.generate(request("early", max_tokens=60))
            next(early)
            readers = submit(engine, request("late", prompt=LONG))
            assert isinstance(list(early)[-1], FinishEvent)
            assert all(isinstance(reader.end, Finish) for reader in readers)
            mixed[prefill] = sum(len({row.count == 1 for row in plan.rows}) == 2 for plan in steps.plans)
    assert mixed["mixed"] > 0
    assert mixed["first"] == 0


def test_a_shared_prefix_is_computed_once(tiny_path: Path) -> None:
    """Pages that an earlier prompt filled are not computed again, and the reply is the same."""
    with engine_of(tiny_path) as warm, engine_of(tiny_path, prefix_cache=False) as cold:
        run(warm, request(prompt=LONG))
        other = (*LONG[:580], 7, 8, 9)
        tokens, finish = run(warm, request(prompt=other, max_tokens=40, temperature=1.5, seed=3))
        expected, fresh = run(cold, request(prompt=other, max_tokens=40, temperature=1.5, seed=3))
        assert tokens == expected
        assert (finish.usage.cached_tokens, fresh.usage.cached_tokens) == (576, 0)
        assert finish.pages is not None and finish.pages.hits == 576 // PAGE_TOKENS
        assert 0 < finish.pages.used <= finish.pages.total
        assert finish.prompt_blocks == fresh.prompt_blocks
        assert len(finish.prompt_blocks) == 2


@pytest.mark.parametrize("length", [63, 64, 65, 128, 200])
def test_the_whole_prompt_again_still_computes_its_end(tiny: Engine, length: int) -> None:
    """Its last token's scores are needed; the page that it lies in is copied before it is written to."""
    first = ids(tiny, LONG[:length], max_tokens=5)
    tokens, finish = run(tiny, request(prompt=LONG[:length], max_tokens=5))
    assert [token.token for token in tokens] == first
    assert finish.usage.cached_tokens is not None
    assert length - 64 <= finish.usage.cached_tokens < length
    assert ids(tiny, LONG[:length], max_tokens=5) == first


def test_many_choices_share_the_prompts_pages(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight requests with one prompt compute it once, and draw different replies from their seeds."""
    with engine_of(tiny_path) as engine:
        steps = Steps(endless(engine), monkeypatch)
        prompt = LONG[:500]
        readers = submit(
            engine, *(request(f"n{at}", prompt=prompt, temperature=2.0, seed=at, max_tokens=10) for at in range(8))
        )
        assert all(isinstance(reader.end, Finish) for reader in readers)
        computed = sum(row.count for plan in steps.plans for row in plan.rows if row.start < len(prompt))
        assert computed <= len(prompt) + 8 * 64
        assert len({tuple(reader.ids) for reader in readers}) == 8
        again = run(engine, request("again", prompt=prompt, temperature=2.0, seed=3, max_tokens=10))[0]
        assert [token.token for token in again] == readers[3].ids


def test_tenants_do_not_find_each_others_prompts(tiny_path: Path) -> None:
    """How fast an answer comes must not tell what another tenant asked; those who agree to share do."""
    shared = {name: TenantPolicy(shared_prompts=True) for name in ("c", "d")}
    with engine_of(tiny_path, tenants=shared) as engine:
        cached = [
            run(engine, request(prompt=LONG, tenant=tenant))[1].usage.cached_tokens for tenant in ("a", "b", "c", "d")
        ]
    assert cached[:3] == [0, 0, 0]
    assert cached[3] and cached[3] > 500


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_aborting_at_any_step_frees_everything(tiny_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Inside the prompt, at the first token and later; the other request does not notice."""
    with engine_of(tiny_path) as engine:
        alone = ids(endless(engine), max_tokens=30)
        steps = Steps(engine, monkeypatch)
        steps.before = lambda at: engine.abort("given up") if at == step else None
        given_up, other = submit(engine, request("given up", prompt=LONG, max_tokens=300), request(max_tokens=30))
        end = given_up.end
        assert isinstance(end, Finish)
        assert end.reason is FinishReason.CANCELLED
        assert end.usage.output_tokens == len(given_up.ids) <= step
        assert isinstance(other.end, Finish)
        assert other.ids == alone
        nothing_held(engine)


def test_closing_the_iterator_aborts(tiny: Engine) -> None:
    """A reader who goes away in the middle leaves nothing behind."""
    reply = endless(tiny).generate(request(max_tokens=900))
    next(reply)
    reply.close()  # type: ignore[attr-defined]  # a generator, though the type says iterator
    assert len(run(tiny, request("next", max_tokens=5))[0]) == 5
    nothing_held(tiny)


def test_a_deadline_cancels(tiny_path: Path) -> None:
    """Before the first token if it has passed already, else between tokens."""
    clock = TickingClock()
    engine = endless(Engine.load(tiny_path, EngineConfig(dtype="float32"), clock=clock))
    past = run(engine, request(deadline_unix_ms=0))
    assert (past[0], past[1].reason, past[1].usage.input_tokens) == ([], FinishReason.CANCELLED, 0)
    tokens, finish = run(engine, request(max_tokens=900, deadline_unix_ms=clock.now_ms + 100))
    assert 3 < len(tokens) < 100
    assert finish.reason is FinishReason.CANCELLED
    engine.close()


def test_a_seed_repeats_the_reply(tiny: Engine) -> None:
    """The same request, the same tokens; without a seed, others."""
    drawn = [ids(tiny, temperature=1.0, seed=seed, max_tokens=20) for seed in (1, 1, 2, None)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[3] != drawn[0]


def test_drafts_change_no_token(tiny_path: Path) -> None:
    """Greedy and sampled, with and without speculation; an agent's replies that repeat themselves are drafted."""
    prompts = [LONG[:30], LONG[10:90], LONG[:30]]
    replies = {}
    for speculate in (False, True):
        with engine_of(tiny_path, speculate=speculate) as engine:
            endless(engine)
            replies[speculate] = [
                ids(engine, prompt, max_tokens=120, agent="writer", temperature=temperature, seed=5)
                for prompt in prompts
                for temperature in (0.0, 0.7)
            ]
    assert replies[True] == replies[False]


def test_logprobs_are_those_of_the_chosen_token(tiny: Engine) -> None:
    """Greedy chooses the likeliest, so its log-probability heads the alternatives."""
    tokens, _ = run(tiny, request(max_tokens=5, logprobs=3))
    for token in tokens:
        assert token.logprob is not None
        assert token.logprob.top[0] == (token.token, token.logprob.logprob)
        assert len(token.logprob.top) == 3
        assert token.logprob.logprob < 0


def test_a_schema_constrains_whatever_the_sampling(tiny: Engine) -> None:
    """Even random weights answer in JSON that fits; in company too."""
    readers = submit(
        tiny,
        *(request(f"s{at}", json_schema=SCHEMA, temperature=float(at), seed=at, max_tokens=30) for at in range(4)),
        request("free", max_tokens=30),
    )
    for reader in readers[:4]:
        assert isinstance(reader.end, Finish)
        text = "".join(event.text for event in reader.events if isinstance(event, TokenEvent))
        assert text in ('{"ok":true}', '{"ok":false}')


def test_a_schema_that_cannot_be_compiled_fails_its_request_alone(tiny: Engine) -> None:
    """The request beside it is answered."""
    bad, good = submit(tiny, request("bad", json_schema={"type": "nonsense"}), request("good", max_tokens=2))
    assert isinstance(bad.end, InvalidRequest)
    assert isinstance(good.end, Finish)
    nothing_held(tiny)


def test_a_step_that_fails_fails_its_requests_alone(tiny: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ModelUnavailable with its cause; the engine answers the next one."""
    steps = Steps(tiny, monkeypatch)

    def break_once(step: int) -> None:
        if step == 2:
            raise MemoryError("no room")

    steps.before = break_once
    (reader,) = submit(endless(tiny), request())
    error = reader.end
    assert isinstance(error, ModelUnavailable)
    assert "MemoryError: no room" in str(error)
    assert len(ids(tiny, max_tokens=3)) == 3
    nothing_held(tiny)


@pytest.mark.parametrize("at", (TokenEvent, FinishEvent, FailureEvent))
def test_a_reader_that_fails_takes_nobody_along(tiny: Engine, at: type[object]) -> None:
    """Its request is given up, whatever it was told; the others and later ones get their replies."""

    def broken(event: Event) -> None:
        if isinstance(event, at):
            raise RuntimeError("the reader is broken")

    (other,) = submit(endless(tiny), request("other", max_tokens=20))
    schema = {"type": "nonsense"} if at is FailureEvent else None
    tiny.submit(request("broken", max_tokens=4, json_schema=schema), broken)
    assert isinstance(other.end, Finish) and len(other.ids) == 20
    assert len(ids(tiny, max_tokens=3)) == 3
    nothing_held(tiny)


def test_the_wait_for_the_step_under_way_counts_as_queue(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as the time that the prompt took."""
    clock = TickingClock()
    engine = endless(Engine.load(tiny_path, EngineConfig(dtype="float32"), clock=clock))
    steps, late = Steps(engine, monkeypatch), Reader()

    def arrive(step: int) -> None:
        if step == 2:
            engine.submit(request("late"), late)
            clock.now_ms += 5000

    steps.before = arrive
    run(engine, request("first"))
    assert isinstance(late.end, Finish)
    timing = late.end.timing
    assert timing.queue_s is not None and timing.prefill_s is not None
    assert 5 < timing.queue_s < 6 and timing.prefill_s < 1
    engine.close()


def test_a_full_engine_refuses(tiny_path: Path) -> None:
    """With when to come again; who is in, stays in."""
    with engine_of(tiny_path, max_rows=1, max_waiting=2) as engine:
        running = endless(engine).generate(request("r0", max_tokens=900))
        next(running)
        readers = submit(engine, *(request(f"r{at}", max_tokens=900) for at in (1, 2)))
        with pytest.raises(ModelUnavailable, match="3 requests under way") as caught:
            submit(engine, request("more"))
        assert caught.value.retryable and "retry_after_s" in caught.value.details
        for at in range(3):
            engine.abort(f"r{at}")
        assert all(isinstance(reader.end, Finish) for reader in readers)
        assert isinstance(list(running)[-1], FinishEvent)


def test_closing_fails_what_is_under_way(tiny_path: Path) -> None:
    """Running, waiting and later requests hear ModelUnavailable; closing twice is fine."""
    with engine_of(tiny_path, max_rows=1) as engine:
        readers = submit(endless(engine), request("a", max_tokens=900), request("b", max_tokens=900))
        engine.close()
        assert all(isinstance(reader.end, ModelUnavailable) for reader in readers)
        with pytest.raises(ModelUnavailable, match="closed"):
            submit(engine, request("c"))
        engine.close()


def test_a_device_without_room_is_said(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as a failure to try again after: the model is too large for it."""

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr("antiphon.runtime.engine.loading.Runner", full)
    with pytest.raises(NotEnoughMemory, match=r"20 GiB.*lower cache_tokens") as caught:
        Engine.load(tiny_path)
    assert not caught.value.retryable


def test_batch_invariant_repeats_to_the_bit(tiny_path: Path) -> None:
    """In bfloat16: alone, in company and after a prefix hit, the same tokens and log-probabilities."""
    prompt = LONG[:450]

    def said(engine: Engine, id: str) -> list[Any]:
        tokens, _ = run(engine, request(id, prompt, max_tokens=12, logprobs=2))
        return [(token.token, token.logprob) for token in tokens]

    config = {"dtype": "bfloat16", "batch_invariant": True}
    with engine_of(tiny_path, **config) as engine:
        alone = said(endless(engine), "alone")
        assert said(engine, "hit") == alone
    with engine_of(tiny_path, **config, max_rows=16) as engine:
        submit(endless(engine), *(request(f"c{at}", prompt=LONG[at : at + 200 + at], max_tokens=80) for at in range(9)))
        assert said(engine, "in company") == alone


def test_a_soak_of_mixed_requests_leaves_nothing(tiny_path: Path) -> None:
    """Long and short, aborted, constrained, broken, of several runs, tenants and priorities, in a small pool."""
    rng = random.Random(5)
    with engine_of(tiny_path, cache_tokens=1280, max_rows=12) as engine:
        readers: list[Reader] = []
        for at in range(300):
            start, length = rng.randrange(4), rng.choice((1, 30, 64, 65, 200, 500))
            schema = rng.choice((None, None, None, SCHEMA, {"type": "nonsense"}))
            readers += submit(
                engine,
                request(
                    f"r{at}",
                    prompt=LONG[start : start + length],
                    max_tokens=rng.choice((1, 5, 40)),
                    json_schema=schema,
                    temperature=rng.choice((0.0, 1.0)),
                    run=rng.choice((None, "x", "y")),
                    agent=rng.choice((None, "p", "q")),
                    tenant=rng.choice(("", "a")),
                    priority=rng.choice((-1, 0, 3)),
                ),
            )
            if rng.random() < 0.2:
                engine.abort(f"r{rng.randrange(at + 1)}")
        ends = [reader.end for reader in readers]
        assert all(isinstance(end, Finish | InvalidRequest) for end in ends)
        nothing_held(engine)


def test_encode_needs_a_chat_template(tmp_path: Path) -> None:
    """A base model cannot hold a conversation, and says so."""
    folder = write_tiny_checkpoint(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    with engine_of(folder) as engine, pytest.raises(ModelFileError, match="no chat template"):
        engine.encode([turn(Role.USER, "hi")])


def test_wrong_settings_are_refused(tiny_path: Path) -> None:
    """The message lists what is accepted."""
    with pytest.raises(ConfigurationError, match="found dtype 'int3', expected auto, float32"):
        Engine.load(tiny_path, EngineConfig(dtype="int3"))
    with pytest.raises(ConfigurationError, match="found threads = 0, expected 1 or more"):
        EngineConfig(threads=0)


def test_auto_dtype_follows_the_processor(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where it is native, float32 where it would be emulated."""
    for facts, expected in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda facts=facts: facts)
        with engine_of(tiny_path, dtype="auto") as engine:
            assert engine.runner.model.place.dtype is expected
