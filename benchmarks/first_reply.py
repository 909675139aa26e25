"""From ``pip install`` to the first traced reply of the project that ``antiphon init`` writes: the first evening.

Method: a wheel of this tree is built first, as an index would have it (not counted), and so is an empty virtual
environment. Then, as a person would, one command after the other: ``pip install --no-compile 'antiphon[engine]'`` at
the versions of constraints.txt, ``antiphon init``, ``models pull``, ``antiphon run`` until it serves, ``antiphon
submit --wait`` until the typed reply is printed, and ``antiphon trace`` until the run is in the store with the spans
of both agents. Everything is in a temporary folder; pip's cache is the user's own, so a second run is one on a warm
cache. The model is always the built-in one, whatever servers run.

``--quick`` leaves environment and installation out and uses those of the interpreter that runs this. Without
``--no-compile`` pip takes half of its time to compile all that it has unpacked, most of which is never imported.

Seconds are of the wall clock; beside them those of the processor, which a machine that is busy otherwise changes less.
The processor time of the node and its children is in the last phase, because it is known when they have ended.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("schemas", "runtime", "agents", "kernels", "src", "pyproject.toml", "README.md", "LICENSE")
LIMIT_S = 600.0
GOAL_S = 60.0
UNCOUNTED = ("build", "venv", "stop")
EVENING = ("init", "pull", "run", "reply", "trace", "stop")  # the node's processor time is known when it has stopped


class Phases:
    """Seconds by name, in order: of the clock, and of the processor in child processes that have ended."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self._wall_s, self._cpu_s = time.perf_counter(), _cpu_s()

    def ended(self, name: str) -> None:
        """What has gone on since the last one ended was ``name``."""
        wall_s, cpu_s = time.perf_counter(), _cpu_s()
        self.wall_s[name], self.cpu_s[name] = wall_s - self._wall_s, cpu_s - self._cpu_s
        self._wall_s, self._cpu_s = wall_s, cpu_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def done(command: list[str], cwd: Path, environ: Mapping[str, str]) -> str:
    """The output of a command that has to succeed."""
    found = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if found.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {found.returncode}:\n{found.stdout}\n{found.stderr}")
    return found.stdout


def built(folder: Path) -> Path:
    """A wheel of this tree; made from a copy, because setuptools leaves its work beside the sources."""
    source = folder / "source"
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / part, source / part)
    pip = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
    ]
    done([*pip, "--wheel-dir", str(folder), str(source)], folder, os.environ)
    return next(folder.glob("antiphon-*.whl"))


def installed(folder: Path, phases: Phases) -> Path:
    """The scripts folder of a fresh environment."""
    wheel = built(folder)
    phases.ended("build")
    done([sys.executable, "-m", "venv", str(folder / "venv")], folder, os.environ)
    phases.ended("venv")
    scripts = folder / "venv" / "bin"
    pip = [
        str(scripts / "pip"),
        "--disable-pip-version-check",
        "install",
        "--no-compile",
        "--constraint",
        str(ROOT / "constraints.txt"),
    ]
    done([*pip, f"{wheel}[engine]"], folder, os.environ)
    phases.ended("install")
    return scripts


def evening(scripts: Path, folder: Path, phases: Phases) -> str:
    """The commands that lead to a traced reply; the reply."""
    project = folder / "shop"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "OTEL_", "OPEN"))}
    environ = {
        **kept,
        "ANTIPHON_HOME": str(folder / "home"),
        "ANTIPHON_CONSOLE_PORT": "0",
        "OLLAMA_HOST": "127.0.0.1:1",
    }
    antiphon = str(scripts / "antiphon")
    made = json.loads(done([antiphon, "init", str(project), "--model", "smollm2-135m", "--json"], folder, environ))
    phases.ended("init")
    done([antiphon, "models", "pull", "smollm2-135m"], project, environ)
    phases.ended("pull")
    body = made["next"][-1].split("'")[1]
    node = subprocess.Popen(
        [antiphon, "run", "agents.py:system"], cwd=project, env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        assert node.stderr is not None
        while "Ctrl-C drains" not in (line := node.stderr.readline()):
            if not line:
                raise SystemExit(f"antiphon run ended with {node.wait(LIMIT_S)}")
        phases.ended("run")
        said = json.loads(done([antiphon, "submit", "guide.answer", body, "--wait", "--json"], project, environ))
        phases.ended("reply")
        end_s = time.perf_counter() + 30.0
        while "editor.review" not in _tree(antiphon, said["run"], project, environ):
            if time.perf_counter() > end_s:
                raise SystemExit(f"the trace of run {said['run']} is not in the store after 30 s")
        phases.ended("trace")
    finally:
        node.terminate()
        node.communicate(timeout=LIMIT_S)
    phases.ended("stop")
    return str(said["value"]["text"])


def _tree(antiphon: str, run: str, cwd: Path, environ: Mapping[str, str]) -> str:
    command = [antiphon, "trace", run]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False).stdout


def main() -> None:
    """Run, print a table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form: nothing is installed")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="first-reply-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        phases = Phases()
        scripts = Path(sys.executable).parent if quick else installed(folder, phases)
        reply = evening(scripts, folder, phases)
    wall_s, cpu_s = phases.wall_s, phases.cpu_s
    total_s = sum(seconds for name, seconds in wall_s.items() if name not in UNCOUNTED)
    install_s = wall_s.get("install", 0.0)
    table = Table("phase", "seconds", "processor", "counted")
    for name, seconds in wall_s.items():
        table.add_row(name, f"{seconds:.1f}", f"{cpu_s[name]:.1f}", "no" if name in UNCOUNTED else "yes")
    table.add_row("total", f"{total_s:.1f}", "", "without installation" if quick else f"goal {GOAL_S:g}")
    Console().print(table)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; the reply: {reply!r}")
    rounded = {f"{name}_s": round(seconds, 1) for name, seconds in wall_s.items()}
    totals = {"total_s": total_s, "install_s": install_s, "first_reply_s": total_s - install_s}
    totals |= {"install_cpu_s": cpu_s.get("install", 0.0), "first_reply_cpu_s": sum(cpu_s[name] for name in EVENING)}
    print(json.dumps(rounded | {name: round(seconds, 1) for name, seconds in totals.items()}))


if __name__ == "__main__":
    main()
