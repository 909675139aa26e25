"""What Prometheus and its page are told: every metric that the page names, and handlers before their first task."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "backends.md"


async def test_handlers_count_from_nought(console: Any) -> None:
    """``rate()`` sees the first task of an agent that is known; the observability system's own is no work."""
    text = (await console.http.get("/metrics")).text
    clerk = 'agent="clerk",operation="process",model=""'
    assert f"antiphon_spans_total{{{clerk}}} 0\n" in text
    assert f'antiphon_span_duration_seconds_bucket{{{clerk},le="+Inf"}} 0\n' in text
    assert "logging-agent" not in text.partition("antiphon_runs")[0]


async def test_the_page_names_every_metric_and_no_other(console: Any, make: Any, put: Any) -> None:
    """Its table and its queries, which ran on a real Prometheus."""
    put(*make.run())
    await asyncio.to_thread(console.store.flush_rollups)
    text = (await console.http.get("/metrics")).text
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    named = set(re.findall(r"\bantiphon_[a-z_]+", PAGE.read_text(encoding="utf-8")))
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} == set(families)
    labels = set(re.findall(r'[{,]([a-z]+)="', text))
    asked = re.findall(r"by \(([a-z, ]+)\)", PAGE.read_text(encoding="utf-8"))
    assert asked and {label for group in asked for label in group.split(", ")} <= labels


async def test_promtool_has_nothing_to_say(console: Any, make: Any, put: Any) -> None:
    """Prometheus's own checker, where it is installed, over hostile names too."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    put(*make.run(), make.handle(20, None, 'a"b\\c\nd\u2028é\x00.x', 1, 0.2))
    await asyncio.to_thread(console.store.flush_rollups)
    text = (await console.http.get("/metrics")).text
    done = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=300
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
