"""Pages of a cache moved whole, as 32-bit words: the same bits, whatever they mean."""

import torch
import triton  # type: ignore[import-untyped]  # ships no types
import triton.language as tl  # type: ignore[import-untyped]

from antiphon.kernels.cases import KernelCase

_BLOCK = 2048  # words a program: four 16-byte loads a thread


@triton.jit  # type: ignore[untyped-decorator]
def _move_pages_kernel(
    # tensors
    to_ptr: tl.tensor,  # [pages, words], int32
    from_ptr: tl.tensor,  # [pages, words], int32
    to_pages_ptr: tl.tensor,  # [moved], int64; not read unless TO_LISTED
    from_pages_ptr: tl.tensor,  # [moved], int64; not read unless FROM_LISTED
    # scalars
    words: int,
    # constexprs
    TO_LISTED: tl.constexpr,
    FROM_LISTED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    index = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    to_page = tl.load(to_pages_ptr + index) if TO_LISTED else index
    from_page = tl.load(from_pages_ptr + index) if FROM_LISTED else index
    content = tl.load(from_ptr + from_page * words + column, mask=column < words)
    tl.store(to_ptr + to_page * words + column, content, mask=column < words)


def move_pages_launcher(
    to: torch.Tensor,  # [pages, words], contiguous, int32
    source: torch.Tensor,  # [pages, words], contiguous, int32
    to_pages: torch.Tensor | None,  # [moved], contiguous, int64; None: 0, 1, 2, …
    from_pages: torch.Tensor | None,  # the same on the other side; not None on both
) -> None:
    """Copy page by page."""
    listed = to_pages if to_pages is not None else from_pages
    assert listed is not None
    words = to.shape[1]
    _move_pages_kernel[(listed.shape[0], triton.cdiv(words, _BLOCK))](
        to,
        source,
        to_pages,
        from_pages,
        words,
        TO_LISTED=to_pages is not None,
        FROM_LISTED=from_pages is not None,
        BLOCK=_BLOCK,
        num_warps=4,
    )


CASES = tuple(
    KernelCase(
        name=f"move_pages.{name}",
        kernel=_move_pages_kernel,
        types={
            **dict.fromkeys(("to_ptr", "from_ptr"), "*i32"),
            **dict.fromkeys(("to_pages_ptr", "from_pages_ptr"), "*i64"),
            "words": "i32:16",
        },
        constexprs={"TO_LISTED": to_listed, "FROM_LISTED": from_listed, "BLOCK": _BLOCK},
    )
    for name, to_listed, from_listed in (("copy", True, True), ("gather", False, True), ("scatter", True, False))
)
