"""Schemas as token masks."""

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from llguidance import LLMatcher
from numpy.typing import NDArray

from antiphon.runtime.engine import grammar as grammar_module
from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.grammar import Grammar, GrammarCompiler
from antiphon.runtime.engine.random_schemas import random_schema
from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import InvalidRequest

VOCABULARY = 263
OBJECT = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tiny_path: Path) -> Tokenizer:
    """The tiny checkpoint's."""
    return open_checkpoint(tiny_path).tokenizer


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> Iterator[GrammarCompiler]:
    """For the tiny vocabulary."""
    made = GrammarCompiler(tokenizer, VOCABULARY)
    yield made
    made.close()


def compiled(compiler: GrammarCompiler, schema: Any) -> Grammar:
    """At its beginning."""
    return compiler.compile(schema).result(timeout=300)


def bits(masks: NDArray[np.int32]) -> NDArray[np.bool_]:
    """[positions, vocabulary]."""
    return np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")[:, :VOCABULARY].astype(np.bool_)


def test_a_fitting_reply_is_walked_to_its_end(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """Each token of it is allowed, the last one completes it, and then only the end may come."""
    grammar = compiled(compiler, OBJECT)
    done = []
    for token in tokenizer.encode('{"ok":true}'):
        masks = grammar.masks()
        assert masks.shape == (1, 9)
        assert bits(masks)[0, token]
        grammar.consume((token,))
        done.append(grammar.complete)
    assert done == [False] * (len(done) - 1) + [True]
    assert set(np.flatnonzero(bits(grammar.masks())[0])) == tokenizer.stop_ids


def test_whitespace_and_the_end_are_not_allowed_early(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """Small models love endless whitespace, and must not stop before the schema is complete."""
    allowed = bits(compiled(compiler, OBJECT).masks())[0]
    assert not any(allowed[token] for text in (" ", "\n") for token in tokenizer.encode(text))
    assert not any(allowed[token] for token in tokenizer.control.values())


def test_drafts_are_masked_where_they_stand_and_leave_no_trace(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """One mask for each position, as if the drafts before it had been said; then everything is as before."""
    grammar = compiled(compiler, OBJECT)
    tokens = tokenizer.encode('{"ok":false}')
    assert grammar.allowed(tokens) == len(tokens)
    assert grammar.allowed([*tokens[:4], tokens[0], *tokens[4:]]) == 4
    ahead = grammar.masks(tokens)
    assert not grammar.complete
    for at, token in enumerate(tokens):
        rest = tokens[at:]
        assert grammar.allowed(rest) == len(rest)
        assert np.array_equal(grammar.masks(rest), ahead[at:])
        grammar.consume((token,))
    assert grammar.complete


def test_drafts_stop_before_the_end_of_the_reply(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """A stop token drafted from an earlier reply is no place to come back from."""
    grammar = compiled(compiler, {"type": "integer"})
    drafts = [*tokenizer.encode("12"), *tokenizer.stop_ids]
    assert grammar.allowed(drafts) == 2
    grammar.masks(drafts[:2])
    assert grammar.allowed(drafts) == 2


def test_what_has_no_alternative_is_forced(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """In the tokenizer's own words; nothing where there is a choice."""
    grammar = compiled(compiler, OBJECT)
    forced = list(grammar.forced())
    assert tokenizer.encode('{"ok":')[: len(forced)] == forced
    assert len(forced) > 3
    assert grammar.allowed(forced) == len(forced)
    grammar.consume(tokenizer.encode('{"ok":'))
    assert grammar.forced() == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/nowhere"},
        {"type": "object", "properties": 3},
        {"type": "string", "pattern": "("},
        {"not": {"type": "string"}},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        "text",
        {"maximum": float("nan")},
        {"enum": [{1, 2}]},
    ],
)
def test_a_schema_that_cannot_be_compiled_is_the_callers_fault(compiler: GrammarCompiler, schema: Any) -> None:
    """It fails that request with the reason; the compiler goes on."""
    with pytest.raises(InvalidRequest, match="output schema: "):
        compiled(compiler, schema)
    assert not compiled(compiler, OBJECT).complete


def test_a_schema_nested_without_end_is_refused(compiler: GrammarCompiler) -> None:
    """Not a crash, however deep."""
    schema: dict[str, Any] = {}
    inner = schema
    for _ in range(5000):
        inner["items"] = inner = {"type": "array"}
    with pytest.raises(InvalidRequest, match="output schema: "):
        compiled(compiler, schema)


def test_copies_of_a_schema_do_not_share_their_place(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """Two requests with one schema, each at its own token."""
    first, second = compiled(compiler, OBJECT), compiled(compiler, dict(OBJECT))
    first.consume(tokenizer.encode('{"ok":true}'))
    assert first.complete
    assert not second.complete
    assert second.allowed(tokenizer.encode('{"ok":true}')) > 0


def test_a_limit_that_one_request_exceeds_is_forgotten(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails that request; the next with the same schema is compiled anew, not handed the broken one."""
    monkeypatch.setattr(grammar_module, "_MOST_STATES", 60)
    compiler = GrammarCompiler(tokenizer, VOCABULARY)
    schema = {"type": "string", "pattern": "^(a|b)*a(a|b){14}x*$"}
    quote, *letters = tokenizer.encode('"ab')
    choice = random.Random(0)
    for _ in range(2):
        grammar = compiled(compiler, schema)
        grammar.consume((quote,))
        with pytest.raises(InvalidRequest, match=r"cannot go on: .*too many states"):
            for _ in range(200):
                grammar.masks()
                grammar.consume((choice.choice(letters),))
    compiler.close()


def test_closing_does_not_wait_for_a_schema_that_takes_long(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being compiled ends by itself; what waits behind it is cancelled."""
    gate, begun = threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        begun.set()
        assert gate.wait(120)
        raise ValueError("given up")

    monkeypatch.setattr(LLMatcher, "grammar_from_json_schema", slow)
    made = GrammarCompiler(tokenizer, VOCABULARY)
    running, waiting = made.compile(OBJECT), made.compile(OBJECT)
    assert begun.wait(120)
    closing = threading.Thread(target=made.close)
    closing.start()
    closing.join(10)
    closed = not closing.is_alive()
    gate.set()
    assert closed and waiting.cancelled()
    assert isinstance(running.exception(30), InvalidRequest)


def test_the_oldest_schemas_make_room(tokenizer: Tokenizer) -> None:
    """A hundred schemas one after the other are all served though two are kept; closing refuses no result that is."""
    compiler = GrammarCompiler(tokenizer, VOCABULARY, keep=2)
    for number in range(100):
        grammar = compiled(compiler, {"const": number})
        assert grammar.allowed(tokenizer.encode(str(number))) == len(str(number))
    compiler.close()


def walk(grammar: Grammar, tokenizer: Tokenizer, rng: random.Random) -> bytes | None:
    """A reply of allowed tokens at random, drafts and all, more and more eager to end. None: not in 2,000 tokens."""
    text = b""
    tokens = 0
    while tokens < 2000:
        drafts: list[int] = []
        if rng.random() < 0.3:
            guessed = grammar.forced() or [rng.randrange(VOCABULARY) for _ in range(3)]
            drafts = list(guessed[: grammar.allowed(guessed)])
        accepted = rng.randint(0, len(drafts))
        masks = bits(grammar.masks(drafts))
        assert all(masks[at, draft] for at, draft in enumerate(drafts))
        allowed = np.flatnonzero(masks[accepted]).tolist()
        assert allowed
        if rng.random() < tokens / 100:
            closing = [token for token in allowed if tokenizer.token_bytes(token) in (b'"', b"}", b"]", b"")]
            allowed = closing or allowed
        chosen = [*drafts[:accepted], rng.choice(allowed)]
        tokens += len(chosen)
        for token in chosen:
            if token in tokenizer.stop_ids:
                return text
            grammar.consume((token,))
            text += tokenizer.token_bytes(token)
            if grammar.complete:
                return text
    return None


def test_replies_to_random_schemas_are_valid(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """200 schemas, tokens at random among the allowed: what is finished fits, and nearly all are finished."""
    unfinished = 0
    for seed in range(200):
        rng = random.Random(seed)
        schema = random_schema(rng)
        text = walk(compiled(compiler, schema), tokenizer, rng)
        if text is None:
            unfinished += 1
            continue
        reply = json.loads(text.decode())
        errors = list(Draft202012Validator(schema).iter_errors(reply))
        assert not errors, (seed, text, errors)
    assert unfinished <= 4
