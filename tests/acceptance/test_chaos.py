"""The chaos benchmark in its shortest form: nodes and the server are killed, and everything ends exactly once."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
NOTHING_WRONG = (
    "lost",
    "double",
    "missing",
    "unfinished",
    "orphans",
    "silent_doubt",
    "unexpected",
    "torn_streams",
    "wrong_parent",
    "unlinked_redeliveries",
    "unexplained_unfinished",
)


async def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Three nodes, two kills and a server restart; the same program as the full run, with fewer tasks. How soon work
    goes on is for the benchmark: here other tests use the processors."""
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(CHAOS), "--tasks", "60", "--kills", "2", "--seed", "140", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert ran.stdout, ran.stderr
    figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert [name for name in NOTHING_WRONG if figures[name]] == [], ran.stdout + ran.stderr
    assert figures["kills"] == 2
    assert figures["tasks"] >= 50
    assert figures["resume_p95_s"] is not None  # all of it
    assert figures["spans"] > figures["tasks"]
