"""The peer llama.cpp: builds it where it is missing, and asks it for one measurement at a time.

It gets an environment of its own, since it is built from source (about five minutes with a C++ compiler) and nothing
else needs it.
"""

import os
import subprocess
import sys
from pathlib import Path

VERSION = "0.3.36"
PEER = Path(__file__).with_name("llama_cpp_peer.py")
BUILD_S = 1800.0


def environment() -> Path:
    """The Python of an environment with llama-cpp-python, built first if need be.

    Raises:
        RuntimeError: it does not build; the message says where the log is.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "antiphon-benchmarks" / f"llama-cpp-python-{VERSION}"
    python = folder / "bin" / "python"
    if (folder / "built").exists():
        return python
    print(f"building llama-cpp-python {VERSION} in {folder} (about five minutes, once)", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    log = folder / "build.log"
    with log.open("wb") as output:
        command = [str(python), "-m", "pip", "install", f"llama-cpp-python=={VERSION}", "numpy"]
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=BUILD_S, check=False)
    if done.returncode:
        raise RuntimeError(f"llama-cpp-python does not build here (a C++ compiler is needed): see {log}")
    (folder / "built").touch()
    return python


class LlamaCpp:
    """A process with the model loaded; a context manager."""

    def __init__(self, gguf: Path, threads: int) -> None:
        """Start it. It is started again without llama.cpp's extra buffer types if it crashes with them.

        On virtual machines that announce AMX, version 0.3.36 dies with SIGSEGV in its AMX code at the first batch;
        ``extra`` says whether they are in use.

        Raises:
            RuntimeError: it does not build or does not start.
        """
        python = environment()
        for self.extra in (True, False):
            self._process = subprocess.Popen(
                [str(python), str(PEER), str(gguf), str(threads), "extra" if self.extra else "plain"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            if self._line() == "ready":
                return
            self.close()
        raise RuntimeError("llama.cpp does not start on this file")

    def measure(self, case: str) -> float:
        """Tokens per second of ``decode1``, ``decode16`` or ``prefill``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> "LlamaCpp":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
