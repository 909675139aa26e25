"""Every kernel on every target, with no accelerator here."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from antiphon.kernels.cases import KernelCase
from antiphon.kernels.cross_compile import TARGETS, Compiled, cross_compile
from antiphon.kernels.report import compile_all
from antiphon.kernels.tiles import Tile

FINE = Compiled(case="gemm.large", kernel="_gemm", target="gfx942", registers=128, shared_bytes=64 << 10, matrix="mfma")


@pytest.mark.timeout(600)
def test_every_kernel_compiles_for_both_vendors_without_a_spill() -> None:
    """In its default configuration: registers suffice, shared memory fits, and tl.dot is a matrix instruction.

    `make kernels`, which CI runs too, does it for all eight targets: another two minutes.
    """
    assert len(TARGETS) == 8
    report = compile_all(targets=("sm_90", "gfx942"), variants=False)
    assert [f"{row.case} on {row.target}: {row.problem}" for row in report.problems] == []
    counts = report.counts()
    assert counts["kernels"] >= 16
    assert counts["targets"] == 2
    assert counts["compiled"] == counts["kernels"] * counts["targets"]
    assert counts["spilled"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_configuration_compiles_for_every_target_without_a_spill() -> None:
    """Variants too: quantised caches, split keys, other dtypes."""
    assert [f"{row.case} on {row.target}: {row.problem}" for row in compile_all().problems] == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (FINE, ""),
        (replace(FINE, error="CompilationError: no"), "CompilationError: no"),
        (replace(FINE, spill_bytes=16), "found 16 bytes of spilled registers"),
        (replace(FINE, shared_bytes=(64 << 10) + 1), "found 65537 bytes of shared memory, gfx942 has 65536"),
        (replace(FINE, target="sm_90", shared_bytes=200 << 10), ""),
        (replace(FINE, matrix="", expects_mma=True), "found no matrix instruction"),
        (replace(FINE, matrix="", expects_mma=False), ""),
    ],
)
def test_what_counts_as_a_problem(row: Compiled, problem: str) -> None:
    """Errors, spills, memory that the target does not have, and products done without its matrix units."""
    assert row.problem.startswith(problem)
    assert bool(row.problem) == bool(problem)


def test_a_case_that_forgets_an_argument_is_an_error_of_its_row() -> None:
    """With the names it has and those it should have; nothing is raised."""
    kernel = SimpleNamespace(__name__="_gemm", arg_names=["x_ptr", "rows", "BLOCK"])
    case = KernelCase(name="gemm", kernel=kernel, types={"x_ptr": "*bf16"}, constexprs={"BLOCK": 64})
    row = cross_compile(case, TARGETS["sm_90"])
    assert "found types and constexprs for ['BLOCK', 'x_ptr']" in row.problem
    assert "expected one for each of ['BLOCK', 'rows', 'x_ptr']" in row.problem


def test_a_case_takes_its_sizes_from_the_tile_of_the_architecture() -> None:
    """What the launch would use is what is compiled; a constexpr that is no size stays."""
    case = KernelCase(
        name="gemm",
        kernel=None,
        types={},
        constexprs={"BLOCK": 1, "CAUSAL": True},
        tile=lambda arch: Tile(sizes={"BLOCK": 128 if arch == "sm_90" else 64}, num_warps=8, num_stages=3),
    )
    assert case.configuration("sm_90") == ({"BLOCK": 128, "CAUSAL": True}, 8, 3)
    assert case.configuration("gfx942") == ({"BLOCK": 64, "CAUSAL": True}, 8, 3)
    assert replace(case, tile=None).configuration("sm_90") == ({"BLOCK": 1, "CAUSAL": True}, 4, 2)
