"""The engine as LoadGen's system under test."""

import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import mlperf_loadgen  # type: ignore[import-not-found]  # a C++ extension without types

from antiphon.runtime.engine.engine import Engine
from antiphon.runtime.engine.request import Event, FailureEvent, FinishEvent, Request, TokenEvent
from antiphon.runtime.errors import AntiphonError, ModelUnavailable
from antiphon.schemas.inference import FinishReason, Sampling
from loadgen_cases.trace import Shape

LIMIT_S = 3600.0  # for one request; Offline hands all of them over at once


class System:
    """Submits what LoadGen asks for and reports tokens back; ``prompt`` gives the ids for a sample's index.

    LoadGen calls ``issue`` on a thread of its own, and is told of tokens on the engine's.
    """

    def __init__(self, engine: Engine, shapes: Sequence[Shape], prompt: Callable[[int], Sequence[int]]) -> None:
        self._engine = engine
        self.shapes = shapes
        self._prompt = prompt
        self.error: Exception | None = None
        self.prompt_tokens = 0
        self.cached_tokens = 0

    def issue(self, samples: Sequence[Any]) -> None:
        """Submit a query's samples and return at once."""
        for sample in samples:
            reply = _Reply(self, sample.id)
            request = Request(
                id=f"loadgen-{sample.id}",
                prompt=tuple(self._prompt(sample.index)),
                sampling=Sampling(max_tokens=self.shapes[sample.index].output),
                deadline_unix_ms=int(1e3 * (time.time() + LIMIT_S)),
            )
            try:
                self._engine.submit(request, reply)
            except AntiphonError as error:
                reply(FailureEvent(request=request.id, error=error))


class _Reply:
    """Tokens of one sample. A failed one is completed too, lest LoadGen wait for it; the run is void then."""

    def __init__(self, system: System, sample: int) -> None:
        self._system = system
        self._sample = sample
        self._tokens = array("i")

    def __call__(self, event: Event) -> None:
        system = self._system
        match event:
            case TokenEvent():
                self._token(event.token)
            case FinishEvent():
                system.prompt_tokens += event.finish.usage.input_tokens
                system.cached_tokens += event.finish.usage.cached_tokens or 0
                if event.finish.reason is FinishReason.CANCELLED:
                    system.error = system.error or ModelUnavailable(f"found no end of a request after {LIMIT_S:.0f} s")
                self._complete()
            case FailureEvent():
                system.error = system.error or event.error
                self._complete()

    def _token(self, token: int) -> None:
        self._tokens.append(token)
        if len(self._tokens) == 1:
            first = array("i", self._tokens)  # a buffer of its own: the reply's moves as it grows
            address, items = first.buffer_info()
            response = mlperf_loadgen.QuerySampleResponse(self._sample, address, items * first.itemsize)
            mlperf_loadgen.FirstTokenComplete([response])

    def _complete(self) -> None:
        while len(self._tokens) < 2:  # after a failure only
            self._token(0)
        address, items = self._tokens.buffer_info()
        response = mlperf_loadgen.QuerySampleResponse(self._sample, address, items * self._tokens.itemsize, items)
        mlperf_loadgen.QuerySamplesComplete([response])
