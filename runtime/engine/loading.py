"""From a checkpoint's weights to a runner that is ready: memory reserved, and on an accelerator all compiled."""

import torch

from antiphon.runtime.engine.config import ModelConfig
from antiphon.runtime.engine.device import Place, choose_place
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.heap import trim_heap
from antiphon.runtime.engine.runner import Runner
from antiphon.runtime.engine.warm_up import warm_up
from antiphon.runtime.engine.weights import Weights
from antiphon.runtime.errors import NotEnoughMemory

_CONTEXTS = 16  # that the page pool holds unless told otherwise, of 2,048 tokens
_CONTEXT_TOKENS = 2048


def load_runner(model: ModelConfig, weights: Weights, config: EngineConfig) -> tuple[Runner, Place]:
    """The runner, and where it computes.

    Raises:
        ConfigurationError: an unknown dtype, or no page fits beside the weights.
        ModelFileError: a tensor is missing, unreadable or of another shape.
        NotEnoughMemory: the device has not enough left.
    """
    place = choose_place(config.dtype, config.threads)
    on_accelerator = place.device.type != "cpu"
    try:
        runner = Runner(
            model,
            weights,
            place,
            pages=None if on_accelerator and config.cache_tokens is None else _pages(model, config),
            max_rows=config.max_rows,
            batch_invariant=config.batch_invariant,
        )
        if on_accelerator:
            warm_up(runner)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise NotEnoughMemory(
            f"the model does not fit into what is left of the memory of {place.device} ({error}); lower cache_tokens, "
            "end what else uses it, or take a smaller model"
        ) from error
    trim_heap()
    return runner, place


def _pages(model: ModelConfig, config: EngineConfig) -> int:
    tokens = config.cache_tokens
    if tokens is None:
        tokens = _CONTEXTS * min(_CONTEXT_TOKENS, model.context_tokens)
    return -(-tokens // PAGE_TOKENS)
