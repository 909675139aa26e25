"""Counts what Triton compiles, so that a test can say: nothing after warm-up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watch_compilations() -> Iterator[list[str]]:
    """The kernels compiled inside the ``with`` block, in order, each with the types of its arguments.

    A kernel read from Triton's cache on disk counts too: the launch waited for it. A list that grows while an engine
    serves is a stall of up to seconds (vllm#43009): warm that variant up, or list the argument that varies in
    ``do_not_specialize``. Hooks that were set before are called as well, and are back afterwards. One at a time in a
    process: Triton's hook is global.
    """
    from triton import knobs  # type: ignore[import-untyped]  # ships no types

    compiled: list[str] = []
    before = knobs.runtime.jit_post_compile_hook

    def hook(**facts: Any) -> Any:
        compiled.append(facts["repr"])
        return before(**facts) if before else None

    knobs.runtime.jit_post_compile_hook = hook
    try:
        yield compiled
    finally:
        knobs.runtime.jit_post_compile_hook = before
