"""Pages moved by torch's own indexing."""

from collections.abc import Sequence

import torch


def copy_pages(pools: Sequence[torch.Tensor], sources: Sequence[int], targets: Sequence[int]) -> None:
    """Page ``targets[i]`` of each pool becomes what page ``sources[i]`` is."""
    for pool in pools:
        pool[list(targets)] = pool[list(sources)]


def gather_pages(pool: torch.Tensor, pages: Sequence[int]) -> torch.Tensor:
    """The content of ``pages``, in that order: [pages, …]."""
    return pool[list(pages)]


def scatter_pages(pool: torch.Tensor, pages: Sequence[int], content: torch.Tensor) -> None:
    """Page ``pages[i]`` becomes ``content[i]``."""
    pool[list(pages)] = content
