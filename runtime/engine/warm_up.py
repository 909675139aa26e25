"""One of each kind of step, before the first request: what a kernel has to be compiled for is compiled then.

Triton compiles a kernel anew for each combination of constants, and for integers that are 1 or a multiple of 16 and
pointers that are a multiple of 16 bytes. A compilation while the engine serves is a stall of up to seconds
(vllm#43009); ``kernels.jit_monitor`` counts them.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final

import numpy as np

from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.plan import Row, Sequence, StepPlan
from antiphon.runtime.engine.request import Request
from antiphon.runtime.engine.runner import Runner
from antiphon.runtime.engine.sampler import SampleRow
from antiphon.runtime.engine.scheduler import MOST_DRAFTS
from antiphon.runtime.engine.step import MOST_TOKENS
from antiphon.schemas.inference import Sampling

_ROWS: Final = (1, 2, 4, 17)  # of a tensor of single numbers a row: aligned and not; of a product: one, few, many
_PENALISED: Final = (1, 3, 4, 16)  # tokens: their number and the places of their numbers in memory, likewise
_GREEDY: Final = Sampling()
_DRAWN: Final = Sampling(temperature=1.0, seed=0)
_WITH_PENALTY: Final = Sampling(frequency_penalty=1.0)


def warm_up(runner: Runner) -> None:
    """Compute them all, in pages that hold nothing yet. What comes of it is thrown away, but for the graphs of the
    smallest buckets, which are met often enough to be recorded."""
    if runner.graphs:
        runner.graphs.rehearse()
    words = (runner.model.config.vocabulary + 31) // 32
    most_tokens = min(runner.pages.count * PAGE_TOKENS, runner.model.config.context_tokens)
    for rows, masked in _steps(most_tokens):
        masks = np.full((1 + MOST_DRAFTS, words), -1, dtype=np.int32) if masked else None
        runner.run(
            StepPlan(rows=tuple(rows)),
            lambda row, masks=masks: SampleRow(  # type: ignore[misc]  # mypy: default of a lambda
                sequence=row.sequence, drafts=row.drafts, masks=None if masks is None else masks[: 1 + len(row.drafts)]
            ),
        )


def _steps(most_tokens: int) -> Iterator[tuple[list[Row], bool]]:
    """Rows of each step, and whether grammars mask their scores."""
    for rows, sampling, masked in product(_ROWS, (_GREEDY, _DRAWN), (False, True)):
        yield [_row(sampling=sampling) for _ in range(rows)], masked
    for tokens in _PENALISED:
        yield [_row(start=tokens - 1, sampling=_WITH_PENALTY)], False
    yield [_row(start=most_tokens - 1)], False  # a context that several programs share
    yield [_row(count=1 + MOST_DRAFTS, drafts=MOST_DRAFTS)], False
    tokens = 2
    while tokens < min(most_tokens, MOST_TOKENS):
        yield [_row(count=tokens)], False
        tokens *= 2
    yield [_row(count=min(most_tokens, MOST_TOKENS))], False  # also the most memory that a step takes


def _row(*, start: int = 0, count: int = 1, drafts: int = 0, sampling: Sampling = _GREEDY) -> Row:
    """A row whose sequence lies in page 0 again and again. The first tokens of it are 0, 1, 2, …: of any vocabulary."""
    most = max(_PENALISED)
    sequence = Sequence(
        request=Request(id="warm-up", prompt=(), sampling=sampling),
        tokens=[index % most for index in range(start + count - drafts)],
        pages=[0] * -(-(start + count) // PAGE_TOKENS),
    )
    return Row(sequence=sequence, start=start, count=count, drafts=(0,) * drafts, samples=True)
