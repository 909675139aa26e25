"""Pages moved whole."""

import pytest
import torch

from antiphon.kernels.ops import copy_pages, gather_pages, scatter_pages

# An odd width, pages longer than one block of the kernel, and bytes.
POOLS = pytest.mark.parametrize(
    ("shape", "dtype"),
    [((5, 64, 3, 18), torch.float16), ((4, 64, 1, 65), torch.float32), ((7, 12), torch.uint8)],
    ids=["fp16", "fp32", "uint8"],
)


def pool_of(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Every bit pattern there is, NaNs among them; equality is by bits."""
    return torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8, device=device).view(dtype)[..., 0]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """What compares NaNs too."""
    return tensor.contiguous().view(torch.uint8)


@POOLS
def test_copy_changes_the_targets_of_every_pool_and_nothing_else(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Bit for bit, in whatever order."""
    pools = [pool_of(shape, dtype, device) for _ in range(2)]
    expected = [pool.clone() for pool in pools]
    for pool in expected:
        pool[3], pool[0] = pool[1].clone(), pool[2].clone()
    copy_pages(pools, [1, 2], [3, 0])
    assert all(torch.equal(bits(pool), bits(wanted)) for pool, wanted in zip(pools, expected, strict=True))


@POOLS
def test_gather_then_scatter_is_identity(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Pages leave in the order asked for, one of them twice, and arrive in another pool; other pages stay."""
    pool = pool_of(shape, dtype, device)
    content = gather_pages(pool, [3, 0, 3])
    assert torch.equal(bits(content), bits(torch.stack([pool[3], pool[0], pool[3]])))
    other = pool_of(shape, dtype, device)
    kept = other[1].clone()
    scatter_pages(other, [2, 3, 0], content)
    assert torch.equal(bits(other[:4]), bits(torch.stack([pool[3], kept, pool[3], pool[0]])))


def test_no_page_is_legal(device: torch.device) -> None:
    """Nothing moves."""
    pool = torch.zeros(2, 4, device=device)
    copy_pages([pool], [], [])
    scatter_pages(pool, [], gather_pages(pool, []))
    assert torch.equal(pool, torch.zeros(2, 4, device=device))


@pytest.mark.gpu
def test_pools_beyond_four_gigabytes() -> None:
    """Offsets are 64 bits wide."""
    pool = torch.zeros(40_000, 65_536, dtype=torch.float16, device="cuda")
    pool[39_999] = 1
    copy_pages([pool], [39_999], [39_998])
    assert bool((pool[39_998] == 1).all())
    assert not pool[:39_998].any()


def test_wrong_arguments_are_refused() -> None:
    """Before anything is written: the numbers are the host's."""
    pool = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"pages: found 3, expected 0 to 2"):
        copy_pages([pool], [0], [3])
    with pytest.raises(ValueError, match=r"pages: found -1"):
        gather_pages(pool, [-1])
    with pytest.raises(ValueError, match="found 2 sources and 1 targets"):
        copy_pages([pool], [0, 1], [2])
    with pytest.raises(ValueError, match=r"found pages \[1\] among sources and targets"):
        copy_pages([pool], [0, 1], [1, 2])
    with pytest.raises(ValueError, match="found one twice"):
        scatter_pages(pool, [1, 1], torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"content: found shape \(1, 4\), expected \(2, 4\)"):
        scatter_pages(pool, [1, 2], torch.zeros(1, 4))
    with pytest.raises(ValueError, match="pool: found strides"):
        gather_pages(torch.zeros(3, 8)[:, ::2], [0])
    with pytest.raises(ValueError, match="pages of 3 bytes, expected a multiple of 4"):
        gather_pages(torch.zeros(2, 3, dtype=torch.uint8), [0])
