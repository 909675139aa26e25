"""Two hundred random JSON schemas: do all replies fit, and what a mask costs a step."""

import json
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types

from antiphon.runtime.engine.grammar import GrammarCompiler
from antiphon.runtime.engine.random_schemas import random_schema
from antiphon.schemas.inference import FinishReason, Role, Sampling, turn
from engine_cases.load import Bench, Stopwatch, bench

AT_ONCE = 16
MAX_TOKENS = 400


@dataclass(frozen=True)
class Structure:
    """Replies that ended by themselves and fit; those cut short by MAX_TOKENS; the median mask in seconds."""

    valid: int
    cut: int
    total: int
    mask_s: float


def run(path: Path, count: int) -> Structure:
    """Each schema once, at temperature 0.7, sixteen at a time."""
    schemas = [random_schema(random.Random(seed)) for seed in range(count)]
    valid = cut = 0
    with bench(path, endless=False) as on:
        for start in range(0, count, AT_ONCE):
            part = schemas[start : start + AT_ONCE]
            watches = [_ask(on, schema, start + at) for at, schema in enumerate(part)]
            for watch, schema in zip(watches, part, strict=True):
                finish = watch.wait().finish
                assert finish is not None
                if finish.reason is FinishReason.LENGTH:
                    cut += 1
                else:
                    valid += _fits(watch.text, schema)
        mask_s = _mask_s(on, schemas[:40])
    return Structure(valid, cut, count, mask_s)


def _ask(on: Bench, schema: dict[str, object], seed: int) -> Stopwatch:
    prompt = on.engine.encode(
        [turn(Role.USER, f"Write one JSON object, briefly. Its schema: {json.dumps(schema)[:400]}")]
    )
    sampling = Sampling(max_tokens=MAX_TOKENS, temperature=0.7, seed=seed)
    return on.submit(prompt, MAX_TOKENS, sampling=sampling, json_schema=schema)


def _fits(text: str, schema: dict[str, object]) -> bool:
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def _mask_s(on: Bench, schemas: list[dict[str, object]]) -> float:
    """The median over the first tokens of replies that take a random allowed token."""
    compiler = GrammarCompiler(on.engine.tokenizer, on.engine.model_config.vocabulary)
    rng, times = random.Random(3), []
    for schema in schemas:
        grammar = compiler.compile(schema).result(30)
        for _ in range(25):
            began_s = time.perf_counter()
            masks = grammar.masks()
            times.append(time.perf_counter() - began_s)
            words = [index for index, word in enumerate(masks[0].tolist()) if word]
            word = rng.choice(words)
            bits = int(masks[0][word])
            token = word * 32 + rng.choice([bit for bit in range(32) if bits >> bit & 1])
            if token in on.engine.tokenizer.stop_ids:
                break
            grammar.consume((token,))
            if grammar.complete:
                break
    compiler.close()
    return statistics.median(times)
