"""Without its extras Antiphon works as far as it promises: torch is neither needed nor imported."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ("torch", "triton", "numpy", "tokenizers", "safetensors", "gguf", "llguidance", "transformers")
KNOWLEDGE = ("apsw", "sqlite_vec", "selectolax", "pypdf", "qdrant_client")
MCP = ("mcp", "mcp_types", "httpx2")
EXTRA = ENGINE + KNOWLEDGE + MCP
HEAVY = (  # in other people's types; imported only where what they serve is set up
    "antiphon.agents.knowledge.qdrant_store",
    *(
        f"antiphon.runtime.gateways.mcp.{name}"
        for name in ("connection", "content", "handler_tools", "http_client", "http_server", "session", "watched")
    ),
)
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({EXTRA!r}))\n"  # None in sys.modules: ImportError


def light_modules() -> list[str]:
    """Every module outside the engine and the kernels that does not say otherwise."""
    found = []
    for folder in ("schemas", "runtime", "agents"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[:2] != ("runtime", "engine") and parts[-1] != "__init__":
                found.append(".".join(("antiphon", *parts)))
    return [name for name in found if name not in HEAVY]


def python(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter that cannot import any extra."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "ANTIPHON_HOME": str(home), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-P", "-c", BLOCK + code], env=environ, capture_output=True, text=True, timeout=300
    )


def test_every_light_module_imports_without_the_extras(tmp_path: Path) -> None:
    """Only ``runtime/engine`` and ``kernels`` need torch and its company."""
    code = f"import importlib, antiphon\nfor name in {light_modules()!r}: importlib.import_module(name)\n"
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("arguments", [["--help"], ["schemas"], ["models", "list"]])
def test_commands_work_without_the_extras(tmp_path: Path, arguments: list[str]) -> None:
    """Commands that need no model run."""
    code = f"sys.argv[1:] = {arguments!r}\nfrom antiphon.runtime.cli.main import main\nmain()\n"
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


def test_importing_antiphon_leaves_heavy_packages_out(tmp_path: Path) -> None:
    """What a first import must not pay for."""
    heavy = ("nats", "httpx", "starlette", "uvicorn", "opentelemetry.sdk", "sqlite3", "structlog", "typer")
    done = python(f"import antiphon\nprint([name for name in {heavy!r} if name in sys.modules])\n", tmp_path)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]
