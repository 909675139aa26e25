"""Whether models fit: what they will need together, against what there is. Pure."""

from dataclasses import dataclass
from typing import Final

from antiphon.runtime.errors import NotEnoughMemory
from antiphon.runtime.models.checkpoint_facts import CheckpointFacts
from antiphon.runtime.models.setting import LocalSetting

_MB: Final = 1 << 20
_OVERHEAD: Final = 300 * _MB  # of a process with torch and its buffers, before any weight (measured: 250 to 290)
_ELEMENT: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
_QUANTISED: Final = 1.5  # bytes a weight, below which the file's are codes of 4 or 8 bits
_CONTEXTS, _CONTEXT_TOKENS = 16, 2048  # what EngineConfig takes for cache_tokens where it is told nothing


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a model will take: weights as they lie in memory, keys and values, and everything else."""

    weights: int
    cache: int
    overhead: int = _OVERHEAD

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.overhead

    def __str__(self) -> str:
        return (
            f"{_mb(self.total)} (weights {_mb(self.weights)}, cache {_mb(self.cache)}, the rest {_mb(self.overhead)})"
        )


class MemoryBook:
    """What the models of one process will need together, against what was there before the first of them."""

    def __init__(self, available: int | None) -> None:
        """``available``: bytes, or None where the system does not say: then nothing is refused."""
        self._available = available
        self._claims: dict[str, Need] = {}

    def claim(self, name: str, need: Need) -> None:
        """Note that the model ``name`` will need so much.

        Raises:
            NotEnoughMemory: with all the needs, and what there is.
        """
        claims = {**self._claims, name: need}
        total = sum(each.total for each in claims.values())
        if self._available is not None and total > self._available:
            needs = "; ".join(f"model {each!r} needs about {claims[each]}" for each in claims)
            raise NotEnoughMemory(
                f"{needs}: {_mb(total)} in all, and there are {_mb(self._available)}; take a smaller model, set "
                "cache_tokens lower, or serve one of them on another machine",
                need_bytes=total,
                available_bytes=self._available,
            )
        self._claims = claims


def need_of(facts: CheckpointFacts, setting: LocalSetting, *, bfloat16: bool) -> Need:
    """About what a checkpoint will take under its setting; ``bfloat16``: whether the processor computes it natively.

    With dtype auto, weights of 4 or 8 bits are held twice, as codes for single tokens and in full for prompts, unless
    replies must not depend on their company.
    """
    auto = setting.dtype == "auto"
    element = (2 if bfloat16 else 4) if auto else _ELEMENT[setting.dtype]
    if facts.size is None:
        return Need(weights=facts.stored_bytes, cache=0)
    codes = auto and not setting.batch_invariant and facts.stored_bytes < facts.size.parameters * _QUANTISED
    tokens = setting.cache_tokens or _CONTEXTS * min(facts.context_tokens, _CONTEXT_TOKENS)
    return Need(
        weights=facts.size.parameters * element + (facts.stored_bytes if codes else 0),
        cache=facts.size.kv_elements * element * tokens,
    )


def _mb(size: int) -> str:
    return f"{-(-size // _MB):,} MB"
