"""Fan-out and fan-in: several judges at once; go on as soon as enough have answered."""

from antiphon import Agent, Context, Message, System
from antiphon.runtime.patterns.fan_out import fan_out


class Claim(Message):
    """Something that may be true."""

    text: str
    judge: str = ""


class Verdict(Message):
    """What one judge thinks of it."""

    holds: bool


class Poll(Message):
    """What came back."""

    yes: int
    no: int
    failed: int
    open: int


bench = Agent("bench", max_attempts=1)
chair = Agent("chair")


@bench.handles
async def judge(claim: Claim, ctx: Context) -> Verdict:
    """Judge a claim from one point of view."""
    return await ctx.model.generate(Verdict, f"As a {claim.judge}: does this hold?\n\n{claim.text}")


@chair.handles
async def poll(claim: Claim, ctx: Context) -> Poll:
    """Ask five judges, two at a time, and take the first three answers."""
    judges = ("physicist", "lawyer", "poet", "farmer", "child")
    asked = [claim.model_copy(update={"judge": name}) for name in judges]
    found = await fan_out(ctx, judge, asked, at_most=2, quorum=3, timeout_s=60)
    yes = sum(verdict.holds for verdict in found.values.values())
    return Poll(yes=yes, no=len(found.values) - yes, failed=len(found.errors), open=len(found.unfinished))


system = System("poll", agents=[chair, bench])
