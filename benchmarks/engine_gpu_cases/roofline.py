"""What the two measured ceilings allow at best."""

from antiphon.runtime.engine.metrics import Peaks
from antiphon.runtime.engine.model_size import size_of
from engine_gpu_cases.shape import Shape


def stream(shape: Shape, peaks: Peaks, element_bytes: int) -> float:
    """Tokens per second of one stream: every weight is read once for each."""
    return peaks.bytes_per_s / (size_of(shape.config).parameters * element_bytes)


def total(shape: Shape, peaks: Peaks, element_bytes: int) -> float:
    """Tokens per second, in and out: prompts at the speed of products, then steps of all requests, each as long as its
    operations or its bytes (weights once, keys and values of every request) take, whichever is longer."""
    size, rows = size_of(shape.config), shape.requests
    pairs = rows * shape.prompt * (shape.prompt + 1) // 2
    seconds = size.flops(tokens=rows * shape.prompt, sampled=rows, pairs=pairs) / peaks.flops_per_s
    for step in range(1, shape.reply):  # the prompt's last position gives the first token
        keys = rows * (shape.prompt + step)
        moved = element_bytes * (size.parameters + size.kv_elements * keys)
        computed = size.flops(tokens=rows, sampled=rows, pairs=keys)
        seconds += max(moved / peaks.bytes_per_s, computed / peaks.flops_per_s)
    return shape.tokens / seconds
