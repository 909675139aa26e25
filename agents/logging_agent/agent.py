"""The logging agent on a node: telemetry in from the bus, findings out."""

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.agent import Agent

if TYPE_CHECKING:
    from antiphon.runtime.delivery.tap import TapContext
    from antiphon.schemas.finding import Finding
    from antiphon.schemas.telemetry import TelemetryBatch

SEED = 17  # of the bootstrap: the same record gives the same intervals

logging_agent = Agent(
    "logging-agent",
    description="Reads what nodes record and says what the system wastes.",
    observes=True,
)


@logging_agent.tap(tick_s=1.0)
def watch() -> "Callable[[TelemetryBatch | None, TapContext], Awaitable[None]]":
    """A node's own core; each batch is fed to it, each tick asks it for findings."""
    core = LoggingCore(rng=random.Random(SEED))
    unsent: dict[str, Finding] = {}  # by id, so that a long outage keeps the newest of each and no more

    async def see(batch: "TelemetryBatch | None", ctx: "TapContext") -> None:
        if batch is not None:
            core.feed(batch, ctx.now_ns())
            return
        unsent.update((finding.id, finding) for finding in core.tick(ctx.now_ns()))
        for finding in list(unsent.values()):
            await ctx.report(finding)
            del unsent[finding.id]

    return see
