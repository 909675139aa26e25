"""The demo of findings in its short form: all of its system and stage, with a scripted model, in virtual time."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from antiphon import System
from antiphon.agents.logging_agent.agent import logging_agent
from antiphon.runtime.finding_log import FindingLog
from antiphon.runtime.testing import ScriptedModel, memory_cluster, virtual_time
from antiphon.schemas.finding import Finding, FindingState

EXAMPLES = Path(__file__).parents[2] / "examples"


@virtual_time()
async def test_the_wastes_of_the_support_desk_are_found_applied_and_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every waste opens; those with arms by run are verified, near what was predicted; answers get faster."""
    monkeypatch.syspath_prepend(EXAMPLES)
    import insight
    from customers import Customers
    from insight_show import Show

    model = ScriptedModel(lambda request: "a kettle leaks and nobody answers", token_s=0.05)
    watched = System("watched", agents=[*insight.system.agents, logging_agent])
    said = io.StringIO()
    async with memory_cluster(watched, models={"smollm2-135m": model}) as cluster:
        customers = Customers(cluster.client, insight.CROWDS, insight.ticket)
        log = FindingLog(cluster.client.host.bus.streams, "default")
        show = Show(cluster.client, log, customers, Console(file=said, width=100))
        async with customers.here():
            await show.perform()
    outcome = show.record()
    findings = {found.pattern: found for found in show.findings}
    assert findings.keys() >= {"p1", "p3", "p4", "p17"}, said.getvalue()
    for pattern in ("p1", "p3", "p4"):
        assert _error(findings[pattern]) <= 0.3, said.getvalue()
    assert findings["p17"].state is FindingState.CANARY  # by time slices: longer than the demo
    assert outcome["mean_after_s"] < 0.75 * outcome["mean_before_s"], said.getvalue()


def _error(finding: Finding) -> float:
    """How far the prediction was off, of a verified finding."""
    assert finding.state is FindingState.VERIFIED
    assert finding.realised is not None
    assert finding.realised.prediction_error is not None
    return abs(finding.realised.prediction_error)
