"""Calls of one tool, or texts for one embedding model, that come within a window become one."""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import DeadlineExceeded, ModelError
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.window import Window, Work
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.tool import ToolRun
from antiphon.schemas import policy as policies
from antiphon.schemas.inference import Embeddings, EmbedRequest, Usage


class Batcher:
    """Makes one of many where the tool declares ``batch`` and where texts become vectors.

    Every call keeps its own place in the chain: its budget, its deadline, its span, its result or its error. Only what
    the tool or the model is given is shared. What is merged never writes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[Hashable, Window[Any, Any]] = {}

    async def __call__(self, operation: Operation, policy: policies.Policy, next: Next) -> Outcome:
        """See Remedy. What takes no batch is done alone.

        Raises:
            InvalidResult, ModelError: there was not one result for each call.
            DeadlineExceeded: the caller's deadline passed; the others of the batch are still served.
        """
        action = policy.proposal.action
        assert isinstance(action, policies.Batch)
        request = operation.request
        if isinstance(request, ToolRun) and request.tool.batch is not None:
            work = partial(self._tool, operation, action, request)
            return await next(replace(operation, request=work))
        if isinstance(request, ModelCall) and isinstance(request.request, EmbedRequest):
            embed = partial(self._embed, operation, action)
            return await next(replace(operation, request=replace(request, embed=embed)))
        return await next(operation)

    async def _tool(self, operation: Operation, action: policies.Batch, run: ToolRun) -> Any:
        return await self._together(operation, action, run.tool, run.tool.together, run.arguments)

    async def _embed(
        self, operation: Operation, action: policies.Batch, instance: ModelInstance, request: EmbedRequest
    ) -> Embeddings:
        found: Embeddings = await self._together(
            operation, action, (instance, request.model), partial(_embedded, instance), request
        )
        return found

    async def _together(
        self, operation: Operation, action: policies.Batch, key: Hashable, work: Work[Any, Any], item: Any
    ) -> Any:
        key = (operation.scope.tenant, key)
        window = self._open.get(key)
        if window is None:
            close = partial(self._open.__delitem__, key)
            window = self._open[key] = Window(work, length_s=action.window_s, most=action.most, on_closed=close)
        limit = asyncio.timeout(self._left_s(operation))
        try:
            async with limit:
                share = await window.join(item)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"{operation.kind} {operation.target}: the deadline passed while it was done together with others; "
                "allow more time",
                path=operation.path,
            ) from None
        operation.attributes[names.BATCH_SIZE] = share.size
        return share.result

    def _left_s(self, operation: Operation) -> float | None:
        deadline = operation.deadline_unix_ms
        return None if deadline is None else max(0.0, deadline / 1e3 - self._clock.unix_ns() / 1e9)


async def _embedded(instance: ModelInstance, requests: list[EmbedRequest]) -> list[Embeddings]:
    """Several requests as one; each gets its vectors, and of the tokens its share by length."""
    runs = {(request.run, request.task) for request in requests}
    run, task = runs.pop() if len(runs) == 1 else (None, None)
    deadlines = [request.deadline_unix_ms for request in requests if request.deadline_unix_ms is not None]
    texts = tuple(text for request in requests for text in request.texts)
    merged = EmbedRequest(
        model=requests[0].model,
        texts=texts,
        run=run,
        task=task,
        deadline_unix_ms=max(deadlines) if len(deadlines) == len(requests) else None,
    )
    found = await instance.embed(merged)
    if len(found.vectors) != len(texts):
        raise ModelError(f"model {merged.model!r} gave {len(found.vectors)} vectors for {len(texts)} texts")
    shares = _split(found.usage.input_tokens, [sum(map(len, request.texts)) for request in requests])
    parts, start = [], 0
    for request, tokens in zip(requests, shares, strict=True):
        end = start + len(request.texts)
        share = {"vectors": found.vectors[start:end], "usage": Usage(input_tokens=tokens)}
        parts.append(found.model_copy(update=share))
        start = end
    return parts


def _split(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights; they add up to the total."""
    whole = sum(weights) or 1
    bounds, so_far = [0], 0
    for weight in weights:
        so_far += weight
        bounds.append(total * so_far // whole)
    bounds[-1] = total
    return [end - start for start, end in pairwise(bounds)]
