"""What a vLLM server says of its KV cache at ``/metrics``, for calls whose usage does not say what was cached.

vLLM reports ``prompt_tokens_details.cached_tokens`` only when it is started with ``--enable-prompt-tokens-details``.
Its counters are always there (https://docs.vllm.ai/en/latest/usage/metrics/): ``vllm:prefix_cache_queries`` and
``vllm:prefix_cache_hits`` count prompt tokens. They are of all callers together, so a reading before and one after a
call say something of this call only where the queries grew by exactly its prompt: then nobody else was served.
"""

import re
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.clock import Clock
from antiphon.schemas.inference import Finish, Pages

EVERY_S: Final = 10.0  # between two calls that are looked at: a reading is one small request more
AGAIN_S: Final = 600.0  # after a server that has no such metrics
READ_S: Final = 1.0  # what a reading may take

_LINE: Final = re.compile(r"vllm:(\w+?)(?:_total)?(?:\{(.*)\})? (\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?: \d+)?")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_QUERIES: Final = ("prefix_cache_queries", "gpu_prefix_cache_queries")
_HITS: Final = ("prefix_cache_hits", "gpu_prefix_cache_hits")
_USAGE: Final = ("kv_cache_usage_perc", "gpu_cache_usage_perc")


@dataclass(frozen=True, kw_only=True)
class CacheReading:
    """Prompt tokens looked up and found since the server began; pages of its cache, and tokens of one."""

    queries: float
    hits: float
    usage: float | None  # 0 to 1
    pages: int | None
    page_tokens: int | None


def read(text: str, model: str) -> CacheReading | None:
    """The reading in a page of metrics, of ``model`` where lines name one; None without vLLM's counters."""
    sums: dict[str, float] = {}
    pages = page_tokens = None
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        name, labels = found[1], dict(_LABEL.findall(found[2] or ""))
        if labels.get("model_name", model) != model:
            continue
        if name == "cache_config_info":
            pages, page_tokens = _whole(labels.get("num_gpu_blocks", "")), _whole(labels.get("block_size", ""))
        elif name in (*_QUERIES, *_HITS, *_USAGE):
            sums[name] = sums.get(name, 0.0) + float(found[3])  # one line for each engine behind the server
    queries, hits, usage = (next((sums[n] for n in names if n in sums), None) for names in (_QUERIES, _HITS, _USAGE))
    if queries is None or hits is None:
        return None
    return CacheReading(queries=queries, hits=hits, usage=usage, pages=pages, page_tokens=page_tokens)


def explained(finish: Finish, before: CacheReading, after: CacheReading) -> Finish:
    """``finish`` with the cached tokens and pages that two readings around its call prove."""
    cached: int | None = None
    if after.queries - before.queries == finish.usage.input_tokens and before.hits <= after.hits:
        cached = int(after.hits - before.hits)
    pages: Pages | None = None
    if after.pages is not None and after.usage is not None and 0 <= after.usage <= 1:
        hits = cached // after.page_tokens if cached is not None and after.page_tokens else None
        pages = Pages(used=round(after.usage * after.pages), total=after.pages, hits=hits)
    return finish.model_copy(
        update={"usage": finish.usage.model_copy(update={"cached_tokens": cached}), "pages": pages}
    )


class CacheWatch:
    """When to look: after a reply that did not say what was cached, every ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s: float | None = None  # None: the server says it itself, or has not answered yet

    def due(self) -> bool:
        """Whether the call that begins now should be looked at; if so, the next one is due later."""
        if self._next_s is None or self._clock.monotonic_s() < self._next_s:
            return False
        self._next_s = self._clock.monotonic_s() + EVERY_S
        return True

    def replied(self, cached_tokens: int | None) -> None:
        """A reply came; what its usage said."""
        if cached_tokens is not None:
            self._next_s = None
        elif self._next_s is None:
            self._next_s = self._clock.monotonic_s()

    def absent(self) -> None:
        """The server has no such metrics."""
        self._next_s = self._clock.monotonic_s() + AGAIN_S


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
