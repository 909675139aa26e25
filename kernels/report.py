"""Every kernel on every target: runs the compilers in processes of their own and counts what they found."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Timer
from types import TracebackType
from typing import Any, Self

from antiphon.kernels.cross_compile import TARGETS, Compiled

_ANSWER_S = 300.0  # the slowest kernel takes 12 s of a free core; a compiler that is still at it hangs

_COMMAND = (sys.executable, "-P", "-m", "antiphon.kernels.cross_compile")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A row for each configuration of a kernel on each target."""

    targets: tuple[str, ...]
    rows: tuple[Compiled, ...]

    @property
    def problems(self) -> tuple[Compiled, ...]:
        """The rows that fail."""
        return tuple(row for row in self.rows if row.problem)

    def counts(self) -> dict[str, int]:
        """Totals. ``compiled`` and ``spilled`` count pairs of kernel and target: all configurations did; any did."""
        pairs = {(row.kernel, row.target) for row in self.rows}
        broken = {(row.kernel, row.target) for row in self.rows if row.error}
        return {
            "kernels": len({row.kernel for row in self.rows}),
            "configurations": len({row.case for row in self.rows}),
            "targets": len(self.targets),
            "compiled": len(pairs - broken),
            "spilled": len({(row.kernel, row.target) for row in self.rows if row.spill_bytes}),
            "failed": len(self.problems),
        }


def compile_all(
    *,
    targets: Collection[str] = tuple(TARGETS),
    kernels: Collection[str] = (),
    variants: bool = True,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Compile for ``targets`` the cases that ``kernels`` names, by full name or its part before the dot (empty: all).

    Without ``variants`` only the first configuration of each kernel, its default, is compiled.
    ``progress(done, total)`` is called after each row, on one of the threads. A compiler process that dies or hangs
    fails its row and a new one takes its place. What was compiled before comes from Triton's cache on disk.

    Raises:
        ValueError: a target or kernel that there is not; names those there are.
        RuntimeError: the modules of ``kernels/device`` cannot be imported; says why.
    """
    if unknown := set(targets) - set(TARGETS):
        raise ValueError(f"found target {', '.join(sorted(unknown))}, expected some of {', '.join(TARGETS)}")
    with ExitStack() as stack:
        pool = [stack.enter_context(_Worker()) for _ in range(workers)]
        try:
            found: dict[str, str] = pool[0].ask({})
        except _WorkerDied as error:
            raise RuntimeError(f"the cases of kernels/device cannot be read: {error}") from None
        if unknown := {name for name in kernels if not any(_names(name, case) for case in found)}:
            raise ValueError(f"found kernel {', '.join(sorted(unknown))}, expected some of {', '.join(found)}")
        defaults = {kernel: case for case, kernel in reversed(found.items())}
        chosen = [
            case
            for case, kernel in found.items()
            if (variants or defaults[kernel] == case) and (not kernels or any(_names(name, case) for name in kernels))
        ]
        pairs = [(case, target) for case in chosen for target in targets]
        jobs = iter(pairs)  # the threads share it: a step of a list's iterator is atomic
        rows: dict[tuple[str, str], Compiled] = {}

        def work(worker: _Worker) -> None:
            for case, target in jobs:
                try:
                    row = Compiled(**worker.ask({"case": case, "target": target}))
                except _WorkerDied as error:
                    row = Compiled(case=case, kernel=found[case], target=target, error=str(error))
                rows[case, target] = row
                progress(len(rows), len(pairs))

        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(work, pool))
    return Report(targets=tuple(targets), rows=tuple(rows[pair] for pair in pairs))


def _names(name: str, case: str) -> bool:
    return name in (case, case.partition(".")[0])


class _WorkerDied(Exception):
    """A compiler process ended without an answer."""


class _Worker:
    """A compiler process that answers one job at a time. It is started when asked, and anew after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._end(self._process)
        self._log.close()

    def ask(self, job: Mapping[str, str]) -> Any:
        """The answer to ``job``. Raises _WorkerDied with the end of what the process said."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = Timer(_ANSWER_S, process.kill)
        alarm.start()
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            alarm.cancel()
        if answer:
            return json.loads(answer)
        self._process = None
        self._end(process)
        self._log.seek(0)
        raise _WorkerDied(f"the compiler ended with status {process.returncode}: {self._log.read()[-2000:].strip()}")

    def _start(self) -> subprocess.Popen[str]:
        self._log.seek(0)
        self._log.truncate()
        return subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        )

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.communicate()  # closes its input, at which it ends
