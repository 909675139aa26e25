"""Five workers under a supervisor, and a person who has the last word; a worker that fails is begun anew.

antiphon run examples/supervisor.py:system
antiphon submit chief.report '{"topic": "a bakery"}', then antiphon approvals list, and answer ID --approve
"""

from functools import partial

from antiphon import Agent, Context, Message, System
from antiphon.runtime.patterns.supervisor import supervise

ANGLES = ("customers", "costs", "staff", "place", "risks")
worker, chief = Agent("worker"), Agent("chief")


class Brief(Message):
    topic: str
    angle: str = "everything"


class Report(Message):
    parts: dict[str, str]


@worker.handles
async def study(brief: Brief, ctx: Context) -> Report:
    prompt = f"Say one thing about the {brief.angle} of {brief.topic}."
    return Report(parts={brief.angle: await ctx.model.generate(str, prompt, max_tokens=24)})


@chief.handles
async def report(brief: Brief, ctx: Context) -> Report:
    workers = {angle: partial(ctx.call, study, Brief(topic=brief.topic, angle=angle)) for angle in ANGLES}
    studies = await supervise(ctx, workers, strategy="one_for_one", intensity=3, within_s=60)
    draft = Report(parts={angle: studies[angle].parts[angle] for angle in ANGLES})
    decision = await ctx.approve(draft, to="role:editor", timeout="2d", on_timeout="reject")
    return decision.value if decision.approved else Report(parts={})


system = System("reports", agents=[worker, chief])
