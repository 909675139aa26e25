"""How long a person waits: importing ``antiphon``, and ``antiphon up`` until its console answers; and what it weighs.

Public names are imported when they are used, so ``import_s`` is the time of a module of agents that takes them:
Agent, Context, Message, System and tool. The bare ``import antiphon`` is ``import_bare_s``.

Method: fresh processes and a fresh, temporary ANTIPHON_HOME every time; medians over rounds. ``up`` is healthy when
``/healthz`` answers 200 and the console's node card is in the directory (its line on standard output comes after
both). Resident memory is that of the ``antiphon up`` process alone, with an empty store, two seconds later.
Beside them in the same run, the raw limits: an interpreter that imports nothing, and one that imports asyncio and
pydantic and makes one model.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.table import Table

NAMES = "from antiphon import Agent, Context, Message, System, tool"
FLOOR = """
import asyncio
from pydantic import BaseModel
class Message(BaseModel):
    text: str
"""
SETTLE_S = 2.0
LIMIT_S = 30.0


def python_s(code: str) -> float:
    """Seconds of a fresh interpreter that runs ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    return time.perf_counter() - start


def up() -> tuple[float, float]:
    """(seconds until healthy, resident megabytes) of one ``antiphon up``."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:  # its server stops a moment later
        environment = {**os.environ, "ANTIPHON_HOME": home, "ANTIPHON_LOG_LEVEL": "warning"}
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "antiphon.runtime.cli.main", "up", "--port", "0", "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            address = process.stdout.readline().partition(": ")[2].strip().partition("?")[0]
            with urllib.request.urlopen(f"{address}healthz", timeout=LIMIT_S) as answer:
                assert answer.status == 200
            healthy_s = time.perf_counter() - start
            time.sleep(SETTLE_S)
            return healthy_s, _resident_mb(process.pid)
        finally:
            process.stdin.close()
            process.wait(LIMIT_S)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
    return int(kilobytes) * 1024 / 1e6


def main() -> None:
    """Run, print a table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form: 3 rounds")
    rounds = 3 if parser.parse_args().quick else 11
    empty, floor, bare, ours, healthy, resident = [], [], [], [], [], []
    for _ in range(rounds):
        empty.append(python_s("pass"))
        floor.append(python_s(FLOOR))
        bare.append(python_s("import antiphon"))
        ours.append(python_s(NAMES))
        seconds, megabytes = up()
        healthy.append(seconds)
        resident.append(megabytes)
    empty_s = statistics.median(empty)
    floor_s, bare_s, import_s = (statistics.median(times) - empty_s for times in (floor, bare, ours))
    table = Table("what", "median", "least", "goal")
    table.add_row("interpreter, nothing imported", f"{empty_s:.3f} s", f"{min(empty):.3f} s", "")
    table.add_row("+ asyncio and one pydantic model", f"{floor_s:.3f} s", f"{min(floor) - min(empty):.3f} s", "")
    table.add_row("+ import antiphon", f"{bare_s:.3f} s", f"{min(bare) - min(empty):.3f} s", "0.3 s")
    table.add_row("+ from antiphon import Agent, …", f"{import_s:.3f} s", f"{min(ours) - min(empty):.3f} s", "0.3 s")
    table.add_row("antiphon up, healthy", f"{statistics.median(healthy):.2f} s", f"{min(healthy):.2f} s", "2.5 s")
    table.add_row("antiphon up, resident", f"{statistics.median(resident):.0f} MB", f"{min(resident):.0f} MB", "150 MB")
    Console().print(table)
    print(
        json.dumps(
            {
                "import_s": round(import_s, 4),
                "up_healthy_s": round(statistics.median(healthy), 3),
                "up_rss_mb": round(statistics.median(resident), 1),
                "interpreter_s": round(empty_s, 4),
                "import_bare_s": round(bare_s, 4),
                "import_floor_s": round(floor_s, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
