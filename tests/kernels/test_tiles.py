"""The table of tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.kernels.tiles import ANY, TABLE, Tile, TileRow, best_row, find_tile, read_tiles, write_tiles

DEFAULT = Tile(sizes={"BLOCK": 64}, num_warps=4, num_stages=2)
NAMES = st.text(st.sampled_from("abcxyz_0189"), min_size=1, max_size=8)
ROWS = st.builds(
    TileRow,
    op=NAMES,
    arch=st.sampled_from(["sm_90", "gfx942", ANY]),
    dtype=st.sampled_from(["bf16", ANY]),
    bucket=st.sampled_from(["decode", ANY]),
    tile=st.builds(
        Tile,
        sizes=st.dictionaries(NAMES, st.integers(1, 512), max_size=3),
        num_warps=st.sampled_from([1, 2, 4, 8]),
        num_stages=st.integers(1, 5),
    ),
    micros=st.none() | st.integers(1, 10**6).map(lambda hundredths: hundredths / 100),
)


def row(arch: str, dtype: str, bucket: str, block: int) -> TileRow:
    """A row of op "gemm" that is known by its size."""
    tile = Tile(sizes={"BLOCK": block}, num_warps=4, num_stages=2)
    return TileRow(op="gemm", arch=arch, dtype=dtype, bucket=bucket, tile=tile)


@given(st.lists(ROWS, max_size=5))
def test_writing_and_reading_is_identity(rows: list[TileRow]) -> None:
    """But for the order, which is sorted."""
    read = read_tiles(write_tiles(rows))
    assert len(read) == len(rows)
    assert all(each in read for each in rows)


def test_the_row_that_names_most_is_taken() -> None:
    """Architecture counts most, then the bucket, then the dtype; a row of another never fits."""
    rows = [row(ANY, ANY, ANY, 1), row(ANY, "bf16", "decode", 2), row("sm_90", ANY, ANY, 3), row("sm_80", ANY, ANY, 4)]
    chosen = [
        best_row(rows, "gemm", arch, dtype, bucket)
        for arch, dtype, bucket in (
            ("sm_90", "bf16", "decode"),
            ("gfx942", "bf16", "decode"),
            ("gfx942", "fp16", "decode"),
        )
    ]
    assert [each.tile.sizes["BLOCK"] for each in chosen if each] == [3, 2, 1]
    assert best_row(rows, "norm", "sm_90", "bf16", "decode") is None


def test_unknown_architecture_gets_the_default() -> None:
    """No row of ours names an accelerator that nobody measured."""
    assert find_tile("gemm", arch="unknown", dtype="bf16", bucket="decode", default=DEFAULT) is DEFAULT


def test_launch_holds_everything() -> None:
    """As keyword arguments of a kernel."""
    assert DEFAULT.launch() == {"BLOCK": 64, "num_warps": 4, "num_stages": 2}


def test_the_table_in_the_package_can_be_read() -> None:
    """And has been written by ``write_tiles``, so that tuning changes only what was measured."""
    text = TABLE.read_text(encoding="utf-8")
    assert write_tiles(read_tiles(text)) == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gemm,sm_90,bf16,decode,BLOCK,4,2,", "line 2: .* expected sizes as NAME=NUMBER"),
        ("gemm,sm_90,bf16,decode,BLOCK=64,four,2,", "line 2"),
        ("gemm,sm_90", "line 2"),
    ],
)
def test_a_damaged_line_is_named(line: str, message: str) -> None:
    """With its number and the accepted form."""
    with pytest.raises(ValueError, match=message):
        read_tiles(write_tiles([]) + line)


def test_other_columns_are_refused() -> None:
    """A table of another version is not half understood."""
    with pytest.raises(ValueError, match="found columns"):
        read_tiles("op,arch\n")
