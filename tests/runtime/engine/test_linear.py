"""A matrix in every form: the same products, to the precision of the form."""

from collections.abc import Sequence

import pytest
import torch

from antiphon.runtime.engine.device import Place
from antiphon.runtime.engine.linear import (
    DECODE_ROWS,
    DenseLinear,
    EightBitLinear,
    FourBitLinear,
    InvariantLinear,
    TiledLinear,
    float_linear,
    load_linear,
)
from antiphon.runtime.engine.packed_weight import BLOCK, PackedWeight
from antiphon.runtime.engine.scheduler import LONE_DRAFTS

COLUMNS = 128
CPU = torch.device("cpu")
CODES = Place(CPU, torch.bfloat16, codes=True)
CODES_IN_FULL = Place(CPU, torch.float32, codes=True)  # as on processors that do not compute bfloat16


class Stored:
    """Tensors that are what a file would hold: packed where they were given packed."""

    def __init__(self, **tensors: PackedWeight | torch.Tensor) -> None:
        self.tensors = {name.replace("_", "."): tensor for name, tensor in tensors.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def get(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor in a floating dtype."""
        found = self.tensors[name]
        tensor = found.dequantised() if isinstance(found, PackedWeight) else found
        assert tuple(tensor.shape) == shape
        return tensor

    def packed(self, name: str, shape: tuple[int, ...]) -> PackedWeight | None:
        """The codes, if it has any."""
        found = self.tensors[name]
        return found if isinstance(found, PackedWeight) else None


def random(seed: int) -> torch.Generator:
    """Numbers that repeat."""
    return torch.Generator().manual_seed(seed)


def four_bits(rows: int, seed: int = 0) -> PackedWeight:
    """A random matrix of 4-bit codes."""
    source = random(seed)
    grid = (rows, COLUMNS // BLOCK)
    return PackedWeight(
        bits=4,
        codes=torch.randint(0, 16, (rows, COLUMNS), dtype=torch.uint8, generator=source),
        scales=torch.rand(grid, generator=source) * 0.01,
        offsets=torch.randn(grid, generator=source) * 0.05,
    )


def eight_bits(rows: int) -> PackedWeight:
    """A random matrix of 8-bit codes."""
    source = random(1)
    return PackedWeight(
        bits=8,
        codes=torch.randint(-127, 128, (rows, COLUMNS), dtype=torch.int8, generator=source),
        scales=torch.rand((rows, COLUMNS // BLOCK), generator=source) * 0.001,
        offsets=None,
    )


def expected_of(x: torch.Tensor, parts: Sequence[PackedWeight]) -> torch.Tensor:
    """The product in float32."""
    return x.float() @ torch.cat([part.dequantised() for part in parts]).T


@pytest.mark.parametrize("place", [CODES, CODES_IN_FULL], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("rows", [1, 3, DECODE_ROWS, DECODE_ROWS + 1, 70])
def test_codes_compute_what_they_stand_for(rows: int, place: Place) -> None:
    """4 and 8 bits, fused from parts, whichever form a number of rows takes; within bfloat16's rounding."""
    x = torch.randn(rows, COLUMNS, generator=random(2)).to(place.dtype)
    parts = (four_bits(32), four_bits(16, seed=7))
    four = load_linear(Stored(a_weight=parts[0], b_weight=parts[1]), ["a", "b"], [32, 16], COLUMNS, place)
    assert isinstance(four, FourBitLinear)
    eight = load_linear(Stored(a_weight=eight_bits(48)), ["a"], [48], COLUMNS, place)
    assert isinstance(eight, EightBitLinear)
    for form, given in ((four, parts), (eight, (eight_bits(48),))):
        expected = expected_of(x, given)
        assert form(x).dtype is place.dtype
        error = (form(x).float() - expected).abs().max() / expected.abs().max()
        assert error < 0.02


def test_the_drafts_of_a_stream_alone_change_no_product() -> None:
    """A token and as many drafts are multiplied by the same codes, and each row has the bits that it has alone."""
    assert 1 + LONE_DRAFTS == DECODE_ROWS
    x = torch.randn(DECODE_ROWS, COLUMNS, generator=random(2)).bfloat16()
    for stored in (four_bits(48), eight_bits(48)):
        form = load_linear(Stored(a_weight=stored), ["a"], [48], COLUMNS, CODES)
        alone = torch.cat([form(row[None]) for row in x])
        assert all(torch.equal(form(x[:rows]), alone[:rows]) for rows in range(1, DECODE_ROWS + 1))


@pytest.mark.parametrize("packed", [four_bits(48), eight_bits(48)], ids=["4 bits", "8 bits"])
def test_a_product_reads_one_form(packed: PackedWeight) -> None:
    """Codes and scales up to DECODE_ROWS rows, two bytes a weight beyond: never both, though both are in memory."""
    form = load_linear(Stored(a_weight=packed), ["a"], [48], COLUMNS, CODES)
    scales = 48 * COLUMNS // BLOCK * 4 if packed.bits == 4 else 48 * 2
    assert form.read_bytes(1) == form.read_bytes(DECODE_ROWS) == 48 * COLUMNS * packed.bits // 8 + scales
    assert form.read_bytes(DECODE_ROWS + 1) == 48 * COLUMNS * 2


@pytest.mark.parametrize("rows", [1, 2, 20])
def test_a_bias_is_added_once(rows: int) -> None:
    """In every form."""
    x = torch.zeros(rows, COLUMNS, dtype=torch.bfloat16)
    bias = torch.arange(16, dtype=torch.float32)
    stored = Stored(a_weight=four_bits(16), a_bias=bias)
    for invariant in (False, True):
        form = load_linear(stored, ["a"], [16], COLUMNS, CODES, bias=True, batch_invariant=invariant)
        assert torch.equal(form(x).float(), bias.expand(rows, 16))


def test_forms_follow_the_place() -> None:
    """Full precision where codes are not asked for, or where the packing does not take the shape."""
    plain = Place(CPU, torch.float32)
    assert isinstance(
        load_linear(Stored(a_weight=four_bits(16)), ["a"], [16], COLUMNS, plain), DenseLinear | TiledLinear
    )
    assert isinstance(
        load_linear(Stored(a_weight=four_bits(10)), ["a"], [10], COLUMNS, CODES), DenseLinear | TiledLinear
    )
    mixed = Stored(a_weight=four_bits(16), b_weight=torch.ones(16, COLUMNS))
    assert isinstance(load_linear(mixed, ["a", "b"], [16, 16], COLUMNS, CODES), DenseLinear | TiledLinear)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 9, 64, 100])
def test_the_order_in_memory_changes_no_product(dtype: torch.dtype, rows: int) -> None:
    """Whichever form the processor gets: the plain product with a bias, to a few roundings of the dtype."""
    weight, x = (torch.randn(each, 576, generator=random(5)).to(dtype) for each in (96, rows))
    bias = torch.randn(96, generator=random(6)).to(dtype)
    form = float_linear(weight.clone(), bias)
    assert form.read_bytes(rows) == weight.nbytes
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    assert (form(x).double() - expected).abs().max() <= 8 * expected.abs().max() * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_invariant_form_repeats_to_the_bit(dtype: torch.dtype) -> None:
    """A row's product does not depend on how many rows there are, nor on where it stands among them."""
    linear = InvariantLinear(float_linear(torch.randn(192, 576, generator=random(3)).to(dtype)))
    x = torch.randn(200, 576, generator=random(4)).to(dtype)
    whole = linear(x)
    for first, last in ((0, 1), (17, 18), (3, 40), (60, 70), (100, 200), (5, 200)):
        assert torch.equal(linear(x[first:last]), whole[first:last])
