"""Pages of a cache moved whole: copied before a shared one is written, gathered to leave, scattered on arrival.

Page numbers are the host's, so they are checked before anything is launched. A pool is any contiguous tensor [pages, …]
whose pages are a multiple of 4 bytes.
"""

from collections.abc import Sequence

import torch

from antiphon.kernels.checks import expect_contiguous, expect_like, expect_shape
from antiphon.kernels.reference.pages import copy_pages as copy_pages_reference
from antiphon.kernels.reference.pages import gather_pages as gather_pages_reference
from antiphon.kernels.reference.pages import scatter_pages as scatter_pages_reference
from antiphon.kernels.registry import Backend, backend_for


def copy_pages(pools: Sequence[torch.Tensor], sources: Sequence[int], targets: Sequence[int]) -> None:
    """Page ``targets[i]`` of each pool becomes what page ``sources[i]`` is: copy on write, in every layer at once.

    Raises:
        ValueError: lists of two lengths, a page outside a pool, a page that is written twice or both read and written
            (which came first would be anybody's guess), or a pool that is not contiguous.
    """
    if len(sources) != len(targets):
        raise ValueError(f"found {len(sources)} sources and {len(targets)} targets, expected as many of both")
    if both := set(sources) & set(targets):
        raise ValueError(f"found pages {sorted(both)} among sources and targets, expected each in one of them")
    for pool in pools:
        _check(pool, sources)
        _check(pool, targets, written=True)
    for pool in pools:
        if not targets:
            return
        if backend_for(pool) is Backend.REFERENCE:
            copy_pages_reference([pool], sources, targets)
        else:
            _move(pool, pool, targets, sources)


def gather_pages(pool: torch.Tensor, pages: Sequence[int]) -> torch.Tensor:
    """The content of ``pages``, in that order and one behind the other: [pages, …].

    Raises:
        ValueError: a page outside the pool, or a pool that is not contiguous.
    """
    _check(pool, pages)
    if backend_for(pool) is Backend.REFERENCE:
        return gather_pages_reference(pool, pages)
    content = torch.empty(len(pages), *pool.shape[1:], dtype=pool.dtype, device=pool.device)
    if pages:
        _move(content, pool, None, pages)
    return content


def scatter_pages(pool: torch.Tensor, pages: Sequence[int], content: torch.Tensor) -> None:
    """Page ``pages[i]`` becomes ``content[i]``.

    Raises:
        ValueError: a page outside the pool or written twice, content of another shape, dtype or device, or one of
            both not contiguous.
    """
    _check(pool, pages, written=True)
    expect_shape("content", content, (len(pages), *pool.shape[1:]))
    expect_like("content", content, pool)
    expect_contiguous("content", content)
    if backend_for(pool) is Backend.REFERENCE:
        scatter_pages_reference(pool, pages, content)
    elif pages:
        _move(pool, content, pages, None)


def _move(
    to: torch.Tensor, source: torch.Tensor, to_pages: Sequence[int] | None, from_pages: Sequence[int] | None
) -> None:
    from antiphon.kernels.device.pages import move_pages_launcher

    def listed(pages: Sequence[int] | None) -> torch.Tensor | None:
        return None if pages is None else torch.tensor(pages, dtype=torch.int64, device=to.device)

    move_pages_launcher(_words(to), _words(source), listed(to_pages), listed(from_pages))


def _words(pool: torch.Tensor) -> torch.Tensor:
    return pool.view(pool.shape[0], -1).view(torch.int32)


def _check(pool: torch.Tensor, pages: Sequence[int], *, written: bool = False) -> None:
    expect_contiguous("pool", pool)
    if (size := pool[:1].numel() * pool.element_size()) % 4:
        raise ValueError(f"pool: found pages of {size} bytes, expected a multiple of 4")
    for page in pages:
        if not 0 <= page < pool.shape[0]:
            raise ValueError(f"pages: found {page}, expected 0 to {pool.shape[0] - 1}")
    if written and len(set(pages)) != len(pages):
        raise ValueError(f"pages: found one twice among {list(pages)}, expected each to be written once")
