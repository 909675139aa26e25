"""Compiles kernels for accelerators that are not here, and reads registers, spills and instructions from the result.

Run as a program it is a worker: it reads one job a line from standard input and answers with one line of JSON. It has
to be a process of its own, because Triton decides when a kernel is decorated whether it is interpreted or compiled,
and because a fault in a compiler ends the process. ``antiphon.kernels.report`` runs the workers.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from antiphon.kernels.cases import KernelCase


@dataclass(frozen=True, kw_only=True)
class Target:
    """An architecture that kernels must compile for, and the shared memory (LDS) a block may use there."""

    name: str
    backend: str  # as Triton calls it: cuda or hip
    arch: int | str
    warp: int  # threads that run in step
    shared_bytes: int


_KIB = 1024
TARGETS = {
    target.name: target
    for target in (
        Target(name="sm_80", backend="cuda", arch=80, warp=32, shared_bytes=163 * _KIB),  # A100
        Target(name="sm_90", backend="cuda", arch=90, warp=32, shared_bytes=227 * _KIB),  # H100, H200
        Target(name="sm_100", backend="cuda", arch=100, warp=32, shared_bytes=227 * _KIB),  # B200
        Target(name="sm_120", backend="cuda", arch=120, warp=32, shared_bytes=99 * _KIB),  # RTX 50, RTX PRO 6000
        Target(name="gfx90a", backend="hip", arch="gfx90a", warp=64, shared_bytes=64 * _KIB),  # MI250
        Target(name="gfx942", backend="hip", arch="gfx942", warp=64, shared_bytes=64 * _KIB),  # MI300
        Target(name="gfx950", backend="hip", arch="gfx950", warp=64, shared_bytes=160 * _KIB),  # MI350
        Target(name="gfx1100", backend="hip", arch="gfx1100", warp=32, shared_bytes=64 * _KIB),  # RX 7900
    )
}
# Of a name in both lists the first is the stronger instruction: wgmma code on sm_90 may hold some mma.sync too.
_MATRIX = {
    "cuda": {"tcgen05": "tcgen05.mma", "wgmma": "wgmma.mma_async", "mma.sync": "mma.sync"},
    "hip": {"mfma": "v_mfma_", "wmma": "v_wmma_"},
}


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What one kernel became on one target. Bytes of spill are per thread; ``error`` is empty when it compiled."""

    case: str
    kernel: str
    target: str
    registers: int = 0
    spill_bytes: int = 0
    shared_bytes: int = 0
    matrix: str = ""  # the strongest matrix instruction found, or empty
    expects_mma: bool = False
    error: str = ""

    @property
    def problem(self) -> str:
        """Why a run of the report fails on this row, or empty."""
        if self.error:
            return self.error
        if self.spill_bytes:
            return f"found {self.spill_bytes} bytes of spilled registers a thread, expected 0: make its tile smaller"
        if self.shared_bytes > TARGETS[self.target].shared_bytes:
            most = TARGETS[self.target].shared_bytes
            return f"found {self.shared_bytes} bytes of shared memory, {self.target} has {most}: fewer stages"
        if self.expects_mma and not self.matrix:
            return "found no matrix instruction, expected one: a side of tl.dot is too small, or its dtype unsupported"
        return ""


def find_cases() -> dict[str, KernelCase]:
    """Every case of every module in ``kernels/device``, by name.

    Raises:
        ValueError: two cases have one name.
    """
    package = import_module("antiphon.kernels.device")
    found: dict[str, KernelCase] = {}
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        cases: tuple[KernelCase, ...] = getattr(import_module(module.name), "CASES", ())
        for case in cases:
            if case.name in found:
                raise ValueError(f"{module.name}: found a second case named {case.name}, expected names to differ")
            found[case.name] = case
    return found


def cross_compile(case: KernelCase, target: Target) -> Compiled:
    """Compile with Triton's own pipeline and assemblers, which its wheel carries; its cache on disk is used.

    A kernel that does not compile is a result too: its ``error`` is filled.
    """
    row = Compiled(case=case.name, kernel=case.kernel.__name__, target=target.name, expects_mma=case.expects_mma)
    try:
        binary = _compile(case, target)
    except Exception as error:  # whatever a compiler raises is the finding
        return replace(row, error=_reason(error))
    registers, spill_bytes = (_measure_cuda if target.backend == "cuda" else _measure_hip)(binary)
    assembly = binary.asm["ptx" if target.backend == "cuda" else "amdgcn"]
    matrix = next((name for name, mark in _MATRIX[target.backend].items() if mark in assembly), "")
    shared_bytes = binary.metadata.shared
    return replace(row, registers=registers, spill_bytes=spill_bytes, shared_bytes=shared_bytes, matrix=matrix)


def _compile(case: KernelCase, target: Target) -> Any:
    import triton  # type: ignore[import-untyped]  # ships no types
    from triton.backends.compiler import GPUTarget  # type: ignore[import-untyped]
    from triton.compiler import ASTSource  # type: ignore[import-untyped]

    constexprs, num_warps, num_stages = case.configuration(target.name)
    names = case.kernel.arg_names
    if set(names) != set(constexprs) | set(case.types):
        raise ValueError(
            f"{case.name}: found types and constexprs for {sorted({*constexprs, *case.types})}, "
            f"expected one for each of {sorted(names)}"
        )
    signature = {name: "constexpr" if name in constexprs else case.types[name].partition(":")[0] for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if name not in constexprs and (case.types[name].startswith("*") or case.types[name].endswith(":16"))
    }
    return triton.compile(
        ASTSource(case.kernel, signature=signature, constexprs=constexprs, attrs=aligned),
        target=GPUTarget(target.backend, target.arch, target.warp),
        options={"num_warps": num_warps, "num_stages": num_stages},
    )


def _reason(error: BaseException) -> str:
    """The first cause: Triton raises one error a call, each with the source of the caller."""
    while error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def _measure_cuda(binary: Any) -> tuple[int, int]:
    """(registers, bytes of stack) a thread; our kernels put nothing on the stack but spills."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(binary.asm["cubin"])
        cubin.flush()
        # It finds nvdisasm beside itself through PATH.
        environment = {**os.environ, "PATH": f"{tool.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        answer = subprocess.run(
            [tool, "--dump-resource-usage", cubin.name],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=environment,
        ).stdout
    usage = dict(re.findall(r"\b(REG|STACK):(\d+)", answer))
    return int(usage["REG"]), int(usage["STACK"])


def _measure_hip(binary: Any) -> tuple[int, int]:
    """(vector registers, bytes of spills) a thread."""
    facts = dict(
        re.findall(r"\.(vgpr_count|vgpr_spill_count|private_segment_fixed_size):\s+(\d+)", binary.asm["amdgcn"])
    )
    # Scratch memory is where spills go; a spill count without scratch is a move to the accumulation registers.
    spilled = max(int(facts["private_segment_fixed_size"]), 4 * int(facts["vgpr_spill_count"]))
    return int(facts["vgpr_count"]), spilled


def _answer(job: Mapping[str, str], cases: Mapping[str, KernelCase]) -> Any:
    if not job:
        return {name: case.kernel.__name__ for name, case in cases.items()}
    return asdict(cross_compile(cases[job["case"]], TARGETS[job["target"]]))


def main() -> None:
    """Serve jobs until standard input ends; an empty job asks for the cases: {name: kernel}."""
    # Compilers write to standard output when they please: it becomes standard error, and answers keep their own way.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cases = find_cases()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line), cases)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
