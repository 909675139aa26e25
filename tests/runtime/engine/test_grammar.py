"""Schemas as token masks."""

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.engine.checkpoint import open_checkpoint
from antiphon.runtime.engine.grammar import GrammarCompiler
from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.errors import InvalidRequest

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
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    """For the tiny vocabulary."""
    return GrammarCompiler(tokenizer, 263)


def test_a_fitting_reply_is_walked_to_its_end(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """Each token of it is allowed, and the last one completes it."""
    grammar = compiler.compile(OBJECT)
    done = []
    for token in tokenizer.encode('{"ok":true}'):
        assert grammar.allowed()[token]
        done.append(grammar.consume(token))
    assert done == [False] * (len(done) - 1) + [True]


def test_whitespace_and_the_end_are_not_allowed_early(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """Small models love endless whitespace, and must not stop before the schema is complete."""
    allowed = compiler.compile(OBJECT).allowed()
    assert not any(allowed[token] for text in (" ", "\n") for token in tokenizer.encode(text))
    assert not allowed[tokenizer.control["<|im_end|>"]]
    assert len(allowed) == 263


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/nowhere"},
        {"type": "object", "properties": 3},
        {"type": "string", "pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_compiled_is_the_callers_fault(
    compiler: GrammarCompiler, schema: dict[str, Any]
) -> None:
    """It fails that request with the reason."""
    with pytest.raises(InvalidRequest, match="output schema: "):
        compiler.compile(json.loads(json.dumps(schema)))
