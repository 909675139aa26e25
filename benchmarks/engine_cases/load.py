"""Requests with a stopwatch: what every case measures with."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.request import Event, FailureEvent, FinishEvent, Request, TokenEvent
from antiphon.schemas.inference import Finish, Sampling

LIMIT_S = 900.0


class Stopwatch:
    """Times of one request: when it was submitted, and when each token came."""

    def __init__(self) -> None:
        self.submitted_s = time.perf_counter()
        self.token_s: list[float] = []
        self.text = ""
        self.ended_s = 0.0
        self.finish: Finish | None = None
        self.error: Exception | None = None
        self._over = threading.Event()

    def __call__(self, event: Event) -> None:
        now_s = time.perf_counter()
        match event:
            case TokenEvent():
                self.token_s.append(now_s)
                self.text += event.text
            case FinishEvent():
                self.finish, self.ended_s = event.finish, now_s
                self._over.set()
            case FailureEvent():
                self.error, self.ended_s = event.error, now_s
                self._over.set()

    def wait(self) -> "Stopwatch":
        """Until it has ended. Raises what it failed with."""
        if not self._over.wait(LIMIT_S):
            raise TimeoutError(f"found no end of a request after {LIMIT_S} s")
        if self.error is not None:
            raise self.error
        return self

    @property
    def first_s(self) -> float:
        """Time to the first token."""
        return self.token_s[0] - self.submitted_s

    @property
    def gaps_s(self) -> list[float]:
        """Times between tokens."""
        return [after - before for before, after in zip(self.token_s, self.token_s[1:], strict=False)]


class Bench:
    """An engine, and requests with ids of their own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._number = 0

    def submit(self, prompt: Sequence[int], max_tokens: int, **fields: Any) -> Stopwatch:
        """One request that ends after ``max_tokens`` only, unless it has a schema."""
        self._number += 1
        sampling = fields.pop("sampling", None) or Sampling(max_tokens=max_tokens)
        watch = Stopwatch()
        self.engine.submit(Request(id=str(self._number), prompt=tuple(prompt), sampling=sampling, **fields), watch)
        return watch

    def cancel_all(self) -> None:
        """Give up whatever is under way."""
        for number in range(1, self._number + 1):
            self.engine.abort(str(number))


@contextmanager
def bench(path: Path, *, endless: bool = True, **config: Any) -> Iterator[Bench]:
    """An engine on two threads. ``endless``: replies go on to their last token, as a benchmark's lengths want."""
    engine = Engine.load(path, EngineConfig(**{"threads": 2, "speculate": False, **config}))
    if endless:
        engine.tokenizer.stop_ids = frozenset()
    try:
        yield Bench(engine)
    finally:
        engine.close()


def prompt_of(length: int, seed: int) -> list[int]:
    """Random ids of ordinary tokens."""
    rng = random.Random(seed)
    return [rng.randrange(100, 40_000) for _ in range(length)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
